/* SPDX-License-Identifier: MIT */
/*
 * The PostgreSQL databases, one row each. A database has a folder of numbered
 * migrations, a configuration key that holds its URL, and a table that
 * remembers which migrations were applied. Two databases may be one and the
 * same on the server (a URL that is unset falls back to postgres.url), so each
 * has a table of its own.
 *
 * A new database is a folder migrations/NAME/, a URL key in conf_keys.c, and a
 * row in databases.c.
 */
#pragma once

struct database {
	const char *name;          /* its folder below migrations/ */
	const char *section, *key; /* of its URL */
	const char *applied;       /* the table that remembers its migrations */
	int newest;                /* the newest migration that this version knows */
};

extern const struct database databases[]; /* ends with a NULL name */

const struct database *database_find(const char *name); /* NULL: there is none of that name */
