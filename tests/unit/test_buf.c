/* SPDX-License-Identifier: MIT */
#include "cm.h"

#include "base/buf.h"

static void
grows_and_ends_with_nul(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 100000);
	assert_string_equal(buf_text(&b), "");
	for (int i = 0; i < 5000; i++)
		buf_add_char(&b, 'x');
	buf_add_text(&b, "yz");
	assert_int_equal(b.length, 5002);
	assert_int_equal(strlen(b.data), 5002);
	buf_drop_front(&b, 5000);
	assert_string_equal(buf_text(&b), "yz");
	buf_fini(&b);
}

static void
maximum_is_hard_and_failure_sticks(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 10);
	buf_add_text(&b, "0123456789");
	assert_false(buf_failed(&b));
	buf_add_char(&b, 'x');
	assert_true(buf_failed(&b));
	assert_string_equal(buf_text(&b), "0123456789");
	buf_drop_front(&b, 5);
	buf_add_char(&b, 'x');
	assert_string_equal(buf_text(&b), "56789");
	buf_clear(&b);
	buf_printf(&b, "%d%s", 42, "!");
	assert_string_equal(buf_text(&b), "42!");
	assert_null(buf_reserve(&b, 8));
	buf_fini(&b);
}

static void
integers(void **state)
{
	static const int64_t rows[] = { 0, 1, -1, 9, 10, -10, INT64_MAX, INT64_MIN };
	struct buf b;
	char want[32];

	(void)state;
	buf_init(&b, 100);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		buf_clear(&b);
		buf_add_i64(&b, rows[i]);
		snprintf(want, sizeof want, "%lld", (long long)rows[i]);
		assert_string_equal(buf_text(&b), want);
	}
	buf_fini(&b);
}

static void
json_strings(void **state)
{
	static const struct {
		const char *from;
		size_t length;
		const char *to;
	} rows[] = {
		{ "", 0, "\"\"" }, { "a\"b\\c/", 6, "\"a\\\"b\\\\c/\"" },
		{ "\b\f\n\r\t\x01\x1f\x7f", 8, "\"\\b\\f\\n\\r\\t\\u0001\\u001f\\u007f\"" },
		{ "a\0b", 3, "\"a\\u0000b\"" },
		{ "\xc3\xa9\xf0\x9f\x98\x80", 6, "\"\xc3\xa9\xf0\x9f\x98\x80\"" },
		{ "x\xff\xc3y", 4, "\"x\xef\xbf\xbd\xef\xbf\xbdy\"" },
		{ "\xed\xa0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"" }, /* a surrogate */
		{ "\xc0\xaf", 2, "\"\xef\xbf\xbd\xef\xbf\xbd\"" },                 /* overlong */
		{ "\xe2\x82", 2, "\"\xef\xbf\xbd\xef\xbf\xbd\"" },                 /* cut */
	};
	struct buf b;

	(void)state;
	buf_init(&b, 1000);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		buf_clear(&b);
		buf_add_json_string(&b, rows[i].from, rows[i].length);
		assert_string_equal(buf_text(&b), rows[i].to);
	}
	buf_fini(&b);
	buf_init(&b, 8);
	buf_add_text(&b, "ab");
	buf_add_json_string(&b, "123456789", 9);
	assert_true(buf_failed(&b));
	assert_int_equal(b.length, 2);
	assert_string_equal(buf_text(&b), "ab");
	buf_fini(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(grows_and_ends_with_nul),
		cmocka_unit_test(maximum_is_hard_and_failure_sticks),
		cmocka_unit_test(integers),
		cmocka_unit_test(json_strings),
	};

	return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
