/* SPDX-License-Identifier: MIT */
/*
 * A cache of texts by key, bounded in entries and in bytes. The least recently
 * used entry is dropped first. Each entry lives for ttl_ms.
 *
 * An entry has a version. lru_floor drops the text and, until the entry expires,
 * refuses texts with an older version. So an answer that was read before a
 * change and arrives after it is never kept.
 *
 * Threads: one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lru;

struct lru *lru_new(size_t entries_max, size_t bytes_max,
	int64_t ttl_ms); /* entries_max 0: keeps nothing */
void lru_free(struct lru *l);
/* NULL: no such entry. The text is valid until the next call. */
const char *lru_get(struct lru *l, const char *key, size_t *length, int64_t *version);
void lru_put(struct lru *l, const char *key, const char *text, size_t length, int64_t version);
void lru_floor(struct lru *l, const char *key, int64_t version);
void lru_drop(struct lru *l, const char *key);
void lru_clear(struct lru *l);
size_t lru_entries(const struct lru *l);
size_t lru_bytes(const struct lru *l);
uint64_t lru_evicted(const struct lru *l);
