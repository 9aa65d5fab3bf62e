/* SPDX-License-Identifier: MIT */
/*
 * The numbered SQL files: NNNN_name.up.sql with NNNN_name.down.sql, from 0001
 * on without a gap. All files are read and checked before one is run.
 * The build puts the files of migrations/onboard/ into the program (tools/embed), so
 * that a schema never depends on the working folder.
 */
#pragma once

#include <stddef.h>

#include "base/arena.h"
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

/* A file of migrations/onboard/ as it was when the program was built; name NULL ends the table. */
struct migration_file {
	const char *name; /* "0001_people.up.sql" */
	const char *text;
};
extern const struct migration_file migrations_built_in[];

/* dir NULL: the program's own. */
int migrations_read(const char *dir, struct arena *mem, struct migrations *out, struct err *e)
	MUST_CHECK;
