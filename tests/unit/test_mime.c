/* SPDX-License-Identifier: MIT */
#include "cm.h"

#include "base/mime.h"

static struct buf out;

static int
setup(void **state)
{
	(void)state;
	buf_init(&out, 1 << 20);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	buf_fini(&out);
	return 0;
}

static void
lines_are_short(void)
{
	const char *line = buf_text(&out), *end;

	for (; (end = strstr(line, "\r\n")); line = end + 2) {
		assert_true(end - line <= 78);
		assert_null(memchr(line, '\n', (size_t)(end - line)));
		for (const char *p = line; p < end; p++)
			assert_true((unsigned char)*p >= ' ' && (unsigned char)*p < 0x7f);
	}
	assert_int_equal(*line, '\0');
}

static void
headers(void **state)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "Welcome, Ann", "Subject: Welcome, Ann\r\n" },
		{ "", "Subject: \r\n" },
		{ " \t \r\n", "Subject: \r\n" },
		{ "a\r\nBcc: x@y.lv\n", "Subject: a  Bcc: x@y.lv\r\n" },
		{ "a\x7f\x01z", "Subject: a  z\r\n" },
		{ "J\xc4\x81nis", "Subject: =?UTF-8?B?SsSBbmlz?=\r\n" },
		{ "=?UTF-8?B?eA==?=", "Subject: =?UTF-8?B?PT9VVEYtOD9CP2VBPT0/PQ==?=\r\n" },
		{ "\xff", "Subject: =?UTF-8?B?/w==?=\r\n" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		buf_clear(&out);
		mime_header(&out, "Subject", rows[i].text);
		assert_string_equal(buf_text(&out), rows[i].want);
	}
}

static void
long_headers_are_folded(void **state)
{
	char text[4000];

	(void)state;
	memset(text, 'x', sizeof text - 1); /* one word that cannot be folded */
	text[sizeof text - 1] = '\0';
	mime_header(&out, "Subject", text);
	lines_are_short();
	for (size_t i = 9; i < sizeof text - 1; i += 10)
		text[i] = ' ';
	buf_clear(&out);
	mime_header(&out, "Subject", text);
	lines_are_short();
	for (size_t i = 0; i + 1 < sizeof text - 1; i += 2)
		memcpy(text + i, "\xc4\x81", 2);
	buf_clear(&out);
	mime_header(&out, "Subject", text);
	lines_are_short();
	buf_clear(&out);
	mime_header_address(&out, "To", text, "a@b.lv");
	lines_are_short();
}

static void
addresses(void **state)
{
	static const struct {
		const char *display, *want;
	} rows[] = {
		{ NULL, "To: <a@b.lv>\r\n" },
		{ "  ", "To: <a@b.lv>\r\n" },
		{ "Ann Lee", "To: \"Ann Lee\"\r\n <a@b.lv>\r\n" },
		{ "a \"b\" \\c", "To: \"a \\\"b\\\" \\\\c\"\r\n <a@b.lv>\r\n" },
		{ "x\r\nBcc: y@z.lv", "To: \"x  Bcc: y@z.lv\"\r\n <a@b.lv>\r\n" },
		{ "\xc5\x81", "To: =?UTF-8?B?xYE=?=\r\n <a@b.lv>\r\n" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		buf_clear(&out);
		mime_header_address(&out, "To", rows[i].display, "a@b.lv");
		assert_string_equal(buf_text(&out), rows[i].want);
	}
}

static void
dates(void **state)
{
	(void)state;
	mime_header_date(&out, 1795305600000000);
	mime_header_date(&out, 0);
	assert_string_equal(buf_text(&out),
		"Date: Sun, 22 Nov 2026 00:00:00 +0000\r\n"
		"Date: Thu, 01 Jan 1970 00:00:00 +0000\r\n");
}

static void
quoted_printable(void **state)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "", "\r\n" },
		{ "a", "a\r\n" },
		{ "a\n", "a\r\n" },
		{ "a\r\nb\n\n", "a\r\nb\r\n\r\n" },
		{ "a=b", "a=3Db\r\n" },
		{ "end \n\t\nx ", "end=20\r\n=09\r\nx=20\r\n" },
		{ "\r", "=0D\r\n" },
		{ ".\n..", ".\r\n..\r\n" },
		{ "\xc4\x81", "=C4=81\r\n" },
	};
	char text[3000];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		buf_clear(&out);
		mime_quoted_printable(&out, rows[i].text, strlen(rows[i].text));
		assert_string_equal(buf_text(&out), rows[i].want);
	}
	for (int c = 1; c < 256; c += 7) {
		memset(text, c, sizeof text);
		buf_clear(&out);
		mime_quoted_printable(&out, text, sizeof text);
		lines_are_short();
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(headers, setup, teardown),
		cmocka_unit_test_setup_teardown(long_headers_are_folded, setup, teardown),
		cmocka_unit_test_setup_teardown(addresses, setup, teardown),
		cmocka_unit_test_setup_teardown(dates, setup, teardown),
		cmocka_unit_test_setup_teardown(quoted_printable, setup, teardown),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("mime", tests, NULL, NULL);
}
