/* SPDX-License-Identifier: MIT */
/*
 * Three tiers: this process (lru), Redis, the database. A change reaches both
 * caches before it is answered, and by cache:invalidate every other process.
 *
 * Copies are used, here and in Redis, only while this process hears that
 * channel, and while no process owes an invalidation that Redis refused
 * (cache_owed.h).
 *
 * Threads: the loop's.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/conf.h"
#include "base/err.h"
#include "cache_owed.h"
#include "link/kv.h"

struct api;
struct cache;

struct cache *cache_new(struct api *a, const struct conf *c, struct err *e) MUST_CHECK;
void cache_free(struct cache *c);
struct link *cache_link(struct cache *c);
struct link *cache_channel_link(struct cache *c); /* away: no copy is used */
struct link *cache_writes_link(struct cache *c);  /* BLOCKED while Redis refuses invalidations */
/* Copies may be used now. */
bool cache_usable(const struct cache *c);

const char *cache_memory_get(struct cache *c, const char *key, size_t *length, int64_t *version);
void cache_memory_put(struct cache *c, const char *key, const char *text, size_t length,
	int64_t version);
/* 0: done will be called; -1: Redis is away or not to be trusted now. */
int cache_redis_get(struct cache *c, const char *key, kv_done_fn *done, void *arg) MUST_CHECK;
void cache_profile_put(struct cache *c, int64_t user_id, int64_t version, const char *text,
	size_t length);
/* A country's list, unless one has changed since changes were counted, before it was read. */
uint64_t cache_list_changes(const struct cache *c);
void cache_list_put(struct cache *c, const char *key, const char *text, size_t length,
	uint64_t changes);

/* Nobody shows a profile older than version once done was called without an error. */
void cache_user_changed(struct cache *c, int64_t user_id, int64_t version, owed_done_fn *done,
	void *arg);
/* A country's list has changed; nobody waits for it. code may be NULL or "". */
void cache_country_changed(struct cache *c, const char *code);
