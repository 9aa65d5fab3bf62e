/* SPDX-License-Identifier: MIT */
/*
 * Errors as an HTTP client sees them: problem+json (RFC 9457), and the one table
 * that turns an error's kind into a status. Pure functions; any thread.
 */
#pragma once

#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

#define PROBLEM_TYPE "application/problem+json"

struct problem_field {
	const char *field, *reason; /* never the value itself */
};

int problem_status(enum err_kind kind); /* 503, 409, 404, ... */
const char *problem_title(int status);  /* the standard phrase */

/* Appends to out. detail and instance may be NULL; errors name the fields at fault. */
void problem_write(struct buf *out, int status, const char *detail, const char *instance,
	const struct problem_field *errors, size_t count);
