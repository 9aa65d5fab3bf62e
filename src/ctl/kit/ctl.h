/* SPDX-License-Identifier: MIT */
/*
 * What every verb of onboardctl gets, and how it tells a fault or a finding: to
 * stderr, as one line that says what to do next.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/conf.h"
#include "base/err.h"

enum ctl_exit {
	CTL_DONE = 0,
	CTL_FAILED = 1,
	CTL_USAGE = 2,
	CTL_NOTHING = 3, /* nothing matched */
	CTL_AWAY = 69,   /* a server cannot be reached */
	CTL_CONF = 78,
};

struct ctl {
	const struct conf *conf;
	bool json;        /* one JSON object a line instead of the table */
	bool colour;      /* a terminal, and NO_COLOR is not set */
	const char *verb; /* for messages: "db migrate" */
};

/* One line to stderr, "onboardctl VERB: ..."; answers code. */
int ctl_fail(const struct ctl *c, int code, const char *format, ...) PRINTF_LIKE(3, 4);
/* The same with an error: its kind gives the code (AWAY 69, MISSING 3, else 1). */
int ctl_fail_err(const struct ctl *c, const struct err *e);
/* ok, warn or bad, coloured on a terminal. */
enum ctl_mark { CTL_MARK_OK, CTL_MARK_WARN, CTL_MARK_BAD };
const char *ctl_mark(const struct ctl *c, enum ctl_mark m);

/*
 * One finding: "ok   rabbitmq   4.3.0" and, on a line of its own, how to fix it
 * (fix may be NULL). With --json an object of state, subject, text and fix.
 */
void ctl_finding(const struct ctl *c, enum ctl_mark m, const char *subject, const char *text,
	const char *fix);

#define CTL_AGE_SIZE 16
void ctl_age(int64_t seconds, char out[static CTL_AGE_SIZE]); /* "12 s", "3 min", "5 h", "2 d" */
