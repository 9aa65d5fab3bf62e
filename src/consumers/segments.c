/* SPDX-License-Identifier: MIT */
/*
 * onboard-segments: what is known of each user in MongoDB's `users`, and what to
 * recommend to one who is new in Redis.
 *
 * A batch is looked at user by user: of several events of one user the newest
 * is written, and the others are done with it. Where it can't be written the
 * others are tried without it, so that no event fails for another's fault.
 */
#include <stdlib.h>

#include "segments_picks.h"
#include "segments_users.h"

/* By user, older first; what came later counts as newer where the event does not say. */
static int
compare(const void *a, const void *b)
{
	const struct delivery *p = *(struct delivery *const *)a, *q = *(struct delivery *const *)b;

	if (p->ev->user_id != q->ev->user_id)
		return p->ev->user_id < q->ev->user_id ? -1 : 1;
	if (p->ev->version != q->ev->version)
		return p->ev->version < q->ev->version ? -1 : 1;
	if (p->ev->kind != q->ev->kind)
		return p->ev->kind < q->ev->kind ? -1 : 1;
	return p < q ? -1 : p > q;
}

static void
activity(struct delivery *d)
{
	d->out = OUT_DONE;
}

/* Those that are still without an outcome, in order. */
static size_t
collect(struct batch *b, struct delivery **list)
{
	size_t n = 0;

	for (size_t i = 0; i < b->n; i++)
		if (b->d[i].out == OUT_UNSET)
			list[n++] = &b->d[i];
	qsort(list, n, sizeof(struct delivery *), compare);
	return n;
}

static size_t
group(struct delivery *const *list, size_t n, struct user *users)
{
	struct user *u = NULL;
	size_t count = 0;

	for (size_t i = 0; i < n; i++) {
		const struct event *ev = list[i]->ev;

		if (!u || u->id != ev->user_id) {
			u = &users[count++];
			*u = (struct user){ .id = ev->user_id, .first = i };
		}
		u->count++;
		u->newest = ev;
		if (ev->kind == EVENT_CREATED && !u->created)
			u->created = ev;
	}
	return count;
}

/* All of a user's events are done, or those that say what could not be written have its outcome. */
static void
settle(struct delivery *const *list, const struct user *u)
{
	for (size_t i = u->first; i < u->first + u->count; i++) {
		const struct event *ev = list[i]->ev;

		if (u->out != OUT_DONE &&
			(ev->version != u->newest->version || ev->kind != u->newest->kind))
			continue;
		list[i]->out = u->out;
		list[i]->why = u->out == OUT_DONE ? NULL : u->why;
	}
}

static int
handle(struct consumer *c, void *state, struct batch *b, struct err *e)
{
	struct delivery **list = arena_alloc(b->mem, b->n * sizeof(struct delivery *));
	struct user *users = arena_alloc(b->mem, b->n * sizeof *users);
	size_t left, n;

	(void)state;
	must(list && users);
	for (size_t i = 0; i < b->n; i++)
		if (b->d[i].ev->kind == EVENT_ACTIVITY)
			activity(&b->d[i]);
	while ((left = collect(b, list)) > 0) {
		n = group(list, left, users);
		if (segments_users_write(c, b, users, n, e) ||
			segments_picks_write(c, b, users, n, e))
			return -1;
		for (size_t i = 0; i < n; i++)
			settle(list, &users[i]);
	}
	return 0;
}

int
main(int argc, char **argv)
{
	static const struct handler segments = { .name = "segments",
		.summary = "Keeps each user's segment and scores in MongoDB.",
		.needs = NEED_DOC | NEED_KV,
		.handle = handle };

	return consumer_main(argc, argv, &segments);
}
