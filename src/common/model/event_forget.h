/* SPDX-License-Identifier: MIT */
/*
 * Name and e-mail leave the events of a user who is deleted. Whoever handles a
 * deletion remembers it and then strips; whoever writes another event of a user
 * writes it and then asks who has gone: so of two processes at once one sees
 * the other.
 *
 * A user may have any number of events. They are stripped in pages, each a short
 * call, and only those that still hold a name are looked for: killed halfway, or
 * after an error, the same call goes on where it was.
 */
#pragma once

#include <stdbool.h>

#include "base/arena.h"
#include "base/err.h"
#include "link/doc.h"

struct event_users {
	int64_t *at;
	size_t n;
};

/* Room for so many. */
void event_users_init(struct event_users *u, struct arena *mem, size_t room);
/* n 0: nothing to do, for all three. ERR_AWAY: again later, as with every call of link/doc.h. */
int event_forget_remember(struct doc *d, struct arena *mem, const struct event_users *gone,
	struct err *e) MUST_CHECK;
/* goes_on is asked before each page; false: ERR_AWAY. NULL: no end before the last page. */
int event_forget_strip(struct doc *d, const struct event_users *gone, bool (*goes_on)(void *arg),
	void *arg, struct err *e) MUST_CHECK;
/* Those of asked who have gone come behind gone's; it has room for them. */
int event_forget_look(struct doc *d, struct arena *mem, const struct event_users *asked,
	struct event_users *gone, struct err *e) MUST_CHECK;
