/* SPDX-License-Identifier: MIT */
/*
 * What went wrong, as a value. A function that can fail takes a struct err,
 * answers 0 or -1, and allocates nothing to say why. Two tables alone turn a
 * kind into policy: the outcome of a message (run/consumer) and the status of
 * an HTTP answer (run/problem). Whoever handles an error logs it, once.
 *
 * Threads: a struct err belongs to its caller.
 */
#pragma once

#include "base/must.h"

enum err_kind {
	ERR_NONE,
	ERR_AWAY,     /* a server can't be reached or can't serve now: nobody's fault, try later */
	ERR_LIMIT,    /* one of our own bounds was met: full queue, too large, too slow */
	ERR_INVALID,  /* the input can never be right */
	ERR_CONFLICT, /* right, but against what is there: taken, stale, in use */
	ERR_MISSING,  /* what it names is not there */
	ERR_INTERNAL, /* all else: the server answered something we did not expect */
};

struct err {
	enum err_kind kind;
	char text[512]; /* one line, no line ends, whole UTF-8; cut with "..." when too long */
};

#define ERR_INIT ((struct err){ .kind = ERR_NONE })

/* Sets kind and text; always answers -1, so that a caller can return it. e may be NULL. */
int err_set(struct err *e, enum err_kind kind, const char *format, ...) PRINTF_LIKE(3, 4);
/* Puts "context: " before the text that is there, keeps the kind; answers -1. */
int err_wrap(struct err *e, const char *format, ...) PRINTF_LIKE(2, 3);
const char *err_kind_name(enum err_kind kind);
