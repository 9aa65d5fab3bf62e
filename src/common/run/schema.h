/* SPDX-License-Identifier: MIT */
/*
 * Whether the database is of a version that this program knows. One that a
 * newer version has migrated is refused; an older one, or none, is nobody's
 * fault: the migrations are on their way.
 *
 * A look is a thread that asks once PostgreSQL is there, and ends.
 * Threads: the maker's.
 */
#pragma once

#include "base/err.h"

struct schema_look;

struct schema_look *schema_look_start(const char *postgres_url);
/* 1: not known yet. 0: fine. -1: ERR_INVALID, with the reason and the way out. */
int schema_look_result(struct schema_look *s, struct err *e) MUST_CHECK;
void schema_look_stop(struct schema_look *s); /* NULL is fine */
