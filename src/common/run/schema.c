/* SPDX-License-Identifier: MIT */
#include "run/schema.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/arena.h"
#include "link/sql.h"
#include "run/thread.h"
#include "version.h"

#define AGAIN_MS 250
#define ARENA_MAX (1 << 20)

static const struct sql_statement there = { "schema_there",
	"SELECT to_regclass('schema_migrations') IS NOT NULL" };
static const struct sql_statement newest = { "schema_newest",
	"SELECT coalesce(max(number), 0) FROM schema_migrations" };

struct schema_look {
	struct thread *thread;
	struct sql *sql;
	atomic_long known; /* -1: not yet; 0: no schema */
};

static int
ask(struct schema_look *s, struct arena *mem)
{
	struct err e = ERR_INIT;
	struct sql_result r;
	int64_t n = 0;
	bool made;

	/* what is wrong here the daemon's own link says too */
	if (sql_run(s->sql, mem, &there, NULL, &r, &e) || sql_bool(&r, 0, 0, &made, &e))
		return -1;
	if (made && (sql_run(s->sql, mem, &newest, NULL, &r, &e) || sql_i64(&r, 0, 0, &n, &e)))
		return -1;
	atomic_store(&s->known, (long)n);
	return 0;
}

static void
run(struct thread *t, void *arg)
{
	struct schema_look *s = arg;
	struct arena *mem = arena_new(4096, ARENA_MAX);

	while (!thread_stopping(t) && ask(s, mem) < 0) {
		arena_reset(mem);
		thread_wait(t, sql_due_ms(s->sql) > AGAIN_MS ? sql_due_ms(s->sql) : AGAIN_MS);
	}
	arena_free(mem);
}

struct schema_look *
schema_look_start(const char *postgres_url)
{
	struct schema_look *s = must_calloc(1, sizeof *s);
	struct err e = ERR_INIT;

	atomic_init(&s->known, -1);
	s->sql = sql_open(&(struct sql_options){ .url = postgres_url,
				  .application = "onboard schema",
				  .link_name = "postgres-schema" },
		&e);
	if (!s->sql) /* a URL that the daemon's own link has refused by now */
		atomic_store(&s->known, 0);
	else
		s->thread = thread_start("schema", run, s);
	return s;
}

int
schema_look_result(struct schema_look *s, struct err *e)
{
	long known = atomic_load(&s->known);

	if (known < 0)
		return 1;
	if (known <= ONBOARD_SCHEMA)
		return 0;
	return err_set(e, ERR_INVALID,
		"the database has migration %04ld, this version knows %04d: a newer version made it; "
		"install that one, or take the schema back with its `onboardctl db migrate down %ld`",
		known, ONBOARD_SCHEMA, known - ONBOARD_SCHEMA);
}

void
schema_look_stop(struct schema_look *s)
{
	if (!s)
		return;
	thread_join(s->thread);
	sql_close(s->sql);
	free(s);
}
