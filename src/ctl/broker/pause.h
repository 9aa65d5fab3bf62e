/* SPDX-License-Identifier: MIT */
/* An operator's pause (run/pause.h), as the tool reads it. */
#pragma once

#include <stdbool.h>

#include "base/arena.h"
#include "link/broker.h"

struct pause_info {
	const char *who, *at, *why; /* mem's; NULL: not said */
};
/* Whether the consumer is paused. Does not make the flag's queue. */
int pause_flag(struct broker *b, const char *consumer, bool *paused, struct err *e) MUST_CHECK;
int pause_read(struct broker *b, const char *consumer, struct arena *mem, struct pause_info *out,
	struct err *e) MUST_CHECK;
