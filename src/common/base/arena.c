/* SPDX-License-Identifier: MIT */
#include "base/arena.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct block {
	struct block *next;
	size_t size, used;
	alignas(max_align_t) char bytes[];
};

struct deferred {
	struct deferred *next;
	void (*fn)(void *);
	void *p;
};

struct arena {
	struct block *first;       /* kept at reset */
	struct block *now;         /* allocations come from it; the newest block */
	struct deferred *deferred; /* newest first */
	size_t used, limit;
};

static struct block *
block_new(size_t size)
{
	struct block *b = must_malloc(sizeof *b + size);

	*b = (struct block){ .size = size };
	return b;
}

struct arena *
arena_new(size_t first_block_bytes, size_t limit_bytes)
{
	struct arena *a = must_calloc(1, sizeof *a);

	a->first = a->now = block_new(first_block_bytes < 256 ? 256 : first_block_bytes);
	a->limit = limit_bytes;
	return a;
}

void
arena_reset(struct arena *a)
{
	struct block *b = a->first->next, *next;

	/* before any block is freed: the deferred functions may use memory of this arena */
	while (a->deferred) {
		struct deferred *d = a->deferred;

		a->deferred = d->next;
		d->fn(d->p);
	}
	for (; b; b = next) {
		next = b->next;
		free(b);
	}
	a->first->next = NULL;
	a->first->used = 0;
	a->now = a->first;
	a->used = 0;
}

void
arena_free(struct arena *a)
{
	if (!a)
		return;
	arena_reset(a);
	free(a->first);
	free(a);
}

void *
arena_alloc(struct arena *a, size_t size)
{
	const size_t unit = alignof(max_align_t);
	struct block *b = a->now;
	size_t grow;
	void *p;

	if (size > SIZE_MAX - unit)
		return NULL;
	size = size ? (size + unit - 1) / unit * unit : unit;
	if (size > a->limit - a->used)
		return NULL;
	if (size > b->size - b->used) {
		grow = b->size < (SIZE_MAX >> 2) ? b->size * 2 : b->size;
		grow = grow > (1 << 20) ? 1 << 20 : grow;
		b->next = block_new(size > grow ? size : grow);
		b = a->now = b->next;
	}
	p = b->bytes + b->used;
	b->used += size;
	a->used += size;
	return memset(p, 0, size);
}

void *
arena_memdup(struct arena *a, const void *from, size_t size)
{
	void *p = arena_alloc(a, size);

	return p && size ? memcpy(p, from, size) : p;
}

char *
arena_strndup(struct arena *a, const char *text, size_t length)
{
	char *p = length < SIZE_MAX ? arena_alloc(a, length + 1) : NULL;

	return p && length ? memcpy(p, text, length) : p;
}

char *
arena_strdup(struct arena *a, const char *text)
{
	return arena_strndup(a, text, strlen(text));
}

char *
arena_printf(struct arena *a, const char *format, ...)
{
	va_list args;
	char *p;
	int n;

	va_start(args, format);
	n = vsnprintf(NULL, 0, format, args);
	va_end(args);
	must(n >= 0);
	p = arena_alloc(a, (size_t)n + 1);
	if (!p)
		return NULL;
	va_start(args, format);
	must(vsnprintf(p, (size_t)n + 1, format, args) == n);
	va_end(args);
	return p;
}

bool
arena_defer(struct arena *a, void (*fn)(void *), void *p)
{
	struct deferred *d = arena_alloc(a, sizeof *d);

	if (!d) {
		fn(p);
		return false;
	}
	*d = (struct deferred){ a->deferred, fn, p };
	a->deferred = d;
	return true;
}

size_t
arena_used(const struct arena *a)
{
	return a->used;
}
