/* SPDX-License-Identifier: MIT */
/*
 * onboard-segments keeps one document per user in MongoDB's `users`, and puts a
 * new user's recommendations into Redis.
 *
 * It handles a batch user by user: it writes the user's newest event, and the
 * user's other events are done with it. If the newest event cannot be written,
 * the others are tried without it, so no event fails because of another one.
 */
#include <stdlib.h>

#include "segments_picks.h"
#include "segments_users.h"

/* By user, then older first. If two events do not say which is newer, the later delivery is. */
static int
by_user_and_age(const void *a, const void *b)
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
activity_skip(struct delivery *d)
{
	d->out = OUT_DONE;
}

/* Lists deliveries without an outcome, sorted. */
static size_t
open_list(struct batch *b, struct delivery **list)
{
	size_t n = 0;

	for (size_t i = 0; i < b->n; i++)
		if (b->d[i].out == OUT_UNSET)
			list[n++] = &b->d[i];
	qsort(list, n, sizeof(struct delivery *), by_user_and_age);
	return n;
}

static size_t
users_list(struct delivery *const *list, size_t n, struct user *users)
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

/* If the write succeeded, all of the user's events are done; otherwise only the newest fails. */
static void
user_settle(struct delivery *const *list, const struct user *u)
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
segments_handle(struct consumer *c, void *state, struct batch *b, struct err *e)
{
	struct delivery **list = arena_alloc(b->mem, b->n * sizeof(struct delivery *));
	struct user *users = arena_alloc(b->mem, b->n * sizeof *users);
	size_t left, n;

	(void)state;
	must(list && users);
	for (size_t i = 0; i < b->n; i++)
		if (b->d[i].ev->kind == EVENT_ACTIVITY)
			activity_skip(&b->d[i]);
	while ((left = open_list(b, list)) > 0) {
		n = users_list(list, left, users);
		if (segments_users_write(c, b, users, n, e) ||
			segments_picks_write(c, b, users, n, e))
			return -1;
		for (size_t i = 0; i < n; i++)
			user_settle(list, &users[i]);
	}
	return 0;
}

int
main(int argc, char **argv)
{
	static const struct handler segments = { .name = "segments",
		.summary = "Keeps each user's segment and scores in MongoDB.",
		.needs = NEED_DOC | NEED_KV,
		.handle = segments_handle };

	return consumer_main(argc, argv, &segments);
}
