/* SPDX-License-Identifier: MIT */
/*
 * What an HTTP client is told when something went wrong: problem+json as
 * RFC 9457 has it, and the one table that turns an error's kind into a status.
 */
#pragma once

#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

#define PROBLEM_TYPE "application/problem+json"

struct problem_field {
	const char *field, *reason; /* neither holds the value */
};

int problem_status(enum err_kind kind); /* 503, 409, 404, ... */
const char *problem_title(int status);  /* the status' standard phrase */

/* detail and instance may be NULL; errors come with 422. */
void problem_write(struct buf *out, int status, const char *detail, const char *instance,
	const struct problem_field *errors, size_t count);
