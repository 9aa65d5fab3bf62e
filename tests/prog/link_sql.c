/* SPDX-License-Identifier: MIT */
/* PostgreSQL through the link that blocks, on ONBOARD_POSTGRES_URL. Makes temporary tables only. */
#include "../lib/sql_fixture.h"

static const struct sql_statement st_insert = { "t_insert",
	"INSERT INTO link_t SELECT * FROM unnest($1::bigint[], $2::text[]) RETURNING id" };
static const struct sql_statement st_count = { "t_count", "SELECT count(*) FROM link_t" };
static const struct sql_statement st_names = { "t_names", "SELECT name FROM link_t ORDER BY id" };

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
	assert_in_range(clock_mono_ms() - from, 1500, 4900);
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
	assert_in_range(clock_mono_ms() - from, 300, 1900);
	assert_true(sql_due_ms(c) > 0);
	from = clock_mono_ms();
	assert_int_equal(sql_ping(c, &e), -1); /* while the backoff runs: at once */
	assert_in_range(clock_mono_ms() - from, 0, 250);
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
		cmocka_unit_test(read_only_is_away_for_who_writes),
		cmocka_unit_test(no_room_blocks_who_writes),
	};

	ON_SERVER_RUN("ONBOARD_POSTGRES_URL", url, tests, setup, teardown);
}
