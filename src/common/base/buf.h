/* SPDX-License-Identifier: MIT */
/*
 * A growing byte buffer with a hard maximum. The first failure sticks
 * (buf_failed), so several appends need one check after the last. The bytes
 * always end with a NUL, which length does not count.
 *
 * Threads: one at a time. Ownership: the caller's storage, buf_init to buf_fini.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/must.h"

struct buf {
	char *data;    /* NULL until the first byte */
	size_t length; /* <= max_bytes */
	size_t room;   /* allocated bytes, including the NUL */
	size_t max_bytes;
	bool failed; /* an append did not fit; the bytes before it are whole */
};

void buf_init(struct buf *b, size_t max_bytes);
void buf_fini(struct buf *b);
void buf_clear(struct buf *b); /* length 0, not failed, keeps its memory */
bool buf_failed(const struct buf *b);
const char *buf_text(const struct buf *b); /* "" when empty */

void buf_add(struct buf *b, const void *bytes, size_t length);
void buf_add_text(struct buf *b, const char *text);
void buf_add_char(struct buf *b, char c);
void buf_add_i64(struct buf *b, int64_t n);
void buf_printf(struct buf *b, const char *format, ...) PRINTF_LIKE(2, 3);
/* A JSON string with its quotes; bytes that are not UTF-8 become U+FFFD. */
void buf_add_json_string(struct buf *b, const char *text, size_t length);
/* Adds n bytes for the caller to write, and returns the first; NULL: they don't fit. */
char *buf_reserve(struct buf *b, size_t n) MUST_CHECK;
void buf_drop_front(struct buf *b, size_t n); /* removes the first n bytes */
