/* SPDX-License-Identifier: MIT */
/*
 * The only source of time. Durations and deadlines use the monotonic clock. The
 * wall clock is for display and for dates. Tests set both with clock_test_set.
 *
 * Threads: any.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

int64_t clock_mono_ms(void);
int64_t clock_mono_us(void);
int64_t clock_wall_us(void); /* since 1970, UTC */
int64_t clock_cpu_us(void);  /* processor time of this process */

#define CLOCK_RFC3339_SIZE 28 /* 2026-11-20T12:00:00.123456Z and NUL */
void clock_format_rfc3339(int64_t wall_us, char out[static CLOCK_RFC3339_SIZE]);
/*
 * Reads ISO 8601 as other programs write it: the date, 'T' or ' ', the time with
 * an optional fraction (cut to six digits), then 'Z', an offset, or nothing, which
 * means UTC. Years 1970 to 9999. A leap second counts as the second after it.
 */
int clock_parse_rfc3339(const char *text, size_t length, int64_t *wall_us, struct err *e)
	MUST_CHECK;

/* For tests alone: freezes both clocks at these values; advance moves both. */
void clock_test_set(int64_t mono_us, int64_t wall_us);
void clock_test_advance_ms(int64_t ms);
void clock_test_release(void);
