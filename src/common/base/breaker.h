/* SPDX-License-Identifier: MIT */
/*
 * Circuit breaker as pure functions over a small struct: CLOSED, after
 * `threshold` failures in a row OPEN, after `open_ms` HALF_OPEN with one
 * trial; its success closes, its failure opens again. Time is the caller's.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN };

struct breaker {
	unsigned threshold;
	int64_t open_ms;
	enum breaker_state state;
	unsigned failures; /* in a row; 0 after a success */
	int64_t opened_ms; /* when it last opened */
	bool trial;        /* HALF_OPEN: the one trial is on its way */
};

void breaker_init(struct breaker *b, unsigned threshold, int64_t open_ms);
bool breaker_allow(struct breaker *b,
	int64_t now_ms); /* true: call, then report success or failure */
void breaker_success(struct breaker *b);
void breaker_failure(struct breaker *b, int64_t now_ms);
const char *breaker_state_name(enum breaker_state s);
