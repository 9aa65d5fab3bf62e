/* SPDX-License-Identifier: MIT */
/*
 * A document of MongoDB's `users` as onboard-segments writes it and `onboardctl
 * rebuild segments` makes it again: a user's state at its version, or a tombstone.
 *
 * A state gives way to one that is not older; an equal version counts as newer,
 * save for that of user.created, which is the oldest there is. A tombstone gives
 * way to nothing but another tombstone. An update upserts: where the selector
 * meets no document it inserts, which is a duplicate if there is one.
 */
#pragma once

#include "link/doc.h"

struct user_state {
	int64_t id, version, updated_us;
	int64_t created_us; /* a document that is there takes it if created_known, and earlier */
	bool created_known, oldest; /* oldest: it is user.created's */
	const char *username, *email;
};

/* Each clears the bodies it is given. */
void user_state_insert(struct doc_body *document, const struct user_state *s);
void user_state_update(struct doc_body *which, struct doc_body *what, const struct user_state *s);
void user_state_tombstone(struct doc_body *which, struct doc_body *document, int64_t id,
	int64_t version, int64_t deleted_us);
