/* SPDX-License-Identifier: MIT */
/*
 * A circuit breaker as pure functions over a small struct. It starts CLOSED.
 * After `threshold` failures in a row it is OPEN, and after `open_ms` it is
 * HALF_OPEN, which allows one trial. The trial's success closes the breaker;
 * its failure opens it again. The caller passes the time.
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
	bool trial;        /* HALF_OPEN: the one trial is running */
};

void breaker_init(struct breaker *b, unsigned threshold, int64_t open_ms);
bool breaker_allow(struct breaker *b,
	int64_t now_ms); /* true: call, then report success or failure */
void breaker_success(struct breaker *b);
void breaker_failure(struct breaker *b, int64_t now_ms);
const char *breaker_state_name(enum breaker_state s);
