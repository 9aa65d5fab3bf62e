/* SPDX-License-Identifier: MIT */
/*
 * The outbox's partitions: the days ahead are made, those past the retention
 * that hold nothing unpublished are dropped.
 *
 * Threads: the connection's own.
 */
#pragma once

#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"

struct sql;

/* tick, between steps, may be NULL. Answers as days_keep. */
int outbox_keep(struct sql *sql, struct arena *mem, int64_t retention_days, void (*tick)(void *),
	void *arg, struct err *e) MUST_CHECK;
