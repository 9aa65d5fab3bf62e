/* SPDX-License-Identifier: MIT */
/*
 * Migrates one database: numbered files, each in one transaction together with
 * the row that remembers it, so nothing is ever half done. Two runs at once are
 * harmless: each takes an advisory lock inside its transaction and looks again
 * what is left to do.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct ctl;
struct database;

enum migrate_what { MIGRATE_UP, MIGRATE_DOWN, MIGRATE_STATUS };

struct migrate_wanted {
	enum migrate_what what;
	int steps;            /* at most */
	const char *dir;      /* the files' folder; NULL: the program's own files */
	const char *database; /* --database; NULL: all */
	bool named;           /* the run is about several: each line says which */
	int64_t lock_wait_ms; /* gives up when a lock is not free by then */
};

/* Says what it did, or why it failed. Answers an exit code. */
int migrate_database(struct ctl *c, const struct database *which,
	const struct migrate_wanted *wanted);
