/* SPDX-License-Identifier: MIT */
/*
 * Memory that ends all at once: one arena for a request or a batch. What a
 * library gave (PGresult, redisReply, bson) is tied to it by arena_defer, so
 * handlers free nothing.
 *
 * Bounded: past limit_bytes the arena answers NULL and the caller turns that
 * into ERR_LIMIT. Threads: one at a time. arena_reset keeps the first block,
 * so a loop that reuses an arena allocates nothing in the steady state.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/must.h"

struct arena;

struct arena *arena_new(size_t first_block_bytes, size_t limit_bytes);
void arena_free(struct arena *a);  /* runs the deferred, last first; NULL is fine */
void arena_reset(struct arena *a); /* the same, but the arena stays usable */

void *arena_alloc(struct arena *a, size_t size) MUST_CHECK; /* zeroed, aligned for any type */
void *arena_memdup(struct arena *a, const void *p, size_t size) MUST_CHECK;
char *arena_strdup(struct arena *a, const char *text) MUST_CHECK;
char *arena_strndup(struct arena *a, const char *text, size_t length) MUST_CHECK;
char *arena_printf(struct arena *a, const char *format, ...) PRINTF_LIKE(2, 3) MUST_CHECK;

/*
 * fn(p) is called at the next reset or free. Never fails for lack of room:
 * where no node can be had, p is released at once and false is answered.
 */
bool arena_defer(struct arena *a, void (*fn)(void *), void *p) MUST_CHECK;

size_t arena_used(const struct arena *a); /* bytes handed out since the last reset */
