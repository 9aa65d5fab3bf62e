/* SPDX-License-Identifier: MIT */
/*
 * The numbered SQL files of a database: NNNN_name.up.sql with
 * NNNN_name.down.sql, from 0001 on without a gap. All files are read and
 * checked before one is run. The build puts the files of migrations/NAME/ into
 * the program (tools/embed), so a schema never depends on the working folder.
 */
#pragma once

#include <stddef.h>

#include "base/arena.h"
#include "base/embedded.h"
#include "base/err.h"

#define MIGRATIONS_MAX 9999
#define MIGRATION_BYTES_MAX (1 << 20)

struct migration {
	int number;
	const char *name;      /* "0001_people" */
	const char *up, *down; /* the files' texts */
};

struct migrations {
	struct migration *list; /* list[i].number == i + 1 */
	size_t count;
};

extern const struct embedded_file migrations_built_in[]; /* folder: the database */

/* The files in the folder dir; dir NULL: the program's own of this database. */
int migrations_read(const char *database, const char *dir, struct arena *mem,
	struct migrations *out, struct err *e) MUST_CHECK;
