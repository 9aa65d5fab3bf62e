/* SPDX-License-Identifier: MIT */
/* PostgreSQL through both links, on ONBOARD_POSTGRES_URL. Makes temporary tables only. */
#include <event2/event.h>

#include "../lib/on_server.h"
#include "base/clock.h"

#include "link/sql.h"

static const char *url;
static struct arena *mem;
static struct sql *s;

static const struct sql_statement st_one = { "t_one",
	"SELECT 1::bigint, 'x'::text, true, NULL::text" };
static const struct sql_statement st_pid = { "t_pid", "SELECT pg_backend_pid()" };
static const struct sql_statement st_kill = { "t_kill", "SELECT pg_terminate_backend($1::int)" };
static const struct sql_statement st_sleep = { "t_sleep", "SELECT pg_sleep(30)::text" };
static const struct sql_statement st_insert = { "t_insert",
	"INSERT INTO link_t SELECT * FROM unnest($1::bigint[], $2::text[]) RETURNING id" };
static const struct sql_statement st_count = { "t_count", "SELECT count(*) FROM link_t" };
static const struct sql_statement st_names = { "t_names", "SELECT name FROM link_t ORDER BY id" };

static int64_t
pid_of(struct sql *c)
{
	struct sql_result r;
	struct err e = ERR_INIT;
	int64_t pid = 0;

	if (sql_run(c, mem, &st_pid, NULL, &r, &e) || sql_i64(&r, 0, 0, &pid, &e))
		fail_msg("%s", e.text);
	return pid;
}

static void
terminate(int64_t pid)
{
	struct err e = ERR_INIT;
	struct sql *other = sql_open(&(struct sql_options){ .url = url, .link_name = "other" }, &e);
	struct sql_params p;
	struct sql_result r;

	sql_params_init(&p);
	sql_add_i64(&p, pid);
	assert_int_equal(sql_run(other, mem, &st_kill, &p, &r, &e), 0);
	usleep(50000); /* the other session's end is not announced to this one */
	sql_close(other);
}

static int
setup(void **state)
{
	struct err e = ERR_INIT;
	struct sql_result r;

	(void)state;
	mem = arena_new(4096, 16 << 20);
	s = sql_open(&(struct sql_options){ .url = url, .application = "link_sql" }, &e);
	assert_non_null(s);
	return sql_script(s,
		"CREATE TEMP TABLE link_t (id bigint PRIMARY KEY, name text NOT NULL "
		"CONSTRAINT short CHECK (length(name) < 100))",
		0, &r, &e);
}

static int
teardown(void **state)
{
	(void)state;
	sql_close(s);
	arena_free(mem);
	return 0;
}

static void
values(void **state)
{
	struct sql_result r;
	struct err e = ERR_INIT;
	int64_t n;
	bool b;

	(void)state;
	for (int i = 0; i < 3; i++) { /* prepared once, run again */
		assert_int_equal(sql_run(s, mem, &st_one, NULL, &r, &e), 0);
		assert_int_equal(r.fate, SQL_DONE);
		assert_int_equal(r.rows, 1);
		assert_int_equal(r.columns, 4);
		assert_int_equal(sql_i64(&r, 0, 0, &n, &e), 0);
		assert_int_equal(n, 1);
		assert_string_equal(sql_text(&r, 0, 1), "x");
		assert_int_equal(sql_bool(&r, 0, 2, &b, &e), 0);
		assert_true(b);
		assert_true(sql_null(&r, 0, 3));
		assert_null(sql_text(&r, 0, 3));
		assert_int_equal(sql_i64(&r, 0, 1, &n, &e), -1);
		assert_int_equal(sql_i64(&r, 0, 3, &n, &e), -1);
		assert_int_equal(sql_bool(&r, 0, 0, &b, &e), -1);
		assert_int_equal(e.kind, ERR_INTERNAL);
	}
}

static int
insert(struct sql *c, int64_t id, const char *name, struct sql_result *r, struct err *e)
{
	struct sql_array ids, names;
	struct sql_params p;
	int rc;

	sql_params_init(&p);
	sql_array_init(&ids, 100);
	sql_array_init(&names, 1000);
	sql_array_i64(&ids, id);
	sql_array_text(&names, name);
	rc = sql_add_array(&p, &ids, e) || sql_add_array(&p, &names, e)
		? -1
		: sql_run(c, mem, &st_insert, &p, r, e);
	sql_array_fini(&ids);
	sql_array_fini(&names);
	return rc;
}

static void
arrays_and_errors(void **state)
{
	static const char *const odd[] = { "", "NULL", "a\"b\\c", "{x,y}", "'; --", "\xc3\xa9\n\t",
		"\\\"" };
	char longer[200];
	struct sql_result r;
	struct err e = ERR_INIT;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
		assert_int_equal(insert(s, (int64_t)i, odd[i], &r, &e), 0);
		assert_int_equal(r.affected, 1);
	}
	assert_int_equal(sql_run(s, mem, &st_names, NULL, &r, &e), 0);
	assert_int_equal(r.rows, ARRAY_LEN(odd));
	assert_int_equal(r.affected, 0);
	for (size_t i = 0; i < ARRAY_LEN(odd); i++)
		assert_string_equal(sql_text(&r, i, 0), odd[i]);

	assert_int_equal(insert(s, 0, "private@example.org", &r, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_string_equal(r.sqlstate, "23505");
	assert_string_equal(r.constraint, "link_t_pkey");
	assert_int_equal(r.fate, SQL_UNDONE);
	assert_null(strstr(e.text, "private"));
	assert_null(strstr(e.text, "Key (id)"));

	memset(longer, 'p', sizeof longer - 1);
	longer[sizeof longer - 1] = '\0';
	assert_int_equal(insert(s, 99, longer, &r, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_string_equal(r.constraint, "short");
	assert_null(strstr(e.text, "ppp"));
	assert_int_equal(insert(s, 99, NULL, &r, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_int_equal(insert(s, 99, "\xff\xfe", &r, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_true(link_usable(sql_link(s))); /* none of them cost the connection */
}

static int64_t
count(struct sql *c)
{
	struct sql_result r;
	struct err e = ERR_INIT;
	int64_t n = -1;

	if (sql_run(c, mem, &st_count, NULL, &r, &e) || sql_i64(&r, 0, 0, &n, &e))
		fail_msg("%s", e.text);
	return n;
}

static void
transactions(void **state)
{
	int64_t before = count(s);
	enum sql_fate fate;
	struct sql_result r;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(sql_begin(s, &e), 0);
	assert_int_equal(insert(s, 1000, "a", &r, &e), 0);
	sql_rollback(s);
	assert_int_equal(count(s), before);
	assert_int_equal(sql_begin(s, &e), 0);
	assert_int_equal(insert(s, 1000, "a", &r, &e), 0);
	assert_int_equal(sql_commit(s, &fate, &e), 0);
	assert_int_equal(fate, SQL_DONE);
	assert_int_equal(count(s), before + 1);
	/* a failed one cannot be committed, though the server calls that a success */
	assert_int_equal(sql_begin(s, &e), 0);
	assert_int_equal(insert(s, 1001, "a", &r, &e), 0);
	assert_int_equal(insert(s, 1001, "a", &r, &e), -1);
	assert_int_equal(sql_commit(s, &fate, &e), -1);
	assert_int_equal(fate, SQL_UNDONE);
	assert_int_equal(count(s), before + 1);
}

static void
a_lost_transaction_runs_nothing(void **state)
{
	enum sql_fate fate;
	struct sql_result r;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(sql_begin(s, &e), 0);
	terminate(pid_of(s));
	for (int i = 0; i < 3; i++) {
		usleep(150000);
		assert_int_equal(sql_run(s, mem, &st_one, NULL, &r, &e), -1);
		assert_int_equal(e.kind, ERR_AWAY);
		assert_int_equal(r.fate, SQL_UNDONE);
	}
	assert_int_equal(sql_commit(s, &fate, &e), -1);
	assert_int_equal(fate, SQL_UNDONE);
	assert_int_equal(sql_run(s, mem, &st_one, NULL, &r, &e), 0);
	/* lost while the commit is on its way: nobody knows */
	assert_int_equal(sql_begin(s, &e), 0);
	terminate(pid_of(s));
	assert_int_equal(sql_commit(s, &fate, &e), -1);
	assert_int_equal(e.kind, ERR_AWAY);
	assert_int_equal(fate, SQL_UNSURE);
}

static void
comes_back(void **state)
{
	struct link_view v;
	struct sql_result r;
	struct err e = ERR_INIT;
	int64_t pid, from;

	(void)state;
	from = clock_mono_ms();
	while (sql_ping(s, &e) && clock_mono_ms() - from < 5000)
		usleep(10000);
	pid = pid_of(s);
	terminate(pid);
	/* the end was there to be seen before anything was sent: no call has to fail */
	assert_int_equal(sql_run(s, mem, &st_one, NULL, &r, &e), 0);
	assert_int_not_equal(pid_of(s), pid);
	link_look(sql_link(s), &v);
	assert_true(v.reconnects > 0);
}

static void
slow_statements_end(void **state)
{
	int64_t from = clock_mono_ms();
	struct sql_result r;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(sql_run(s, mem, &st_sleep, NULL, &r, &e), -1);
	assert_int_equal(e.kind, ERR_AWAY);
	assert_string_equal(r.sqlstate, "57014");
	assert_true(sql_timed_out(&r) && link_usable(sql_link(s)));
	assert_int_equal(r.fate, SQL_UNDONE);
	assert_in_range(clock_mono_ms() - from, 1500, 2500);
	assert_int_equal(sql_run(s, mem, &st_one, NULL, &r, &e), 0);
}

static void
a_silent_server_costs_the_connect_time(void **state)
{
	struct err e = ERR_INIT;
	char where[100];
	int64_t from;
	int port, fd = silent_server(&port);
	struct sql *c;

	(void)state;
	snprintf(where, sizeof where, "postgresql://u:secret@127.0.0.1:%d/d", port);
	c = sql_open(&(struct sql_options){ .url = where, .connect_ms = 300 }, &e);
	from = clock_mono_ms();
	assert_int_equal(sql_ping(c, &e), -1);
	assert_int_equal(e.kind, ERR_AWAY);
	assert_in_range(clock_mono_ms() - from, 300, 500);
	assert_true(sql_due_ms(c) > 0);
	from = clock_mono_ms();
	assert_int_equal(sql_ping(c, &e), -1); /* while the backoff runs: at once */
	assert_in_range(clock_mono_ms() - from, 0, 20);
	assert_null(strstr(e.text, "secret"));
	sql_close(c);
	close(fd);
	c = sql_open(&(struct sql_options){ .url = where }, &e);
	assert_int_equal(sql_ping(c, &e), -1);
	assert_int_equal(e.kind, ERR_AWAY);
	assert_non_null(strstr(e.text, "Connection refused"));
	assert_null(strstr(e.text, "127.0.0.1"));
	sql_close(c);
}

#define READ_ONLY "SET default_transaction_read_only = on"

static void
read_only_is_away_for_who_writes(void **state)
{
	struct err e = ERR_INIT;
	struct sql_result r;
	char where[1000];
	struct sql *c =
		sql_open(&(struct sql_options){ .url = url, .want = SQL_WANT_WRITABLE }, &e);
	int64_t pid = pid_of(c), until = clock_mono_ms() + 3000;

	(void)state;
	assert_int_equal(sql_script(c, READ_ONLY, 0, &r, &e), 0);
	assert_int_equal(sql_ping(c, &e), -1);
	assert_int_equal(e.kind, ERR_AWAY);
	assert_false(link_usable(sql_link(c)));
	while (sql_ping(c, &e) && clock_mono_ms() < until)
		usleep(10000);
	assert_int_not_equal(pid_of(c), pid);

	assert_int_equal(sql_script(c, READ_ONLY, 0, &r, &e), 0);
	assert_int_equal(sql_script(c, "CREATE TABLE never (x int)", 0, &r, &e), -1);
	assert_string_equal(r.sqlstate, "25006");
	assert_int_equal(e.kind, ERR_AWAY);
	assert_int_equal(r.fate, SQL_UNDONE);
	assert_false(link_usable(sql_link(c)));
	sql_close(c);

	snprintf(where, sizeof where, "%s%coptions=-c%%20default_transaction_read_only%%3Don", url,
		strchr(url, '?') ? '&' : '?');
	c = sql_open(&(struct sql_options){ .url = where, .want = SQL_WANT_WRITABLE }, &e);
	assert_int_equal(sql_ping(c, &e), -1);
	assert_non_null(strstr(e.text, "read-only"));
	sql_close(c);
	c = sql_open(&(struct sql_options){ .url = where }, &e);
	assert_int_equal(sql_ping(c, &e), 0);
	sql_close(c);
}

static void
no_room_blocks_who_writes(void **state)
{
	static const char full[] =
		"DO $$ BEGIN RAISE EXCEPTION 'full' USING ERRCODE = '53100'; END $$";
	static const enum sql_want wants[] = { SQL_WANT_WRITABLE, SQL_WANT_PRIMARY };
	struct err e = ERR_INIT;
	struct sql_result r;
	struct link_view v;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wants); i++) {
		bool writes = wants[i] == SQL_WANT_WRITABLE;
		struct sql *c = sql_open(&(struct sql_options){ .url = url, .want = wants[i] }, &e);

		assert_int_equal(sql_script(c, full, 0, &r, &e), -1);
		assert_int_equal(e.kind, ERR_AWAY);
		link_look(sql_link(c), &v);
		assert_int_equal(v.state, writes ? LINK_BLOCKED : LINK_UP);
		assert_int_equal(sql_ping(c, &e), writes ? -1 : 0); /* a ping needs no room */
		assert_int_equal(sql_run(c, mem, &st_one, NULL, &r, &e), 0);
		sql_close(c);
	}
}

/* ---- on the loop ---- */

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
async_runs_in_order_and_comes_back(void **state)
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
async_errors_and_slowness(void **state)
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
async_parts_are_one_transaction(void **state)
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
async_a_part_behind_a_lock_sees_what_was_committed(void **state)
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
async_read_only(void **state)
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
async_silent_server(void **state)
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
		cmocka_unit_test(values),
		cmocka_unit_test(arrays_and_errors),
		cmocka_unit_test(transactions),
		cmocka_unit_test(slow_statements_end),
		cmocka_unit_test(a_lost_transaction_runs_nothing),
		cmocka_unit_test(comes_back),
		cmocka_unit_test(a_silent_server_costs_the_connect_time),
		cmocka_unit_test(async_runs_in_order_and_comes_back),
		cmocka_unit_test(async_errors_and_slowness),
		cmocka_unit_test(read_only_is_away_for_who_writes),
		cmocka_unit_test(no_room_blocks_who_writes),
		cmocka_unit_test(async_read_only),
		cmocka_unit_test(async_parts_are_one_transaction),
		cmocka_unit_test(async_a_part_behind_a_lock_sees_what_was_committed),
		cmocka_unit_test(async_silent_server),
	};

	ON_SERVER_RUN("ONBOARD_POSTGRES_URL", url, tests, setup, teardown);
}
