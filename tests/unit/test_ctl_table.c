/* SPDX-License-Identifier: MIT */
#include "cm.h"

#include "ctl/kit/table.h"

static void
cleans_what_steers_a_terminal(void **state)
{
	static const struct {
		const char *in;
		size_t length;
		const char *out;
	} rows[] = {
		{ "plain", 5, "plain" },
		{ "\033[31mred\a", 9, "?[31mred?" },
		{ "a\nb\tc\rd", 7, "a b c?d" },
		{ "\xc2\x9b"
		  "31m",
			5, "?31m" },
		{ "\xe2\x80\xae"
		  "abc",
			6, "?abc" },
		{ "\xff\xc3"
		  "a",
			3,
			"?"
			"?a" },
		{ "R\xc4\xabga \xf0\x9f\x98\x80", 10, "R\xc4\xabga \xf0\x9f\x98\x80" },
		{ "a\0b", 3, "a?b" },
	};
	struct buf b;

	(void)state;
	buf_init(&b, 1000);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		buf_clear(&b);
		table_clean(&b, rows[i].in, rows[i].length);
		assert_string_equal(buf_text(&b), rows[i].out);
	}
	buf_fini(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cleans_what_steers_a_terminal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
