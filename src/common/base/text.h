/* SPDX-License-Identifier: MIT */
/* Small helpers for text: whole files within a bound, hex digits, whole numbers. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"

/*
 * Reads the file at path, at most max bytes, into mem; a NUL ends the text. The
 * error names the path and the reason. ERR_INVALID: the file can't be read, is
 * larger, or holds a NUL byte. ERR_MISSING: there is no such file.
 */
int text_file_read(const char *path, size_t max, struct arena *mem, const char **out, struct err *e)
	MUST_CHECK;

int text_hex_digit(char c); /* 0 to 15; -1: not a hex digit */

/* A number that is a macro as a string literal, for a statement's text. */
#define TEXT_OF(n) TEXT_OF_(n)
#define TEXT_OF_(n) #n

#define TEXT_I64_SIZE 21
/* Writes n in decimal with a NUL and returns the length. printf takes ten times as long. */
size_t text_i64(int64_t n, char out[static TEXT_I64_SIZE]);
