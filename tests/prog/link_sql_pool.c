/* SPDX-License-Identifier: MIT */
/* A pool of connections to PostgreSQL on the loop, on ONBOARD_POSTGRES_URL. */
#include <event2/event.h>

#include "../lib/sql_fixture.h"
#include "link/sql_pool.h"

#define SIZE 3

struct told {
	int good, bad;
	enum err_kind kind;
	int64_t pids[8];
	struct sql_pool *again; /* asks again in its answer */
	int refused;
};

static void
on_pid(void *arg, const struct sql_result *r, const struct err *e)
{
	struct told *t = arg;
	struct err said = ERR_INIT;

	if (e) {
		t->bad++;
		t->kind = e->kind;
	} else if (sql_i64(r, 0, 0, &t->pids[t->good++], &said)) {
		fail_msg("%s", said.text);
	}
	if (t->again && sql_pool_run(t->again, NULL, &st_one, NULL, on_pid, t, &said)) {
		t->refused++;
		t->kind = said.kind;
	}
}

static void
turn(struct event_base *base)
{
	const struct timeval step = { 0, 5000 };

	event_base_loopexit(base, &step);
	event_base_loop(base, 0);
}

/* Asks SIZE times at once; answers by how many connections the answers came, 0 where one failed. */
static size_t
connections_asked(struct event_base *base, struct sql_pool *p, struct told *t)
{
	int64_t end = clock_mono_ms() + 3000;
	struct err e = ERR_INIT;
	size_t found = 0;

	*t = (struct told){ 0 };
	for (int i = 0; i < SIZE; i++)
		assert_int_equal(sql_pool_run(p, NULL, &st_pid, NULL, on_pid, t, &e), 0);
	while (t->good + t->bad < SIZE && clock_mono_ms() < end)
		turn(base);
	if (t->good < SIZE) /* a connection was lost meanwhile */
		return 0;
	for (int i = 0; i < SIZE; i++) {
		bool seen = false;

		for (int j = 0; j < i; j++)
			seen |= t->pids[j] == t->pids[i];
		found += !seen;
	}
	return found;
}

static struct sql_pool *
pool_all_up(struct event_base *base, struct told *t)
{
	int64_t end = clock_mono_ms() + 5000;
	struct err e = ERR_INIT;
	struct sql_pool *p = sql_pool_open(base, &(struct sql_options){ .url = url }, SIZE, &e);

	assert_non_null(p);
	assert_false(sql_pool_usable(p));
	assert_int_equal(sql_pool_run(p, NULL, &st_one, NULL, on_pid, t, &e), -1);
	assert_int_equal(e.kind, ERR_AWAY);
	while (!sql_pool_usable(p) && clock_mono_ms() < end)
		turn(base);
	while (connections_asked(base, p, t) < SIZE && clock_mono_ms() < end)
		turn(base);
	return p;
}

static void
calls_spread_and_a_lost_connection_is_passed_by(void **state)
{
	struct event_base *base = event_base_new();
	struct told t;
	struct sql_pool *p = pool_all_up(base, &t);
	int64_t end, gone;

	(void)state;
	assert_int_equal(connections_asked(base, p, &t), SIZE);
	gone = t.pids[0];
	terminate(gone);
	end = clock_mono_ms() + 5000;
	do {
		assert_true(sql_pool_usable(p));
		turn(base);
	} while (connections_asked(base, p, &t) < SIZE && clock_mono_ms() < end);
	for (int i = 0; i < SIZE; i++)
		assert_int_not_equal(t.pids[i], gone);
	assert_int_equal(connections_asked(base, p, &t), SIZE);
	sql_pool_free(p);
	event_base_free(base);
}

static void
closing_answers_what_waits_and_refuses_what_comes(void **state)
{
	struct event_base *base = event_base_new();
	struct err e = ERR_INIT;
	struct told t;
	struct sql_pool *p = pool_all_up(base, &t);

	(void)state;
	t = (struct told){ .again = p };
	assert_int_equal(sql_pool_run(p, NULL, &st_sleep, NULL, on_pid, &t, &e), 0);
	sql_pool_close(p);
	/* each answer asks again: the connections that are still open, then the closed pool */
	assert_in_range(t.bad, 1, SIZE);
	assert_int_equal(t.refused, 1);
	assert_int_equal(t.kind, ERR_AWAY);
	assert_false(sql_pool_usable(p));
	assert_int_equal(sql_pool_run(p, NULL, &st_one, NULL, on_pid, &t, &e), -1);
	assert_int_equal(e.kind, ERR_AWAY);
	sql_pool_free(p);
	sql_pool_free(NULL);
	event_base_free(base);
}

static void
a_url_that_is_none_is_refused(void **state)
{
	struct event_base *base = event_base_new();
	struct err e = ERR_INIT;

	(void)state;
	assert_null(sql_pool_open(base, &(struct sql_options){ .url = "postgresql://%zz@h/d" },
		SIZE, &e));
	assert_int_equal(e.kind, ERR_INVALID);
	event_base_free(base);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(calls_spread_and_a_lost_connection_is_passed_by),
		cmocka_unit_test(closing_answers_what_waits_and_refuses_what_comes),
		cmocka_unit_test(a_url_that_is_none_is_refused),
	};

	ON_SERVER_RUN("ONBOARD_POSTGRES_URL", url, tests, setup, teardown);
}
