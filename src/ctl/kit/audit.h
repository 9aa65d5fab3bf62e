/* SPDX-License-Identifier: MIT */
/*
 * Who changed what: one JSON object a line, appended to ctl.audit_log before a
 * change begins and after it has ended. A change that cannot be written down does
 * not begin: audit_begin fails, with fd -1. If the end cannot be written, the change
 * stays, and stderr says so.
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
