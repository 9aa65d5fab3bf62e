/* SPDX-License-Identifier: MIT */
/* Text as it comes: whole files within a bound, hex digits, whole numbers. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"

/*
 * The file at path, at most max bytes, NUL-ended, mem's. ERR_INVALID with the
 * path and the reason: it can't be read, is larger, or holds a NUL byte;
 * ERR_MISSING: it is not there. An empty file is an empty text.
 */
int text_file_read(const char *path, size_t max, struct arena *mem, const char **out, struct err *e)
	MUST_CHECK;

int text_hex_digit(char c); /* 0 to 15; -1: none */

/* A number that is a macro as a string literal, for a statement's text. */
#define TEXT_OF(n) TEXT_OF_(n)
#define TEXT_OF_(n) #n

#define TEXT_I64_SIZE 21
/* In decimal digits, NUL-ended; answers their number. printf takes ten times as long. */
size_t text_i64(int64_t n, char out[static TEXT_I64_SIZE]);
