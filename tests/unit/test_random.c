/* SPDX-License-Identifier: MIT */
/* rnd and uuid7 */
#include "cm.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/must.h"
#include "base/rnd.h"
#include "base/uuid7.h"

static void
below_stays_below_and_reaches_all(void **state)
{
	unsigned seen[7] = { 0 };

	(void)state;
	for (int i = 0; i < 7000; i++)
		seen[rnd_below(7)]++;
	for (int i = 0; i < 7; i++)
		assert_in_range(seen[i], 700, 1300);
	assert_int_equal(rnd_below(1), 0);
}

static void
a_child_draws_other_numbers(void **state)
{
	uint64_t mine, its;
	int fds[2];
	pid_t pid;

	(void)state;
	rnd_u64(); /* fills the pool that both would share */
	assert_int_equal(pipe(fds), 0);
	pid = fork();
	if (pid == 0) {
		its = rnd_u64();
		_exit(write(fds[1], &its, sizeof its) == sizeof its ? 0 : 1);
	}
	mine = rnd_u64();
	assert_int_equal(read(fds[0], &its, sizeof its), sizeof its);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_true(mine != its);
	close(fds[0]);
	close(fds[1]);
}

static void
a_seed_repeats(void **state)
{
	struct rnd_stream a, b, c;

	(void)state;
	rnd_seed(&a, 7);
	rnd_seed(&b, 7);
	rnd_seed(&c, 8);
	for (int i = 0; i < 100; i++) {
		uint64_t n = rnd_next(&a);

		assert_true(n == rnd_next(&b));
		assert_true(n != rnd_next(&c));
	}
}

static void
uuids_sort_as_made(void **state)
{
	char before[UUID_TEXT_SIZE] = "", now[UUID_TEXT_SIZE];
	struct uuid u;

	(void)state;
	clock_test_set(0, 1700000000000000);
	for (int i = 0; i < 20000; i++) {
		if (i == 15000)
			clock_test_set(0, 1600000000000000); /* a step back */
		u = uuid7_new();
		uuid_format(&u, now);
		assert_true(strcmp(before, now) < 0);
		assert_true(uuid_is_v7(&u));
		memcpy(before, now, sizeof now);
	}
	clock_test_set(0, 1800000000123000);
	u = uuid7_new();
	assert_int_equal(uuid7_time_ms(&u), 1800000000123);
	clock_test_release();
}

static void *
make_many(void *out)
{
	for (int i = 0; i < 2000; i++)
		((struct uuid *)out)[i] = uuid7_new();
	return NULL;
}

static int
compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct uuid));
}

static void
threads_never_make_the_same(void **state)
{
	static struct uuid all[4 * 2000];
	pthread_t t[4];

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, make_many, all + i * 2000), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_join(t[i], NULL), 0);
	qsort(all, ARRAY_LEN(all), sizeof *all, compare);
	for (size_t i = 1; i < ARRAY_LEN(all); i++)
		assert_true(compare(&all[i - 1], &all[i]) != 0);
}

static void
uuid_text_is_strict(void **state)
{
	static const struct {
		const char *text;
		int good;
	} rows[] = {
		{ "0192f0c1-2345-7abc-8def-0123456789ab", 1 },
		{ "0192F0C1-2345-7ABC-8DEF-0123456789AB", 1 },
		{ "00000000-0000-4000-8000-000000000000", 1 },
		{ "0192f0c1-2345-7abc-8def-0123456789a", 0 },
		{ "0192f0c1-2345-7abc-8def-0123456789abc", 0 },
		{ "0192f0c12345-7abc-8def-0123456789abcd", 0 },
		{ "{192f0c1-2345-7abc-8def-0123456789ab}", 0 },
		{ "0192f0g1-2345-7abc-8def-0123456789ab", 0 },
		{ "0192f0c1 2345-7abc-8def-0123456789ab", 0 },
		{ "", 0 },
	};
	char out[UUID_TEXT_SIZE];
	struct uuid u;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(uuid_parse(rows[i].text, strlen(rows[i].text), &u), rows[i].good);
	assert_true(uuid_parse(rows[1].text, 36, &u));
	uuid_format(&u, out);
	assert_string_equal(out, rows[0].text);
	assert_true(uuid_parse(rows[2].text, 36, &u));
	assert_false(uuid_is_v7(&u));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(below_stays_below_and_reaches_all),
		cmocka_unit_test(a_child_draws_other_numbers),
		cmocka_unit_test(a_seed_repeats),
		cmocka_unit_test(uuids_sort_as_made),
		cmocka_unit_test(threads_never_make_the_same),
		cmocka_unit_test(uuid_text_is_strict),
	};

	return cmocka_run_group_tests_name("random", tests, NULL, NULL);
}
