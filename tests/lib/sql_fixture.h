/* SPDX-License-Identifier: MIT */
/* What the two test programs of PostgreSQL's link share: a connection with a temporary table. */
#pragma once

#include "base/clock.h"
#include "link/sql.h"
#include "on_server.h"

static const char *url;
static struct arena *mem;
static struct sql *s;

static const struct sql_statement st_one = { "t_one",
	"SELECT 1::bigint, 'x'::text, true, NULL::text" };
static const struct sql_statement st_pid = { "t_pid", "SELECT pg_backend_pid()" };
static const struct sql_statement st_kill = { "t_kill", "SELECT pg_terminate_backend($1::int)" };
static const struct sql_statement st_sleep = { "t_sleep", "SELECT pg_sleep(30)::text" };

static inline int64_t
pid_of(struct sql *c)
{
	struct sql_result r;
	struct err e = ERR_INIT;
	int64_t pid = 0;

	if (sql_run(c, mem, &st_pid, NULL, &r, &e) || sql_i64(&r, 0, 0, &pid, &e))
		fail_msg("%s", e.text);
	return pid;
}

static inline void
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

static inline int
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

static inline int
teardown(void **state)
{
	(void)state;
	sql_close(s);
	arena_free(mem);
	return 0;
}

#define READ_ONLY "SET default_transaction_read_only = on"
