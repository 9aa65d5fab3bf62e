/* SPDX-License-Identifier: MIT */
/* The consumer runtime: bunches and lists of them. Only the I/O thread calls these functions. */
#include "base/clock.h"
#include "run/consumer_own.h"

#define BUNCHES_SPARE 4

static struct bunch *
bunch_new(struct consumer *c)
{
	struct bunch *b = c->spare;

	if (b) {
		c->spare = b->next;
	} else {
		b = must_calloc(1, sizeof *b);
		b->mem = arena_new(BUNCH_ARENA_FIRST, BUNCH_ARENA_LIMIT);
		b->list = must_calloc(c->batch_max, sizeof *b->list);
	}
	b->count = b->open = 0;
	b->connection = c->connection;
	b->first_ms = clock_mono_ms();
	b->handled_us = 0;
	b->full = false;
	b->next = NULL;
	return b;
}

static void
bunch_free(struct bunch *b)
{
	arena_free(b->mem);
	free(b->list);
	free(b);
}

void
consumer_bunch_drop(struct consumer *c, struct bunch *b)
{
	size_t n = 0;

	for (struct bunch *s = c->spare; s; s = s->next)
		n++;
	if (n >= BUNCHES_SPARE) {
		bunch_free(b);
		return;
	}
	arena_reset(b->mem);
	b->next = c->spare;
	c->spare = b;
}

void
consumer_bunches_drop(struct consumer *c, struct bunch **list)
{
	struct bunch *b;

	while ((b = *list)) {
		*list = b->next;
		consumer_bunch_drop(c, b);
	}
}

void
consumer_bunches_add(struct bunch **list, struct bunch *b)
{
	while (*list)
		list = &(*list)->next;
	b->next = NULL;
	*list = b;
}

void
consumer_bunches_drop_stale(struct consumer *c, struct bunch **list)
{
	struct bunch *b;

	while ((b = *list)) {
		if (b->connection == c->connection) {
			list = &b->next;
			continue;
		}
		*list = b->next;
		consumer_bunch_drop(c, b);
	}
}

size_t
consumer_held(const struct consumer *c)
{
	size_t n = c->worker_holds;

	for (const struct bunch *b = c->ready; b; b = b->next)
		n += b->count;
	for (const struct bunch *b = c->settling; b; b = b->next)
		n += b->open;
	return n;
}

struct bunch *
consumer_bunch_forming(struct consumer *c, bool alone)
{
	struct bunch *last = c->ready;

	while (last && last->next)
		last = last->next;
	if (!last || last->full || (alone && last->count > 0) ||
		last->connection != c->connection) {
		if (last)
			last->full = true;
		last = bunch_new(c);
		consumer_bunches_add(&c->ready, last);
	}
	return last;
}

void
consumer_bunches_free(struct consumer *c)
{
	struct bunch *b;

	consumer_bunches_drop(c, &c->ready);
	consumer_bunches_drop(c, &c->settling);
	while ((b = c->spare)) {
		c->spare = b->next;
		bunch_free(b);
	}
}
