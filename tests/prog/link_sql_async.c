/* SPDX-License-Identifier: MIT */
/* PostgreSQL through the link on the loop, on ONBOARD_POSTGRES_URL. Makes temporary tables only. */
#include <event2/event.h>

#include "../lib/sql_fixture.h"

struct told {
	int good, bad, unsure;
	enum err_kind kind;
	int64_t number;
	char text[512];
};

static void
on_done(void *arg, const struct sql_result *r, const struct err *e)
{
	struct told *t = arg;
	struct err ignored = ERR_INIT;

	if (e) {
		t->bad++;
		t->unsure += r->fate == SQL_UNSURE;
		t->kind = e->kind;
		snprintf(t->text, sizeof t->text, "%s", e->text);
	} else {
		t->good++;
		if (r->rows && sql_i64(r, 0, 0, &t->number, &ignored))
			t->number = -1;
	}
}

static bool
turn_until(struct event_base *base, const int *what, int want, int64_t ms)
{
	const struct timeval step = { 0, 5000 };
	int64_t end = clock_mono_ms() + ms;

	while (*what < want && clock_mono_ms() < end) {
		event_base_loopexit(base, &step);
		event_base_loop(base, 0);
	}
	return *what >= want;
}

static bool
turn_until_up(struct event_base *base, struct link *l, bool up, int64_t ms)
{
	const struct timeval step = { 0, 5000 };
	int64_t end = clock_mono_ms() + ms;

	while (link_usable(l) != up && clock_mono_ms() < end) {
		event_base_loopexit(base, &step);
		event_base_loop(base, 0);
	}
	return link_usable(l) == up;
}

static void
runs_in_order_and_comes_back(void **state)
{
	struct event_base *base = event_base_new();
	struct err e = ERR_INIT;
	struct told t = { 0 };
	struct sql_async *a =
		sql_async_open(base, &(struct sql_options){ .url = url, .queue_max = 5 }, &e);

	(void)state;
	assert_non_null(a);
	assert_int_equal(sql_async_run(a, mem, &st_one, NULL, on_done, &t, &e), -1);
	assert_int_equal(e.kind, ERR_AWAY);
	assert_true(turn_until_up(base, sql_async_link(a), true, 3000));
	for (int i = 0; i < 6; i++) /* five queued behind one */
		assert_int_equal(
			sql_async_run(a, i % 2 ? mem : NULL, &st_pid, NULL, on_done, &t, &e), 0);
	assert_int_equal(sql_async_run(a, NULL, &st_one, NULL, on_done, &t, &e), -1);
	assert_int_equal(e.kind, ERR_LIMIT);
	assert_int_equal(t.good, 0); /* never from within */
	assert_true(turn_until(base, &t.good, 6, 3000));
	assert_int_equal(sql_async_waiting(a), 0);

	/* cut while idle: noticed without a call */
	terminate(t.number);
	assert_true(turn_until_up(base, sql_async_link(a), false, 2000));
	assert_true(turn_until_up(base, sql_async_link(a), true, 2000));

	/* cut while one runs and one waits: the first is unsure, the second undone */
	t = (struct told){ 0 };
	assert_int_equal(sql_async_run(a, NULL, &st_pid, NULL, on_done, &t, &e), 0);
	assert_true(turn_until(base, &t.good, 1, 2000));
	assert_int_equal(sql_async_run(a, NULL, &st_sleep, NULL, on_done, &t, &e), 0);
	assert_int_equal(sql_async_run(a, NULL, &st_one, NULL, on_done, &t, &e), 0);
	turn_until(base, &t.bad, 1, 200);
	terminate(t.number);
	assert_true(turn_until(base, &t.bad, 2, 2000));
	assert_int_equal(t.unsure, 1);
	assert_int_equal(t.kind, ERR_AWAY);

	assert_true(turn_until_up(base, sql_async_link(a), true, 2000));
	assert_int_equal(sql_async_run(a, NULL, &st_one, NULL, on_done, &t, &e), 0);
	sql_async_close(a); /* answers what waits */
	assert_int_equal(t.bad, 3);
	event_base_free(base);
}

static void
errors_and_slowness(void **state)
{
	static const struct sql_statement bad = { "t_bad", "SELEC 1" },
					  zero = { "t_zero", "SELECT 1/$1::int" };
	struct event_base *base = event_base_new();
	struct err e = ERR_INIT;
	struct told t = { 0 };
	struct sql_params p;
	struct sql_async *a = sql_async_open(base,
		&(struct sql_options){ .url = url, .query_ms = 400, .ping_ms = 50 }, &e);

	(void)state;
	sql_params_init(&p);
	sql_add_i64(&p, 0);
	assert_true(turn_until_up(base, sql_async_link(a), true, 3000));
	turn_until(base, &t.bad, 1, 300); /* pings in between */
	assert_int_equal(sql_async_run(a, mem, &bad, NULL, on_done, &t, &e), 0);
	assert_int_equal(sql_async_run(a, mem, &zero, &p, on_done, &t, &e), 0);
	assert_true(turn_until(base, &t.bad, 2, 2000));
	assert_int_equal(t.kind, ERR_INVALID);
	assert_non_null(strstr(t.text, "t_zero: division by zero (22012)"));
	/* the server's own backstop is first; the one behind it still has its turn or its LIMIT */
	assert_int_equal(sql_async_run(a, mem, &st_sleep, NULL, on_done, &t, &e), 0);
	assert_true(turn_until(base, &t.bad, 3, 1000));
	assert_int_equal(t.kind, ERR_AWAY);
	assert_true(link_usable(sql_async_link(a)));
	sql_async_close(a);
	event_base_free(base);
}

/* The parts of one call: one transaction, the last part's answer, an error undoes all. */
static void
parts_are_one_transaction(void **state)
{
	static const struct sql_statement create = { "t_create",
		"CREATE TEMP TABLE IF NOT EXISTS parts_t (id bigint PRIMARY KEY)" };
	static const struct sql_statement add = { "t_add",
		"INSERT INTO parts_t VALUES ($1) RETURNING id" };
	static const struct sql_statement count = { "t_parts", "SELECT count(*) FROM parts_t" };
	struct event_base *base = event_base_new();
	struct err e = ERR_INIT;
	struct told t = { 0 };
	struct sql_params one, two;
	const struct sql_part all[] = { { &add, &one }, { &add, &two }, { &count, NULL } };
	const struct sql_part twice[] = { { &add, &two }, { &add, &two }, { &count, NULL } };
	struct sql_async *a = sql_async_open(base, &(struct sql_options){ .url = url }, &e);

	(void)state;
	sql_params_init(&one);
	sql_add_i64(&one, 1);
	sql_params_init(&two);
	sql_add_i64(&two, 2);
	assert_true(turn_until_up(base, sql_async_link(a), true, 3000));
	assert_int_equal(sql_async_run(a, NULL, &create, NULL, on_done, &t, &e), 0);
	assert_true(turn_until(base, &t.good, 1, 2000));
	assert_int_equal(sql_async_transact(a, NULL, all, 3, on_done, &t, &e), 0);
	assert_int_equal(sql_async_run(a, NULL, &count, NULL, on_done, &t, &e), 0);
	assert_true(turn_until(base, &t.good, 3, 2000));
	assert_int_equal(t.number, 2);

	assert_int_equal(sql_async_transact(a, mem, twice, 3, on_done, &t, &e), 0);
	assert_true(turn_until(base, &t.bad, 1, 2000));
	assert_int_equal(t.kind, ERR_CONFLICT);
	assert_true(link_usable(sql_async_link(a)));
	assert_int_equal(sql_async_transact(a, mem, &all[2], 1, on_done, &t, &e), 0);
	assert_true(turn_until(base, &t.good, 4, 2000));
	assert_int_equal(t.number, 2);
	sql_async_close(a);
	event_base_free(base);
}

/* A part that waits for a lock is followed by one that sees what the lock's holder left. */
static void
a_part_behind_a_lock_sees_what_was_committed(void **state)
{
	static const struct sql_statement lock = { "t_lock",
		"SELECT pg_advisory_xact_lock(77)::text" };
	static const struct sql_statement look = { "t_look",
		"SELECT count(*) FROM pg_class WHERE relname = 'link_sql_late'" };
	struct event_base *base = event_base_new();
	struct err e = ERR_INIT;
	struct told t = { 0 };
	struct sql_result r;
	enum sql_fate fate;
	const struct sql_part parts[] = { { &lock, NULL }, { &look, NULL } };
	struct sql_async *a = sql_async_open(base, &(struct sql_options){ .url = url }, &e);

	(void)state;
	assert_true(turn_until_up(base, sql_async_link(a), true, 3000));
	assert_int_equal(sql_begin(s, &e), 0);
	assert_int_equal(sql_run(s, mem, &lock, NULL, &r, &e), 0);
	assert_int_equal(sql_async_transact(a, NULL, parts, 2, on_done, &t, &e), 0);
	turn_until(base, &t.good, 1, 200);
	assert_int_equal(t.good, 0);
	assert_int_equal(sql_script(s, "CREATE TABLE link_sql_late ()", 0, &r, &e), 0);
	assert_int_equal(sql_commit(s, &fate, &e), 0);
	assert_true(turn_until(base, &t.good, 1, 1500));
	assert_int_equal(t.number, 1);
	assert_int_equal(sql_script(s, "DROP TABLE link_sql_late", 0, &r, &e), 0);

	/* cut while the second part runs: nobody knows; the next call waits for the new connection */
	assert_int_equal(sql_async_run(a, NULL, &st_pid, NULL, on_done, &t, &e), 0);
	assert_true(turn_until(base, &t.good, 2, 2000));
	assert_int_equal(
		sql_async_transact(a, NULL,
			(const struct sql_part[]){ { &st_one, NULL }, { &st_sleep, NULL } }, 2,
			on_done, &t, &e),
		0);
	turn_until(base, &t.bad, 1, 200);
	terminate(t.number);
	assert_true(turn_until(base, &t.bad, 1, 2000));
	assert_int_equal(t.unsure, 1);
	assert_int_equal(t.kind, ERR_AWAY);
	assert_true(turn_until_up(base, sql_async_link(a), true, 2000));
	assert_int_equal(sql_async_transact(a, NULL, parts, 2, on_done, &t, &e), 0);
	assert_true(turn_until(base, &t.good, 3, 2000));
	sql_async_close(a);
	event_base_free(base);
}

static void
is_read_only(void **state)
{
	static const struct sql_statement set = { "t_read_only", READ_ONLY };
	struct event_base *base = event_base_new();
	struct err e = ERR_INIT;
	struct told t = { 0 };
	struct sql_async *a = sql_async_open(base,
		&(struct sql_options){ .url = url, .want = SQL_WANT_WRITABLE, .ping_ms = 50 }, &e);

	(void)state;
	assert_true(turn_until_up(base, sql_async_link(a), true, 3000));
	assert_int_equal(sql_async_run(a, NULL, &set, NULL, on_done, &t, &e), 0);
	assert_true(turn_until_up(base, sql_async_link(a), false, 2000)); /* the ping finds it */
	assert_true(turn_until_up(base, sql_async_link(a), true, 3000));
	sql_async_close(a);
	event_base_free(base);
}

static void
silent(void **state)
{
	struct event_base *base = event_base_new();
	struct err e = ERR_INIT;
	struct link_view v;
	char where[100];
	int never = 0, port, fd = silent_server(&port);
	struct sql_async *a;

	(void)state;
	snprintf(where, sizeof where, "postgresql://u:secret@127.0.0.1:%d/d", port);
	a = sql_async_open(base, &(struct sql_options){ .url = where, .connect_ms = 100 }, &e);
	turn_until(base, &never, 1, 600); /* several tries */
	link_look(sql_async_link(a), &v);
	assert_int_not_equal(v.state, LINK_UP);
	assert_string_equal(v.why, "no answer to the connect in time");
	close(fd);
	turn_until(base, &never, 1, 1500);
	link_look(sql_async_link(a), &v);
	assert_non_null(strstr(v.why, "refused"));
	sql_async_close(a);
	event_base_free(base);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(runs_in_order_and_comes_back),
		cmocka_unit_test(errors_and_slowness),
		cmocka_unit_test(is_read_only),
		cmocka_unit_test(parts_are_one_transaction),
		cmocka_unit_test(a_part_behind_a_lock_sees_what_was_committed),
		cmocka_unit_test(silent),
	};

	ON_SERVER_RUN("ONBOARD_POSTGRES_URL", url, tests, setup, teardown);
}
