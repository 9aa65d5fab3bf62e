/* SPDX-License-Identifier: MIT */
/* An event as a document of MongoDB's collection `events`: every writer writes the same form. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "model/event.h"
#include "link/doc_body.h"

/* The members of a payload that name a user; they leave MongoDB when the user is deleted. */
#define EVENT_NAMES(before) \
	{ \
		before "username", before "name", before "email" \
	}

/* Clears b and writes the document. nameless: the user is deleted, so EVENT_NAMES stay out. */
void event_document(struct doc_body *b, const struct event *ev, int64_t received_us, bool nameless);
