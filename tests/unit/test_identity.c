/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "model/identity.h"

static void
usernames(void **state)
{
	static const struct {
		const char *text;
		int good;
	} rows[] = {
		{ "abc", 1 },
		{ "A.b_c-9", 1 },
		{ "ab", 0 },
		{ "", 0 },
		{ "has space", 0 },
		{ "j\xc3\xbcrgen", 0 },
		{ "a@b", 0 },
		{ "01234567890123456789012345678901234567890123456789", 1 },
		{ "012345678901234567890123456789012345678901234567890", 0 },
	};
	struct err e = ERR_INIT;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(username_check(rows[i].text, strlen(rows[i].text), &e),
			rows[i].good - 1);
	assert_int_equal(username_check("ab\0c", 4, &e), -1);
}

static void
emails(void **state)
{
	/* NULL: refused */
	static const struct {
		const char *text, *stored;
	} rows[] = {
		{ "a@b.co", "a@b.co" },
		{ "Ann.Lee+news@Example.COM", "ann.lee+news@example.com" },
		{ "o'neil@example.org", "o'neil@example.org" },
		{ "x@m\xc3\xbcnchen.de", "x@xn--mnchen-3ya.de" },
		{ "x@M\xc3\x9cNCHEN.de", "x@xn--mnchen-3ya.de" },
		{ "x@XN--MNCHEN-3YA.de", "x@xn--mnchen-3ya.de" },
		{ "x@xn--zzzzzzzz99999.de", NULL }, /* no such A-label */
		{ "a@b", NULL },
		{ "a@localhost", NULL },
		{ "a@1.2.3.4", NULL },
		{ "a@[127.0.0.1]", NULL },
		{ "@b.co", NULL },
		{ "a@", NULL },
		{ "ab.co", NULL },
		{ "a@b@c.co", NULL },
		{ ".a@b.co", NULL },
		{ "a.@b.co", NULL },
		{ "a..b@b.co", NULL },
		{ "a@.b.co", NULL },
		{ "a@b.co.", NULL },
		{ "a@b..co", NULL },
		{ "a@-b.co", NULL },
		{ "a@b-.co", NULL },
		{ "a@b_c.co", NULL },
		{ "\"a b\"@b.co", NULL },
		{ "a b@b.co", NULL },
		{ "a@b.co\r\nBcc: x@y.z", NULL },
		{ "a\r\nb@b.co", NULL },
		{ "a,b@b.co", NULL },
		{ "a<b>@b.co", NULL },
		{ "j\xc3\xbcrgen@b.co", NULL },
		{ "x@\xff\xfe.de", NULL },
		{ "1234567890123456789012345678901234567890123456789012345678901234@b.co",
			"1234567890123456789012345678901234567890123456789012345678901234@b.co" },
		{ "12345678901234567890123456789012345678901234567890123456789012345@b.co", NULL },
		/* 100 bytes in all, and 101 */
		{ "a@1234567890123456789012345678901234567890.1234567890123456789012345678901234567890.1234567890123.co",
			"a@1234567890123456789012345678901234567890.1234567890123456789012345678901234567890.1234567890123.co" },
		{ "a@1234567890123456789012345678901234567890.1234567890123456789012345678901234567890.12345678901234.co",
			NULL },
	};
	char out[EMAIL_MAX + 1];
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int rc = email_normalize(rows[i].text, strlen(rows[i].text), out, &e);

		if (rc != (rows[i].stored ? 0 : -1))
			fail_msg("row %zu: %s", i, rows[i].text);
		if (rows[i].stored)
			assert_string_equal(out, rows[i].stored);
	}
	assert_int_equal(email_normalize("a@b.co\0x", 8, out, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(usernames),
		cmocka_unit_test(emails),
	};

	return cmocka_run_group_tests_name("identity", tests, NULL, NULL);
}
