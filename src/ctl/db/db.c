/* SPDX-License-Identifier: MIT */
/*
 * db migrate: numbered files, each in one transaction together with the row
 * that remembers it, so nothing is ever half done. Two at once: each takes an
 * advisory lock inside its transaction and looks again what is left to do.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/kit/audit.h"
#include "base/clock.h"
#include "ctl/kit/ctl.h"
#include "link/sql.h"
#include "ctl/db/migrations.h"

#define ARENA_MAX (64 << 20)
#define LOCK_WAIT_MS 60000
#define SCRIPT_MS (30 * 60 * 1000)

static const struct sql_statement table_exists = { "table_exists",
	"SELECT to_regclass('schema_migrations') IS NOT NULL" };
static const struct sql_statement lock_try = { "lock_try",
	"SELECT pg_try_advisory_xact_lock(hashtext('onboard'), hashtext('schema_migrations'))" };
static const struct sql_statement applied_list = { "applied_list",
	"SELECT number, name, checksum, to_char(applied_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
	" FROM schema_migrations ORDER BY number" };
static const struct sql_statement checksum_of = { "checksum_of",
	"SELECT encode(sha256(convert_to($1, 'UTF8')), 'hex')" };
static const struct sql_statement remember = { "remember",
	"INSERT INTO schema_migrations (number, name, checksum, took_ms)"
	" VALUES ($1, $2, encode(sha256(convert_to($3, 'UTF8')), 'hex'), $4)" };
static const struct sql_statement forget = { "forget",
	"DELETE FROM schema_migrations WHERE number = $1" };
static const struct sql_statement still_inside = { "still_inside",
	"SELECT pg_current_xact_id()::text" };

static const char table_make[] =
	"CREATE TABLE IF NOT EXISTS schema_migrations ("
	" number integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL,"
	" took_ms bigint NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())";

/* One migration as the files and as the database know it. */
struct known {
	const struct migration *file; /* NULL: only the database has it */
	int number;
	const char *name, *applied_at; /* applied_at NULL: not applied */
	bool changed;                  /* the up file is not what was applied */
};

struct db {
	struct ctl *ctl;
	struct arena *mem;
	struct sql *sql;
	struct migrations files;
	struct known *all;
	size_t count;
	bool newer; /* than these files: nothing that another try would mend */
};

static int
checksum_differs(struct db *db, const struct migration *m, const char *was, bool *out,
	struct err *e)
{
	struct sql_params p;
	struct sql_result r;

	sql_params_init(&p);
	sql_add_text(&p, m->up);
	if (sql_run(db->sql, db->mem, &checksum_of, &p, &r, e) < 0)
		return err_wrap(e, "%s", m->name);
	*out = strcmp(sql_text(&r, 0, 0), was) != 0;
	return 0;
}

/* What is applied beside what the files say: db->all, in order of number. */
static int
look(struct db *db, struct err *e)
{
	struct sql_result r;
	int64_t number;
	bool there;
	size_t rows = 0;

	if (sql_run(db->sql, db->mem, &table_exists, NULL, &r, e) < 0 ||
		sql_bool(&r, 0, 0, &there, e) < 0)
		return -1;
	if (there) {
		if (sql_run(db->sql, db->mem, &applied_list, NULL, &r, e) < 0)
			return -1;
		rows = r.rows;
	}
	db->count = db->files.count;
	db->all = arena_alloc(db->mem, (db->files.count + rows) * sizeof *db->all);
	if (!db->all)
		return err_set(e, ERR_LIMIT, "too many migrations");
	for (size_t i = 0; i < db->count; i++)
		db->all[i] = (struct known){ &db->files.list[i], (int)i + 1, db->files.list[i].name,
			NULL, false };
	for (size_t row = 0; row < rows; row++) {
		struct known *k;

		if (sql_i64(&r, row, 0, &number, e) < 0)
			return -1;
		if (number >= 1 && (size_t)number <= db->files.count) {
			k = &db->all[number - 1];
			if (checksum_differs(db, k->file, sql_text(&r, row, 2), &k->changed, e) < 0)
				return -1;
		} else {
			k = &db->all[db->count++];
			*k = (struct known){ NULL, (int)number, sql_text(&r, row, 1), NULL, false };
		}
		k->applied_at = sql_text(&r, row, 3);
	}
	return 0;
}

/* The first thing that forbids any change. */
static int
sound_check(struct db *db, struct err *e)
{
	const struct known *gap = NULL;

	for (size_t i = 0; i < db->count; i++) {
		const struct known *k = &db->all[i];

		db->newer = !k->file;
		if (db->newer)
			return err_set(e, ERR_CONFLICT,
				"the database has %s, which these files do not: it was made by a newer version; "
				"use that version's onboardctl",
				k->name);
		if (k->changed)
			return err_set(e, ERR_CONFLICT,
				"%s.up.sql was changed after it was applied: restore the file and put the change "
				"into a new one",
				k->name);
		if (!k->applied_at && !gap)
			gap = k;
		if (k->applied_at && gap)
			return err_set(e, ERR_CONFLICT,
				"%s is applied, but %s before it is not: give the missing one a number behind "
				"the applied ones",
				k->name, gap->name);
	}
	return 0;
}

static int
lock_wait(struct db *db, struct err *e)
{
	int64_t until = clock_mono_ms() + LOCK_WAIT_MS;
	struct sql_result r;
	bool got = false, said = false;

	for (;;) {
		if (sql_begin(db->sql, e) < 0)
			return -1;
		if (sql_run(db->sql, db->mem, &lock_try, NULL, &r, e) < 0 ||
			sql_bool(&r, 0, 0, &got, e) < 0) {
			sql_rollback(db->sql);
			return -1;
		}
		if (got)
			return 0;
		sql_rollback(db->sql);
		if (clock_mono_ms() > until)
			return err_set(e, ERR_CONFLICT,
				"another migration has been under way for %d s",
				LOCK_WAIT_MS / 1000);
		if (!said)
			fprintf(stderr, "another migration is under way, waiting\n");
		said = true;
		usleep(100 * 1000); /* a lock has no event to wait for that a deadline could end */
	}
}

/* The script and its row, inside the transaction that lock_wait began. */
static int
run_inside(struct db *db, const struct known *k, bool up, struct err *e)
{
	int64_t began = clock_mono_ms();
	struct sql_result before, after;
	struct sql_params p;

	sql_params_init(&p);
	sql_add_i64(&p, k->number);
	if (up) {
		sql_add_text(&p, k->name);
		sql_add_text(&p, k->file->up);
	}
	if (sql_run(db->sql, db->mem, &still_inside, NULL, &before, e) < 0 ||
		sql_script(db->sql, "SET LOCAL statement_timeout = 0", 0, &after, e) < 0 ||
		sql_script(db->sql, up ? k->file->up : k->file->down, SCRIPT_MS, &after, e) < 0 ||
		sql_run(db->sql, db->mem, &still_inside, NULL, &after, e) < 0)
		return -1;
	if (strcmp(sql_text(&before, 0, 0), sql_text(&after, 0, 0)) != 0)
		return err_set(e, ERR_INVALID,
			"the file ends its transaction by itself; what it did before may stand");
	if (up)
		sql_add_i64(&p, clock_mono_ms() - began);
	return sql_run(db->sql, db->mem, up ? &remember : &forget, &p, &after, e);
}

static void
tell(const struct db *db, const struct known *k, const char *what)
{
	struct buf line;

	if (!db->ctl->json) {
		printf("%-10s %s\n", what, k->name);
	} else {
		buf_init(&line, 4096);
		buf_add_json_string(&line, k->name, strlen(k->name));
		printf("{\"migration\":%s,\"number\":%d,\"state\":\"%s\"", buf_text(&line),
			k->number, what);
		if (k->applied_at)
			printf(",\"applied_at\":\"%s\"", k->applied_at);
		puts("}");
		buf_fini(&line);
	}
	fflush(stdout);
}

/* schema_migrations remembers, too: no migration waits for a place to write to. */
static void
audited_begin(struct db *db, struct audit *a, const struct known *k)
{
	struct err e = ERR_INIT;

	if (audit_begin_on(db->ctl, a, (const char *const[]){ "migration", k->name, NULL }, &e))
		fprintf(stderr, "onboardctl db migrate: not in the audit log: %s\n", a->path);
}

static int
step_do(struct db *db, const struct known *k, bool up, struct err *e)
{
	enum sql_fate fate;

	if (run_inside(db, k, up, e) < 0) {
		err_wrap(e, "%s.%s.sql", k->name, up ? "up" : "down");
		sql_rollback(db->sql);
		return -1;
	}
	if (sql_commit(db->sql, &fate, e) < 0)
		return fate == SQL_UNSURE
			? err_wrap(e,
				  "%s: the answer to COMMIT was lost; `db migrate status` tells",
				  k->name)
			: err_wrap(e, "%s", k->name);
	return 0;
}

/* One step in a transaction of its own. 1: nothing is left to do. */
static int
step(struct db *db, bool up, struct err *e)
{
	struct audit a = { .what = up ? "db migrate up" : "db migrate down", .fd = -1 };
	const struct known *k = NULL;
	struct sql_result r;
	int rc;

	if (lock_wait(db, e) < 0)
		return -1;
	if (sql_script(db->sql, table_make, 0, &r, e) < 0 || look(db, e) < 0 ||
		sound_check(db, e) < 0)
		goto undo;
	for (size_t i = 0; i < db->count; i++)
		if (up ? !db->all[i].applied_at && !k : db->all[i].applied_at != NULL)
			k = &db->all[i];
	if (!k) {
		sql_rollback(db->sql);
		return 1;
	}
	audited_begin(db, &a, k);
	rc = step_do(db, k, up, e);
	audit_end(&a, rc == 0, rc ? e->text : "done");
	if (rc)
		return -1;
	tell(db, k, up ? "applied" : "taken back");
	return 0;
undo:
	sql_rollback(db->sql);
	return -1;
}

static int
status(struct db *db, struct err *e)
{
	size_t pending = 0;

	if (look(db, e) < 0)
		return -1;
	for (size_t i = 0; i < db->count; i++) {
		const struct known *k = &db->all[i];

		tell(db, k,
			!k->file                ? "unknown"
				: k->changed    ? "changed"
				: k->applied_at ? "applied"
						: "pending");
		pending += !k->applied_at;
	}
	if (!db->ctl->json && pending)
		printf("%zu to apply: onboardctl db migrate up\n", pending);
	return sound_check(db, e);
}

static int
db_open(struct db *db, const char *dir, struct err *e)
{
	const struct sql_options o = { .url = conf_string(db->ctl->conf, "postgres", "url"),
		.application = "onboardctl" };
	struct sql_result r;

	if (migrations_read(dir, db->mem, &db->files, e) < 0 || !(db->sql = sql_open(&o, e)) ||
		sql_ping(db->sql, e) < 0)
		return -1;
	return sql_script(db->sql, "SET client_min_messages = warning", 0, &r, e);
}

int
ctl_schema_check(struct ctl *c, size_t *pending, struct err *e)
{
	struct db db = { .ctl = c, .mem = arena_new(1 << 16, ARENA_MAX) };
	int rc = -1;

	*pending = 0;
	if (db_open(&db, NULL, e) == 0 && look(&db, e) == 0) {
		for (size_t i = 0; i < db.count; i++)
			*pending += !db.all[i].applied_at;
		rc = sound_check(&db, e);
	}
	sql_close(db.sql);
	arena_free(db.mem);
	return rc;
}

static int
migrate(struct db *db, const char *what, int steps, struct err *e)
{
	int done = 0, rc = 0;

	if (strcmp(what, "status") == 0)
		return status(db, e);
	while (done < steps && (rc = step(db, strcmp(what, "up") == 0, e)) == 0)
		done++;
	if (rc == 1 && done == 0 && !db->ctl->json)
		puts(strcmp(what, "up") == 0 ? "nothing to apply: the schema is up to date"
					     : "nothing is applied");
	return rc < 0 ? -1 : 0;
}

/* "migrate up", "migrate down [N]", "migrate status", with --dir DIR anywhere. */
static int
words_parse(struct ctl *c, int argc, char **argv, const char **dir, const char **what, int *steps)
{
	const char *words[3] = { 0 };
	size_t n = 0;
	char *end;
	long number;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--dir") == 0 && i + 1 < argc)
			*dir = argv[++i];
		else if (argv[i][0] == '-' || n == ARRAY_LEN(words))
			return ctl_fail(c, CTL_USAGE,
				"what is \"%s\"? `onboardctl db --help` has examples", argv[i]);
		else
			words[n++] = argv[i];
	}
	if (n < 2 || strcmp(words[0], "migrate") != 0 ||
		(strcmp(words[1], "up") != 0 && strcmp(words[1], "down") != 0 &&
			strcmp(words[1], "status") != 0) ||
		(n == 3 && strcmp(words[1], "down") != 0))
		return ctl_fail(c, CTL_USAGE,
			"want: db migrate up | down [N] | status, or db maintain");
	*what = words[1];
	*steps = strcmp(words[1], "down") == 0 ? 1 : MIGRATIONS_MAX;
	if (n == 3) {
		number = strtol(words[2], &end, 10);
		if (*end || number < 1 || number > MIGRATIONS_MAX)
			return ctl_fail(c, CTL_USAGE,
				"down wants a number of steps from 1 on, not \"%s\"", words[2]);
		*steps = (int)number;
	}
	return CTL_DONE;
}

int
ctl_db(struct ctl *c, int argc, char **argv)
{
	struct db db = { .ctl = c };
	const char *dir = NULL, *what = NULL;
	struct err e = ERR_INIT;
	int steps = 0, code;

	if (argc > 1 && strcmp(argv[1], "maintain") == 0)
		return ctl_maintain(c, argc);
	code = words_parse(c, argc, argv, &dir, &what, &steps);
	if (code != CTL_DONE)
		return code;
	db.mem = arena_new(1 << 16, ARENA_MAX);
	c->verb = "db migrate";
	if (db_open(&db, dir, &e) < 0 || migrate(&db, what, steps, &e) < 0)
		code = db.newer ? ctl_fail(c, CTL_CONF, "%s", e.text) : ctl_fail_err(c, &e);
	sql_close(db.sql);
	arena_free(db.mem);
	return code;
}
