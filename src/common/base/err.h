/* SPDX-License-Identifier: MIT */
/*
 * An error as a value. A function that can fail takes a struct err and returns
 * 0 or -1. Setting an error allocates nothing. Only two tables turn a kind into
 * policy: the outcome of a message (run/consumer) and the status of an HTTP
 * answer (http/problem). The code that handles an error logs it, once.
 *
 * Threads: a struct err belongs to its caller.
 */
#pragma once

#include "base/must.h"

enum err_kind {
	ERR_NONE,
	ERR_AWAY,     /* a server can't be reached or can't serve now: try later */
	ERR_LIMIT,    /* one of our own bounds: a full queue, too large, too slow */
	ERR_INVALID,  /* the input is wrong and stays wrong */
	ERR_CONFLICT, /* valid, but in conflict with stored data: taken, stale, in use */
	ERR_MISSING,  /* the named thing does not exist */
	ERR_INTERNAL, /* anything else: a server gave an unexpected answer */
};

struct err {
	enum err_kind kind;
	char text[512]; /* one line, no line ends, whole UTF-8; cut with "..." when too long */
};

#define ERR_INIT ((struct err){ .kind = ERR_NONE })

/* Sets kind and text. Always returns -1, so a caller can return the call. e may be NULL. */
int err_set(struct err *e, enum err_kind kind, const char *format, ...) PRINTF_LIKE(3, 4);
/* Puts "context: " before the text and keeps the kind; returns -1. */
int err_wrap(struct err *e, const char *format, ...) PRINTF_LIKE(2, 3);
const char *err_kind_name(enum err_kind kind);
