/* SPDX-License-Identifier: MIT */
/*
 * Name and e-mail leave the events of a user who is deleted. Whoever handles a
 * deletion remembers it and then strips; whoever writes another event of a user
 * writes it and then asks who has gone: so of two processes at once one sees
 * the other.
 */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "link/doc.h"

struct event_users {
	int64_t *at;
	size_t n;
};

/* Room for so many. */
void event_users_init(struct event_users *u, struct arena *mem, size_t room);
/* n 0: nothing to do, for all three. */
int event_forget_remember(struct doc *d, struct arena *mem, const struct event_users *gone,
	struct err *e) MUST_CHECK;
int event_forget_strip(struct doc *d, struct arena *mem, const struct event_users *gone,
	struct err *e) MUST_CHECK;
/* Those of asked who have gone come behind gone's; it has room for them. */
int event_forget_look(struct doc *d, struct arena *mem, const struct event_users *asked,
	struct event_users *gone, struct err *e) MUST_CHECK;
