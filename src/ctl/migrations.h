/* SPDX-License-Identifier: MIT */
/*
 * The numbered SQL files: NNNN_name.up.sql with NNNN_name.down.sql, from 0001
 * on without a gap. All of it is read and checked before anything is run.
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

/* dir NULL: ONBOARD_MIGRATIONS, ./migrations, or where `make install` put them. */
int migrations_read(const char *dir, struct arena *mem, struct migrations *out, struct err *e)
	MUST_CHECK;
