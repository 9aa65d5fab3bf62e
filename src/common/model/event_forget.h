/* SPDX-License-Identifier: MIT */
/*
 * When a user is deleted, name and e-mail leave the user's events in MongoDB. A
 * process that handles a deletion first remembers the user, then strips the
 * events. A process that writes another event first writes it, then asks whether
 * the user is deleted. So when two processes do both at once, one of them sees
 * what the other wrote.
 *
 * A user may have any number of events. They are stripped in pages, each one
 * short call, and each call looks only for events that still hold a name. So
 * after a kill or an error, the next try continues where the last one stopped.
 *
 * Threads: the caller's; see link/doc.h.
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

/* Empty, with room for so many users; mem's. */
void event_users_init(struct event_users *u, struct arena *mem, size_t room);
/* All three do nothing for an empty list. ERR_AWAY: try again later, see link/doc.h. */
int event_forget_remember(struct doc *d, struct arena *mem, const struct event_users *gone,
	struct err *e) MUST_CHECK;
/* Calls goes_on before each page; false ends it with ERR_AWAY. NULL: never ends early. */
int event_forget_strip(struct doc *d, const struct event_users *gone, bool (*goes_on)(void *arg),
	void *arg, struct err *e) MUST_CHECK;
/* Appends to gone the users of asked that are deleted. gone must have room for them. */
int event_forget_look(struct doc *d, struct arena *mem, const struct event_users *asked,
	struct event_users *gone, struct err *e) MUST_CHECK;
