/* SPDX-License-Identifier: MIT */
#include "cm.h"

#include "base/arena.h"

static char order[8];
static char marks[] = "x123";

static void
note(void *p)
{
	order[strlen(order)] = *(char *)p;
}

static void
is_zeroed_and_aligned(void **state)
{
	struct arena *a = arena_new(64, 1 << 20);

	(void)state;
	for (size_t size = 0; size < 3000; size += 7) {
		char *p = arena_alloc(a, size);

		assert_non_null(p);
		assert_int_equal((uintptr_t)p % _Alignof(max_align_t), 0);
		for (size_t i = 0; i < size; i++)
			assert_int_equal(p[i], 0);
		memset(p, 0xff, size);
	}
	arena_reset(a);
	assert_int_equal(arena_used(a), 0);
	assert_int_equal(*(char *)arena_alloc(a, 100), 0);
	arena_free(a);
}

static void
is_bounded(void **state)
{
	struct arena *a = arena_new(64, 1000);

	(void)state;
	assert_null(arena_alloc(a, 1001));
	assert_null(arena_alloc(a, SIZE_MAX));
	assert_null(arena_alloc(a, SIZE_MAX - 8));
	assert_non_null(arena_alloc(a, 500));
	assert_null(arena_alloc(a, 600));
	assert_null(arena_strndup(a, "x", SIZE_MAX));
	arena_reset(a);
	assert_non_null(arena_alloc(a, 900));
	assert_null(arena_printf(a, "%0200d", 1));
	arena_free(a);
	arena_free(NULL);
}

static void
deferred_run_last_first(void **state)
{
	struct arena *a = arena_new(64, 1 << 16);

	(void)state;
	memset(order, 0, sizeof order);
	assert_true(arena_defer(a, note, marks + 1));
	assert_true(arena_defer(a, note, marks + 2));
	arena_reset(a);
	assert_string_equal(order, "21");
	assert_true(arena_defer(a, note, marks + 3));
	arena_free(a);
	assert_string_equal(order, "213");
}

static void
defer_without_room_releases_at_once(void **state)
{
	struct arena *a = arena_new(64, 16);

	(void)state;
	memset(order, 0, sizeof order);
	assert_non_null(arena_alloc(a, 16));
	assert_false(arena_defer(a, note, marks));
	assert_string_equal(order, "x");
	arena_free(a);
	assert_string_equal(order, "x");
}

static void
copies(void **state)
{
	struct arena *a = arena_new(64, 1 << 16);

	(void)state;
	assert_string_equal(arena_strdup(a, "hello"), "hello");
	assert_string_equal(arena_strndup(a, "hello", 2), "he");
	assert_string_equal(arena_strndup(a, NULL, 0), "");
	assert_string_equal(arena_printf(a, "%s-%d", "n", 5), "n-5");
	assert_memory_equal(arena_memdup(a, "a\0b", 3), "a\0b", 3);
	arena_free(a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(is_zeroed_and_aligned),
		cmocka_unit_test(is_bounded),
		cmocka_unit_test(deferred_run_last_first),
		cmocka_unit_test(defer_without_room_releases_at_once),
		cmocka_unit_test(copies),
	};

	return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
