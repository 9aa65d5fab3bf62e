/* SPDX-License-Identifier: MIT */
#include "base/lru.h"

#include <string.h>
#include <sys/queue.h>

#include <uthash.h>

#include "base/clock.h"
#include "base/must.h"

struct entry {
	UT_hash_handle hh;
	TAILQ_ENTRY(entry) order; /* the most recently used entry is first */
	int64_t version, until_ms;
	char *text; /* NULL: the entry is a floor only */
	size_t length;
	char key[];
};

struct lru {
	struct entry *by_key;
	TAILQ_HEAD(entries, entry) order;
	size_t entries_max, bytes_max, bytes;
	int64_t ttl_ms;
	uint64_t evicted;
};

/* Bytes of an entry besides its text. */
#define OVERHEAD (sizeof(struct entry) + 32)

struct lru *
lru_new(size_t entries_max, size_t bytes_max, int64_t ttl_ms)
{
	struct lru *l = must_calloc(1, sizeof *l);

	l->entries_max = entries_max;
	l->bytes_max = bytes_max;
	l->ttl_ms = ttl_ms;
	TAILQ_INIT(&l->order);
	return l;
}

static struct entry *
entry_find(struct lru *l, const char *key)
{
	struct entry *n;

	HASH_FIND_STR(l->by_key, key, n);
	return n;
}

static void
entry_drop(struct lru *l, struct entry *n)
{
	HASH_DEL(l->by_key, n);
	TAILQ_REMOVE(&l->order, n, order);
	l->bytes -= n->length + OVERHEAD;
	free(n->text);
	free(n);
}

void
lru_clear(struct lru *l)
{
	struct entry *n;

	while ((n = TAILQ_FIRST(&l->order)))
		entry_drop(l, n);
}

void
lru_free(struct lru *l)
{
	if (!l)
		return;
	lru_clear(l);
	free(l);
}

const char *
lru_get(struct lru *l, const char *key, size_t *length, int64_t *version)
{
	struct entry *n = entry_find(l, key);

	if (n && clock_mono_ms() >= n->until_ms) {
		entry_drop(l, n);
		n = NULL;
	}
	if (!n || !n->text)
		return NULL;
	TAILQ_REMOVE(&l->order, n, order);
	TAILQ_INSERT_HEAD(&l->order, n, order);
	*length = n->length;
	*version = n->version;
	return n->text;
}

/* Makes or replaces the entry, which owns text. */
static void
entry_set(struct lru *l, const char *key, char *text, size_t length, int64_t version)
{
	struct entry *n = entry_find(l, key);
	size_t key_size = strlen(key) + 1;

	if (n)
		entry_drop(l, n);
	n = must_calloc(1, sizeof *n + key_size);
	memcpy(n->key, key, key_size);
	n->text = text;
	n->length = length;
	n->version = version;
	n->until_ms = clock_mono_ms() + l->ttl_ms;
	HASH_ADD_STR(l->by_key, key, n);
	TAILQ_INSERT_HEAD(&l->order, n, order);
	l->bytes += length + OVERHEAD;
	while (HASH_COUNT(l->by_key) > l->entries_max || l->bytes > l->bytes_max) {
		entry_drop(l, TAILQ_LAST(&l->order, entries));
		l->evicted++;
	}
}

void
lru_put(struct lru *l, const char *key, const char *text, size_t length, int64_t version)
{
	struct entry *n = entry_find(l, key);
	char *copy;

	if (l->entries_max == 0 || length > l->bytes_max / 4 || (n && n->version > version))
		return;
	copy = must_malloc(length + 1);
	memcpy(copy, text, length);
	copy[length] = '\0';
	entry_set(l, key, copy, length, version);
}

void
lru_floor(struct lru *l, const char *key, int64_t version)
{
	struct entry *n = entry_find(l, key);

	if (l->entries_max == 0 || (n && n->version > version))
		return;
	entry_set(l, key, NULL, 0, version);
}

void
lru_drop(struct lru *l, const char *key)
{
	struct entry *n = entry_find(l, key);

	if (n)
		entry_drop(l, n);
}

size_t
lru_entries(const struct lru *l)
{
	return HASH_COUNT(l->by_key);
}

size_t
lru_bytes(const struct lru *l)
{
	return l->bytes;
}

uint64_t
lru_evicted(const struct lru *l)
{
	return l->evicted;
}
