/* SPDX-License-Identifier: MIT */
#include "cm.h"

#include "base/clock.h"
#include "base/must.h"
#include "run/flight.h"

/* A flight only keeps requests and hands them over, so any address serves as one. */
static struct http_request *
request(int *number)
{
	return (struct http_request *)number;
}

static void
answer_count(const void *arg, struct http_request *r)
{
	int *answers = (int *)r;

	*answers += *(const int *)arg;
}

static void
one_makes_the_answer_and_all_get_it(void **state)
{
	struct flights *all = flights_new();
	int answers[9] = { 0 }, other = 0;
	struct flight *f = flight_join(all, "a", request(&answers[0])), *b;

	(void)state;
	assert_non_null(f);
	assert_string_equal(flight_key(f), "a");
	for (size_t i = 1; i < ARRAY_LEN(answers); i++)
		assert_null(flight_join(all, "a", request(&answers[i])));
	b = flight_join(all, "b", request(&other));
	assert_non_null(b);
	flight_land(f, answer_count, &(int){ 1 });
	for (size_t i = 0; i < ARRAY_LEN(answers); i++)
		assert_int_equal(answers[i], 1);
	assert_int_equal(other, 0);
	flight_land(b, answer_count, &(int){ 2 });
	assert_int_equal(other, 2);
	f = flight_join(all, "a", request(&answers[0]));
	assert_non_null(f); /* the one before has landed */
	flight_land(f, answer_count, &(int){ 1 });
	flights_free(all);
}

static void
after_a_change_the_next_request_begins_anew(void **state)
{
	struct flights *all = flights_new();
	int before = 0, waits = 0, after = 0;
	struct flight *old, *new;

	(void)state;
	flights_forget(all, "a"); /* nobody asks for it */
	old = flight_join(all, "a", request(&before));
	assert_null(flight_join(all, "a", request(&waits)));
	assert_false(flight_forgotten(old));
	flights_forget(all, "b");
	assert_false(flight_forgotten(old));
	flights_forget(all, "a");
	assert_true(flight_forgotten(old));
	new = flight_join(all, "a", request(&after));
	assert_non_null(new);
	flight_land(old, answer_count, &(int){ 1 });
	assert_int_equal(before + waits, 2);
	assert_int_equal(after, 0);
	assert_false(flight_forgotten(new));
	flights_forget_all(all);
	assert_true(flight_forgotten(new));
	flight_land(new, answer_count, &(int){ 1 });
	assert_int_equal(after, 1);
	flights_free(all);
}

static void
a_flight_that_begins_again_is_like_new(void **state)
{
	struct flights *all = flights_new();
	int first = 0, waits = 0, other = 0;
	struct flight *f = flight_join(all, "a", request(&first)), *newer;

	(void)state;
	flight_again(f); /* nothing has changed meanwhile */
	assert_false(flight_forgotten(f));
	flights_forget(all, "a");
	flight_again(f);
	assert_false(flight_forgotten(f));
	assert_null(flight_join(all, "a", request(&waits)));
	flights_forget(all, "a");
	newer = flight_join(all, "a", request(&other));
	flight_again(f);
	assert_true(flight_forgotten(f)); /* the newer one has the key */
	flight_land(f, answer_count, &(int){ 1 });
	assert_int_equal(first + waits, 2);
	assert_int_equal(other, 0);
	assert_false(flight_forgotten(newer));
	flight_land(newer, answer_count, &(int){ 1 });
	flights_free(all);
}

static void
only_old_flights_are_forgotten(void **state)
{
	struct flights *all = flights_new();
	int answers = 0;
	struct flight *f;

	(void)state;
	clock_test_set(1000000, 0);
	f = flight_join(all, "a", request(&answers));
	clock_test_advance_ms(999);
	flights_forget_older(all, "a", 1000);
	assert_false(flight_forgotten(f));
	clock_test_advance_ms(1);
	flights_forget_older(all, "a", 1000);
	assert_true(flight_forgotten(f));
	flight_land(f, answer_count, &(int){ 1 });
	clock_test_release();
	flights_free(all);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_makes_the_answer_and_all_get_it),
		cmocka_unit_test(after_a_change_the_next_request_begins_anew),
		cmocka_unit_test(a_flight_that_begins_again_is_like_new),
		cmocka_unit_test(only_old_flights_are_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
