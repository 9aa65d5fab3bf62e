/* SPDX-License-Identifier: MIT */
/* backoff and breaker: pure functions of numbers */
#include "cm.h"

#include "base/backoff.h"
#include "base/breaker.h"
#include "base/must.h"

static void
backoff_doubles_to_its_cap(void **state)
{
	const struct backoff b = { 100, 5000 };
	static const int64_t whole[] = { 100, 200, 400, 800, 1600, 3200, 5000, 5000 };

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(whole); i++) {
		assert_int_equal(backoff_wait_ms(&b, i, 0), whole[i]);
		for (uint64_t r = 0; r < 20000; r += 13)
			assert_in_range(backoff_wait_ms(&b, i, r), whole[i] / 2, whole[i]);
		assert_int_equal(backoff_wait_ms(&b, i, (uint64_t)whole[i] / 2),
			whole[i] - whole[i] / 2);
	}
	assert_in_range(backoff_wait_ms(&b, 4000000000u, UINT64_MAX), 2500, 5000);
}

static void
breaker_opens_tries_once_and_closes(void **state)
{
	struct breaker b;

	(void)state;
	breaker_init(&b, 5, 30000);
	for (int i = 0; i < 4; i++) {
		assert_true(breaker_allow(&b, i));
		breaker_failure(&b, i);
	}
	assert_int_equal(b.state, BREAKER_CLOSED);
	breaker_failure(&b, 1000);
	assert_int_equal(b.state, BREAKER_OPEN);
	assert_int_equal(b.failures, 5);
	assert_false(breaker_allow(&b, 30999));
	assert_true(breaker_allow(&b, 31000)); /* the trial */
	assert_int_equal(b.state, BREAKER_HALF_OPEN);
	assert_false(breaker_allow(&b, 31001)); /* one at a time */
	breaker_failure(&b, 32000);
	assert_int_equal(b.state, BREAKER_OPEN);
	assert_false(breaker_allow(&b, 61999));
	assert_true(breaker_allow(&b, 62000));
	breaker_success(&b);
	assert_int_equal(b.state, BREAKER_CLOSED);
	assert_int_equal(b.failures, 0);
	assert_true(breaker_allow(&b, 62001));
	assert_string_equal(breaker_state_name(BREAKER_HALF_OPEN), "HALF_OPEN");
}

static void
breaker_counts_failures_in_a_row_only(void **state)
{
	struct breaker b;

	(void)state;
	breaker_init(&b, 2, 1000);
	for (int i = 0; i < 10; i++) {
		breaker_failure(&b, i);
		breaker_success(&b);
	}
	assert_int_equal(b.state, BREAKER_CLOSED);
	breaker_failure(&b, 1);
	breaker_failure(&b, 2);
	breaker_success(&b); /* a late answer from before it opened */
	assert_int_equal(b.state, BREAKER_OPEN);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(backoff_doubles_to_its_cap),
		cmocka_unit_test(breaker_opens_tries_once_and_closes),
		cmocka_unit_test(breaker_counts_failures_in_a_row_only),
	};

	return cmocka_run_group_tests_name("pure", tests, NULL, NULL);
}
