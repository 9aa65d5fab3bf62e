/* SPDX-License-Identifier: MIT */
/* The indexes of MongoDB's `events`: made by onboard-eventlog, looked after by onboardctl doctor. */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "link/doc.h"

#define EVENT_COLLECTION "events"

int event_indexes_make(struct doc *d, struct err *e) MUST_CHECK;
/* The names of those that are not there, with commas between; "" when none is missing. mem's. */
int event_indexes_missing(struct doc *d, struct arena *mem, const char **names, struct err *e)
	MUST_CHECK;
