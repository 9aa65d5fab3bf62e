/* SPDX-License-Identifier: MIT */
#include "run/schema.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/loop.h"
#include "link/sql.h"
#include "model/databases.h"
#include "run/daemon.h"
#include "run/thread.h"

#define AGAIN_MS 250
#define ARENA_MAX (1 << 20)

static const struct sql_statement table_there = { "schema_there",
	"SELECT to_regclass($1) IS NOT NULL" };

struct schema_check {
	struct daemon *daemon;
	const struct database *database;
	struct thread *thread;
	struct sql *sql; /* the thread's */
	struct sql_statement newest;
	char newest_text[128];
	int64_t applied; /* the newest migration that the database has; 0: none */
};

static int
newest_ask(struct schema_check *s, struct arena *mem)
{
	struct err e = ERR_INIT;
	struct sql_result r;
	struct sql_params p;
	bool there;

	sql_params_init(&p);
	sql_add_text(&p, s->database->applied);
	/* the daemon's own link to the database says what is wrong with it */
	if (sql_run(s->sql, mem, &table_there, &p, &r, &e) || sql_bool(&r, 0, 0, &there, &e))
		return -1;
	if (there &&
		(sql_run(s->sql, mem, &s->newest, NULL, &r, &e) ||
			sql_i64(&r, 0, 0, &s->applied, &e)))
		return -1;
	return 0;
}

/* On the loop. */
static void
database_refuse(void *arg)
{
	const struct schema_check *s = arg;
	const struct database *b = s->database;
	const char *name = databases[1].name ? b->name : NULL; /* one database needs no name */
	struct err e = ERR_INIT;

	(void)!err_set(&e, ERR_INVALID,
		"the database has migration %04lld, this version knows %04d: a newer version made it; "
		"install that one, or take the schema back with its `onboardctl db migrate down "
		"%lld%s%s`",
		(long long)s->applied, b->newest, (long long)s->applied - b->newest,
		name ? " --database " : "", name ? name : "");
	daemon_fail(s->daemon, &e);
}

static void
schema_run(struct thread *t, void *arg)
{
	struct schema_check *s = arg;
	struct arena *mem = arena_new(4096, ARENA_MAX);

	while (!thread_stopping(t) && newest_ask(s, mem) < 0) {
		arena_reset(mem);
		thread_wait(t, sql_due_ms(s->sql) > AGAIN_MS ? sql_due_ms(s->sql) : AGAIN_MS);
	}
	arena_free(mem);
	sql_close(s->sql);
	s->sql = NULL;
	if (s->applied <= s->database->newest)
		return;
	while (!thread_stopping(t) &&
		loop_post(daemon_loop(s->daemon), database_refuse, s, NULL) < 0)
		thread_wait(t, AGAIN_MS);
}

struct schema_check *
schema_check_start(struct daemon *d, const char *database)
{
	struct schema_check *s = must_calloc(1, sizeof *s);
	const struct database *b = database_find(database);
	struct err e = ERR_INIT;

	must(b);
	s->daemon = d;
	s->database = b;
	snprintf(s->newest_text, sizeof s->newest_text, "SELECT coalesce(max(number), 0) FROM %s",
		b->applied);
	s->newest = (struct sql_statement){ "schema_newest", s->newest_text };
	s->sql = sql_open(
		&(struct sql_options){ .url = conf_string(daemon_conf(d), b->section, b->key),
			.application = "onboard schema",
			.link_name = "postgres-schema" },
		&e);
	if (s->sql) /* else the daemon's own link has refused the URL */
		s->thread = thread_start("schema", schema_run, s);
	return s;
}

void
schema_check_stop(struct schema_check *s)
{
	if (!s)
		return;
	thread_join(s->thread);
	free(s);
}
