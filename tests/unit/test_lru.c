/* SPDX-License-Identifier: MIT */
#include "cm.h"

#include "base/clock.h"
#include "base/lru.h"
#include "base/must.h"

static bool
has(struct lru *l, const char *key, const char *text, int64_t version)
{
	size_t length;
	int64_t v;
	const char *got = lru_get(l, key, &length, &v);

	return got && strcmp(got, text) == 0 && length == strlen(text) && v == version;
}

static bool
lacks(struct lru *l, const char *key)
{
	size_t length;
	int64_t v;

	return lru_get(l, key, &length, &v) == NULL;
}

static void
put(struct lru *l, const char *key, const char *text, int64_t version)
{
	lru_put(l, key, text, strlen(text), version);
}

static void
keeps_what_was_used_last(void **state)
{
	struct lru *l = lru_new(3, 1 << 20, 1000);

	(void)state;
	clock_test_set(1000000, 0);
	put(l, "a", "1", 1);
	put(l, "b", "2", 1);
	put(l, "c", "3", 1);
	assert_true(has(l, "a", "1", 1)); /* now b is the oldest */
	put(l, "d", "4", 1);
	assert_true(lacks(l, "b"));
	assert_true(has(l, "a", "1", 1) && has(l, "c", "3", 1) && has(l, "d", "4", 1));
	assert_int_equal(lru_evicted(l), 1);
	assert_int_equal(lru_entries(l), 3);
	lru_free(l);
	clock_test_release();
}

static void
ends_after_its_time(void **state)
{
	struct lru *l = lru_new(3, 1 << 20, 1000);

	(void)state;
	clock_test_set(1000000, 0);
	put(l, "a", "1", 1);
	clock_test_advance_ms(999);
	assert_true(has(l, "a", "1", 1));
	clock_test_advance_ms(1);
	assert_true(lacks(l, "a"));
	assert_int_equal(lru_entries(l), 0);
	assert_int_equal(lru_bytes(l), 0);
	lru_free(l);
	clock_test_release();
}

static void
never_over_its_bytes(void **state)
{
	struct lru *l = lru_new(1000, 4096, 1000);
	char text[600], key[16];

	(void)state;
	memset(text, 'x', sizeof text);
	for (int i = 0; i < 100; i++) {
		snprintf(key, sizeof key, "k%d", i);
		lru_put(l, key, text, sizeof text, 1);
		assert_true(lru_bytes(l) <= 4096);
	}
	assert_true(lru_entries(l) >= 4);
	lru_put(l, "large", text, 2000, 1); /* over a quarter of all: not kept */
	assert_true(lacks(l, "large"));
	lru_free(l);
}

static void
refuses_what_is_older_than_a_change(void **state)
{
	struct lru *l = lru_new(10, 1 << 20, 1000);

	(void)state;
	put(l, "u", "old", 1);
	lru_floor(l, "u", 2);
	assert_true(lacks(l, "u"));
	put(l, "u", "old", 1); /* read before the change, come after it */
	assert_true(lacks(l, "u"));
	put(l, "u", "new", 2);
	assert_true(has(l, "u", "new", 2));
	lru_floor(l, "u", 1); /* an older change said late */
	assert_true(has(l, "u", "new", 2));
	lru_drop(l, "u");
	put(l, "u", "old", 1);
	assert_true(has(l, "u", "old", 1));
	lru_free(l);
}

static void
of_no_entries_keeps_nothing(void **state)
{
	struct lru *l = lru_new(0, 1 << 20, 1000);

	(void)state;
	put(l, "a", "1", 1);
	lru_floor(l, "a", 3);
	assert_true(lacks(l, "a"));
	assert_int_equal(lru_bytes(l), 0);
	lru_clear(l);
	lru_free(l);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeps_what_was_used_last),
		cmocka_unit_test(ends_after_its_time),
		cmocka_unit_test(never_over_its_bytes),
		cmocka_unit_test(refuses_what_is_older_than_a_change),
		cmocka_unit_test(of_no_entries_keeps_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
