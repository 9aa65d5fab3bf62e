/* SPDX-License-Identifier: MIT */
/*
 * Memory that is released all at once: one arena serves a request or a batch.
 * arena_defer ties a library's objects (PGresult, redisReply, bson) to the
 * arena, so handlers free nothing.
 *
 * An arena is bounded: an allocation beyond limit_bytes returns NULL, which the
 * caller turns into ERR_LIMIT. arena_reset keeps the first block, so a loop that
 * reuses an arena soon allocates nothing. Threads: one at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/must.h"

struct arena;

struct arena *arena_new(size_t first_block_bytes, size_t limit_bytes);
void arena_free(struct arena *a);  /* calls the deferred functions, last first; NULL is fine */
void arena_reset(struct arena *a); /* the same, but the arena stays usable */

void *arena_alloc(struct arena *a, size_t size) MUST_CHECK; /* zeroed, aligned for any type */
void *arena_memdup(struct arena *a, const void *p, size_t size) MUST_CHECK;
char *arena_strdup(struct arena *a, const char *text) MUST_CHECK;
char *arena_strndup(struct arena *a, const char *text, size_t length) MUST_CHECK;
char *arena_printf(struct arena *a, const char *format, ...) PRINTF_LIKE(2, 3) MUST_CHECK;

/*
 * Calls fn(p) at the next reset or free. When the arena has no room for the
 * note, calls fn(p) at once and returns false.
 */
bool arena_defer(struct arena *a, void (*fn)(void *), void *p) MUST_CHECK;

size_t arena_used(const struct arena *a); /* bytes allocated since the last reset */
