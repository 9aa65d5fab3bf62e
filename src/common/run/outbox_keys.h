/* SPDX-License-Identifier: MIT */
/*
 * Idempotency-Keys are remembered for 24 hours; this forgets the older ones, a
 * page at a time, so that no statement is long and no signup waits for it.
 *
 * Threads: the connection's own.
 */
#pragma once

#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"

struct sql;

/* For about budget_ms. 1: there are more. */
int outbox_keys_forget(struct sql *sql, struct arena *mem, int64_t budget_ms, struct err *e)
	MUST_CHECK;
