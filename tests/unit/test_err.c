/* SPDX-License-Identifier: MIT */
#include "cm.h"

#include "base/err.h"

static void
sets_kind_and_text_and_answers_minus_one(void **state)
{
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(err_set(&e, ERR_CONFLICT, "taken: %d", 7), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_string_equal(e.text, "taken: 7");
	assert_int_equal(err_wrap(&e, "user %s", "x"), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_string_equal(e.text, "user x: taken: 7");
	assert_int_equal(err_set(NULL, ERR_AWAY, "nobody asks"), -1);
	assert_int_equal(err_wrap(NULL, "nobody asks"), -1);
}

static void
is_one_line(void **state)
{
	struct err e;

	(void)state;
	err_set(&e, ERR_INVALID, "a\nb\r\nc\033[31m\x7f.\n");
	assert_string_equal(e.text, "a b  c [31m .");
}

static void
cuts_between_characters(void **state)
{
	struct err e;
	char text[2000];

	(void)state;
	for (size_t lead = 0; lead < 4; lead++) {
		memset(text, 'a', lead);
		for (size_t i = lead; i + 2 < sizeof text - 1; i += 2)
			memcpy(text + i, "\xc3\xa9", 3);
		err_set(&e, ERR_LIMIT, "%s", text);
		assert_true(strlen(e.text) < sizeof e.text);
		assert_string_equal(e.text + strlen(e.text) - 3, "...");
		assert_true(((strlen(e.text) - 3 - lead) & 1) == 0);
	}
	err_set(&e, ERR_LIMIT, "%s", text);
	err_wrap(&e, "%s", text);
	assert_string_equal(e.text + strlen(e.text) - 3, "...");
}

static void
own_text_may_be_an_argument(void **state)
{
	struct err e;

	(void)state;
	err_set(&e, ERR_AWAY, "gone");
	err_set(&e, ERR_INTERNAL, "it said: %s", e.text);
	assert_string_equal(e.text, "it said: gone");
	assert_string_equal(err_kind_name(e.kind), "internal");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sets_kind_and_text_and_answers_minus_one),
		cmocka_unit_test(is_one_line),
		cmocka_unit_test(cuts_between_characters),
		cmocka_unit_test(own_text_may_be_an_argument),
	};

	return cmocka_run_group_tests_name("err", tests, NULL, NULL);
}
