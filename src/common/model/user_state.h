/* SPDX-License-Identifier: MIT */
/*
 * A document of MongoDB's collection `users`. onboard-segments writes it, and
 * `onboardctl rebuild segments` writes it anew. It is a user's state at one
 * version, or a tombstone.
 *
 * A newer state replaces an older one. A state of the same version replaces it
 * too, unless it comes from user.created, the oldest there is. Only a tombstone
 * replaces a tombstone. An update is an upsert: it inserts when the selector
 * finds no document. If the user has a document that is newer, the insert fails
 * as a duplicate.
 */
#pragma once

#include "link/doc.h"

struct user_state {
	int64_t id, version, updated_us;
	int64_t created_us; /* an existing document takes it if created_known, and if it is earlier */
	bool created_known, oldest; /* oldest: from user.created */
	const char *username, *email;
};

/* Each of them clears the bodies first. */
void user_state_insert(struct doc_body *document, const struct user_state *s);
void user_state_update(struct doc_body *which, struct doc_body *what, const struct user_state *s);
void user_state_tombstone(struct doc_body *which, struct doc_body *document, int64_t id,
	int64_t version, int64_t deleted_us);
