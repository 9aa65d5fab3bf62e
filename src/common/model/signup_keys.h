/* SPDX-License-Identifier: MIT */
/*
 * The Idempotency-Keys of sign-ups: onboard-api remembers each key for 24 hours.
 *
 * Threads: a call belongs to its connection's thread.
 */
#pragma once

#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"

struct sql;

#define SIGNUP_KEY_LIFE "interval '24 hours'" /* SQL */

/*
 * Deletes expired keys for about budget_ms, a page at a time: no statement is
 * long, and no sign-up waits for one. Answers 1 while more are left.
 */
int signup_keys_forget(struct sql *sql, struct arena *mem, int64_t budget_ms, struct err *e)
	MUST_CHECK;
