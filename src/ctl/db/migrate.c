/* SPDX-License-Identifier: MIT */
#include "ctl/db/migrate.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "ctl/db/migrations.h"
#include "ctl/kit/audit.h"
#include "ctl/db/db.h"
#include "ctl/kit/ctl.h"
#include "ctl/kit/json.h"
#include "link/sql.h"
#include "model/databases.h"

#define ARENA_MAX (64 << 20)
#define SCRIPT_MS (30 * 60 * 1000)
/*
 * A statement that waits for a table's lock holds up all queries that come
 * behind it. So a migration waits a moment, lets them pass, and tries again.
 */
#define TABLE_LOCK "SET LOCAL lock_timeout = '1s'"
#define TABLE_LOCK_PAUSE_MS 2000
#define LOCK_AGAIN_MS 100

static const struct sql_statement table_exists = { "table_exists",
	"SELECT to_regclass($1) IS NOT NULL" };
/* One lock for all databases: two of them may be the same on the server. */
static const struct sql_statement lock_try = { "lock_try",
	"SELECT pg_try_advisory_xact_lock(hashtext('onboard'), hashtext('schema_migrations'))" };
static const struct sql_statement checksum_of = { "checksum_of",
	"SELECT encode(sha256(convert_to($1, 'UTF8')), 'hex')" };
static const struct sql_statement still_inside = { "still_inside",
	"SELECT pg_current_xact_id()::text" };

/* What names the table of applied migrations; %s is that table. */
static const char list_text[] =
	"SELECT number, name, checksum, to_char(applied_at AT TIME ZONE 'UTC', "
	"'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') FROM %s ORDER BY number";
static const char remember_text[] =
	"INSERT INTO %s (number, name, checksum, took_ms)"
	" VALUES ($1, $2, encode(sha256(convert_to($3, 'UTF8')), 'hex'), $4)";
static const char forget_text[] = "DELETE FROM %s WHERE number = $1";
static const char make_text[] =
	"CREATE TABLE IF NOT EXISTS %s ("
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
	const struct database *which;
	const struct migrate_wanted *wanted;
	struct sql_statement list, remember, forget;
	const char *table_make;
	struct arena *mem;
	struct sql *sql;
	struct migrations files;
	struct known *all;
	size_t count;
	bool newer; /* the database has migrations that these files lack; another try mends nothing */
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

/* Fills db->all with the migrations of the files and of the database, in order of number. */
static int
applied_read(struct db *db, struct err *e)
{
	struct sql_params p;
	struct sql_result r;
	int64_t number;
	bool there;
	size_t rows = 0;

	sql_params_init(&p);
	sql_add_text(&p, db->which->applied);
	if (sql_run(db->sql, db->mem, &table_exists, &p, &r, e) < 0 ||
		sql_bool(&r, 0, 0, &there, e) < 0)
		return -1;
	if (there) {
		if (sql_run(db->sql, db->mem, &db->list, NULL, &r, e) < 0)
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

/* Reports the first fault that forbids any change. */
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
	int64_t until = clock_mono_ms() + db->wanted->lock_wait_ms;
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
				"another migration has been under way for %" PRId64 " s",
				db->wanted->lock_wait_ms / 1000);
		if (!said)
			fprintf(stderr, "another migration is under way, waiting\n");
		said = true;
		(void)poll(NULL, 0,
			LOCK_AGAIN_MS); /* a wait in the server would know no deadline */
	}
}

/*
 * Runs the file. While another session holds a lock that it needs, what it did
 * is undone, which gives its own locks back, and it runs again.
 */
static int
script_run(struct db *db, const struct known *k, const char *text, struct err *e)
{
	int64_t wait_ms = db->wanted->lock_wait_ms, until = clock_mono_ms() + wait_ms;
	struct sql_result r;
	bool said = false;

	while (sql_script(db->sql, "SAVEPOINT file_begins", 0, &r, e) == 0) {
		if (sql_script(db->sql, text, SCRIPT_MS, &r, e) == 0)
			return 0;
		if (strcmp(r.sqlstate, "55P03") != 0) /* lock_not_available */
			return -1;
		if (clock_mono_ms() >= until)
			return err_set(e, ERR_AWAY,
				"another session has held the lock of a table for %" PRId64
				" s; nothing is changed; end that session (pg_stat_activity shows "
				"it), or wait longer with --lock-wait",
				wait_ms / 1000);
		if (!said)
			fprintf(stderr, "%s waits for a table that another session has locked\n",
				k->name);
		said = true;
		if (sql_script(db->sql, "ROLLBACK TO SAVEPOINT file_begins", 0, &r, e) < 0)
			return -1;
		(void)poll(NULL, 0, TABLE_LOCK_PAUSE_MS);
	}
	return -1;
}

/* The file and the row that remembers it, inside the transaction that lock_wait began. */
static int
file_and_row(struct db *db, const struct known *k, bool up, struct err *e)
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
		sql_script(db->sql, "SET LOCAL statement_timeout = 0; " TABLE_LOCK, 0, &after, e) <
			0 ||
		script_run(db, k, up ? k->file->up : k->file->down, e) < 0 ||
		sql_run(db->sql, db->mem, &still_inside, NULL, &after, e) < 0)
		return -1;
	if (strcmp(sql_text(&before, 0, 0), sql_text(&after, 0, 0)) != 0)
		return err_set(e, ERR_INVALID,
			"the file ends its transaction by itself; what it did before may stand");
	if (up)
		sql_add_i64(&p, clock_mono_ms() - began);
	return sql_run(db->sql, db->mem, up ? &db->remember : &db->forget, &p, &after, e);
}

static void
tell(const struct db *db, const struct known *k, const char *what)
{
	const char *folder = db->wanted->named ? db->which->name : "";
	struct ctl_line line;
	struct json_out *o;

	if (!db->ctl->json) {
		printf("%-10s %s%s%s\n", what, folder, *folder ? "/" : "", k->name);
		fflush(stdout);
		return;
	}
	o = ctl_line_begin(&line);
	if (*folder)
		ctl_json_text(o, "database", folder);
	ctl_json_text(o, "migration", k->name);
	json_out_i64(o, "number", k->number);
	ctl_json_text(o, "state", what);
	if (k->applied_at)
		ctl_json_text(o, "applied_at", k->applied_at);
	ctl_line_print(&line);
}

/* The table of applied migrations remembers it too, so a missing log stops no migration. */
static void
audited_begin(struct db *db, struct audit *a, const struct known *k)
{
	struct err e = ERR_INIT;

	const char *database = databases[1].name ? db->which->name : NULL;

	if (audit_begin_on(db->ctl, a,
		    (const char *const[]){ "migration", k->name, "database", database, NULL }, &e))
		fprintf(stderr, "onboardctl db migrate: not in the audit log: %s\n", a->path);
}

static int
step_do(struct db *db, const struct known *k, bool up, struct err *e)
{
	enum sql_fate fate;

	if (file_and_row(db, k, up, e) < 0) {
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

/* Applies or takes back one migration, in a transaction of its own. 1: nothing is left to do. */
static int
step(struct db *db, bool up, struct err *e)
{
	struct audit a = { .what = up ? "db migrate up" : "db migrate down", .fd = -1 };
	const struct known *k = NULL;
	struct sql_result r;
	int rc;

	if (lock_wait(db, e) < 0)
		return -1;
	if (sql_script(db->sql, db->table_make, 0, &r, e) < 0 || applied_read(db, e) < 0 ||
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

/* "onboard: " before a sentence, where the run is about several databases. */
static const char *
title(const struct db *db)
{
	return db->wanted->named ? arena_printf(db->mem, "%s: ", db->which->name) : "";
}

static int
status(struct db *db, struct err *e)
{
	size_t pending = 0;

	if (applied_read(db, e) < 0)
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
		printf("%s%zu to apply: onboardctl db migrate up\n", title(db), pending);
	return sound_check(db, e);
}

static void
statements_make(struct db *db)
{
	const char *table = db->which->applied;

	db->list =
		(struct sql_statement){ "applied_list", arena_printf(db->mem, list_text, table) };
	db->remember =
		(struct sql_statement){ "remember", arena_printf(db->mem, remember_text, table) };
	db->forget = (struct sql_statement){ "forget", arena_printf(db->mem, forget_text, table) };
	db->table_make = arena_printf(db->mem, make_text, table);
}

static int
db_open(struct db *db, struct err *e)
{
	const struct sql_options o = { .url = conf_string(db->ctl->conf, db->which->section,
					       db->which->key),
		.application = "onboardctl" };
	struct sql_result r;

	db->mem = arena_new(1 << 16, ARENA_MAX);
	statements_make(db);
	if (migrations_read(db->which->name, db->wanted->dir, db->mem, &db->files, e) < 0 ||
		!(db->sql = sql_open(&o, e)) || sql_ping(db->sql, e) < 0)
		return -1;
	return sql_script(db->sql, "SET client_min_messages = warning", 0, &r, e);
}

static void
db_close(struct db *db)
{
	sql_close(db->sql);
	arena_free(db->mem);
}

static int
schema_check(struct ctl *c, const struct database *which, size_t *pending, struct err *e)
{
	const struct migrate_wanted wanted = { 0 };
	struct db db = { .ctl = c, .which = which, .wanted = &wanted };
	int rc = -1;

	if (db_open(&db, e) == 0 && applied_read(&db, e) == 0) {
		for (size_t i = 0; i < db.count; i++)
			*pending += !db.all[i].applied_at;
		rc = sound_check(&db, e);
	}
	db_close(&db);
	return rc;
}

int
ctl_schema_check(struct ctl *c, size_t *pending, struct err *e)
{
	*pending = 0;
	for (const struct database *d = databases; d->name; d++)
		if (schema_check(c, d, pending, e) < 0)
			return databases[1].name ? err_wrap(e, "%s", d->name) : -1;
	return 0;
}

static int
steps_do(struct db *db, struct err *e)
{
	bool up = db->wanted->what == MIGRATE_UP;
	int done = 0, rc = 0;

	while (done < db->wanted->steps && (rc = step(db, up, e)) == 0)
		done++;
	if (rc == 1 && done == 0 && !db->ctl->json)
		printf("%s%s\n", title(db),
			up ? "nothing to apply: the schema is up to date" : "nothing is applied");
	return rc < 0 ? -1 : 0;
}

int
migrate_database(struct ctl *c, const struct database *which, const struct migrate_wanted *wanted)
{
	struct db db = { .ctl = c, .which = which, .wanted = wanted };
	struct err e = ERR_INIT;
	int code = CTL_DONE;

	if (db_open(&db, &e) < 0 ||
		(wanted->what == MIGRATE_STATUS ? status(&db, &e) : steps_do(&db, &e)) < 0) {
		if (wanted->named)
			err_wrap(&e, "%s", which->name);
		code = db.newer ? ctl_fail(c, CTL_CONF, "%s", e.text) : ctl_fail_err(c, &e);
	}
	db_close(&db);
	return code;
}
