/* SPDX-License-Identifier: MIT */
#include "base/promtext.h"

#include <string.h>

#include "cm.h"

static void
test_samples_of_a_page(void **state)
{
	static const char page[] = "# HELP a text\n"
				   "a 5\n"
				   "broken{ 1\n"
				   "b{daemon=\"on}\\\"x\",le=\"+Inf\"} 2.5 1700000000\n"
				   "c 12x\n"
				   "d{} -3";
	const char *at = page, *end = page + sizeof page - 1;
	struct promtext_sample s;
	char value[32];

	(void)state;
	assert_true(promtext_next(&at, end, &s));
	assert_true(promtext_is(&s, "a") && s.value == 5 && !s.labels);
	assert_false(promtext_label(&s, "daemon", value, sizeof value));
	assert_true(promtext_next(&at, end, &s));
	assert_true(promtext_is(&s, "b") && !promtext_is(&s, "bb") && s.value == 2.5);
	assert_true(promtext_label(&s, "daemon", value, sizeof value));
	assert_string_equal(value, "on}\\\"x");
	assert_true(promtext_label(&s, "le", value, sizeof value));
	assert_string_equal(value, "+Inf");
	assert_false(promtext_label(&s, "l", value, sizeof value));
	assert_true(promtext_next(&at, end, &s));
	assert_true(promtext_is(&s, "d") && s.value == -3 && s.labels_length == 0);
	assert_false(promtext_next(&at, end, &s));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_samples_of_a_page),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
