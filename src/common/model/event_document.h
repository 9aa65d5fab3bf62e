/* SPDX-License-Identifier: MIT */
/* An event as a document of MongoDB's `events`: one form, whoever writes it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "model/event.h"
#include "link/doc_body.h"

/* Into b, which is cleared first. nameless: the user has gone, so name and e-mail stay out. */
void event_document(struct doc_body *b, const struct event *ev, int64_t received_us, bool nameless);
