/* SPDX-License-Identifier: MIT */
/*
 * A progress bar on stderr for whatever takes over a second; nothing where
 * stderr is no terminal. Whoever prints to the terminal meanwhile calls
 * progress_hide first.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct progress {
	const char *what;     /* "reading" */
	uint64_t total, done; /* total 0: not known */
	int64_t began_ms, shown_ms;
	bool on, shown;
};

void progress_begin(struct progress *p, const char *what, uint64_t total);
void progress_set(struct progress *p, uint64_t done); /* cheap: draws five times a second */
void progress_hide(struct progress *p);
void progress_end(struct progress *p);
