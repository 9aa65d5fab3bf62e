/* SPDX-License-Identifier: MIT */
/*
 * Who changed what: one JSON object a line, appended (ctl.audit_log), before a
 * change begins and when it has ended. A change that cannot be written down is
 * not begun: audit_begin fails, with fd -1. What was changed already is not
 * undone where the end cannot be written; that is told on stderr.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"

struct ctl;

struct audit {
	const char *what;   /* "dlq replay" */
	const char *filter; /* JSON: which entries; NULL: none */
	const char *why;    /* --why; NULL: not given */
	int fd;
	char path[4096];
	char filter_text[2048]; /* audit_begin_on's */
	char change[40];        /* the same in both lines */
};

/* what, filter and why are the caller's, and live until audit_end. */
int audit_begin(const struct ctl *c, struct audit *a, struct err *e) MUST_CHECK;
/* With a filter of names and texts, NULL behind the last; a NULL text is left out. */
int audit_begin_on(const struct ctl *c, struct audit *a, const char *const *pairs, struct err *e)
	MUST_CHECK;
/* result: "done" or what stopped it. fd is closed. */
void audit_end(struct audit *a, uint64_t count, const char *result);
