/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "link/link.h"

static void
states(void **state)
{
	struct link l;
	struct link_view v;

	(void)state;
	link_init(&l, "postgres");
	link_look(&l, &v);
	assert_int_equal(v.state, LINK_DOWN);
	assert_string_equal(v.why, "not connected yet");
	link_state_set(&l, LINK_CONNECTING, NULL);
	assert_false(link_usable(&l));
	link_state_set(&l, LINK_DOWN, "connection refused");
	link_look(&l, &v);
	assert_string_equal(v.why, "connection refused");
	link_state_set(&l, LINK_CONNECTING, NULL);
	link_state_set(&l, LINK_UP, NULL);
	assert_true(link_usable(&l));
	link_look(&l, &v);
	assert_int_equal(v.reconnects, 0); /* the first time is no return */
	assert_string_equal(v.why, "");
	link_state_set(&l, LINK_BLOCKED, "memory alarm");
	assert_false(link_usable(&l));
	link_state_set(&l, LINK_UP, NULL);
	link_look(&l, &v);
	assert_int_equal(v.reconnects, 0); /* the connection was never lost */
	link_state_set(&l, LINK_DOWN, "reset");
	link_state_set(&l, LINK_CONNECTING, NULL);
	link_state_set(&l, LINK_UP, NULL);
	link_look(&l, &v);
	assert_int_equal(v.reconnects, 1);
	link_fini(&l);
}

static void
waits_grow_to_five_seconds(void **state)
{
	static const int64_t full[] = { 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000 };
	struct link l;
	int64_t ms;

	(void)state;
	link_init(&l, "redis");
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < ARRAY_LEN(full); i++) {
			ms = link_wait_ms(&l);
			assert_in_range(ms, full[i] / 2, full[i]);
		}
		/* being up once begins anew */
		link_state_set(&l, LINK_CONNECTING, NULL);
		link_state_set(&l, LINK_UP, NULL);
		link_state_set(&l, LINK_DOWN, "reset");
	}
	link_fini(&l);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(states),
		cmocka_unit_test(waits_grow_to_five_seconds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
