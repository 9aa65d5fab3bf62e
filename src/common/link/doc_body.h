/* SPDX-License-Identifier: MIT */
/*
 * Documents: struct doc_body is built, struct doc_view is read.
 *
 * Building is for a loop: doc_clear keeps the memory, so a body that is used
 * again allocates nothing. The first thing that does not fit (16 MiB a document,
 * or the arena was full at doc_new) sticks; the call that uses the body then
 * answers ERR_LIMIT: no check is needed between. Names are UTF-8 without NUL,
 * inside an array they are NULL. Text that is not UTF-8, or a document that is
 * used before its last doc_end, is a bug of the caller.
 *
 * Threads: one at a time. Ownership: bodies and views belong to their arena.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"

#define DOC_BYTES_MAX (16u << 20)
#define DOC_DEPTH_MAX 64 /* of what is built; the server takes 100 */

struct doc_body;

struct doc_body *doc_new(struct arena *mem); /* never NULL */
void doc_clear(struct doc_body *b);          /* empty again, keeps its memory */
bool doc_full(const struct doc_body *b);

void doc_add_text(struct doc_body *b, const char *name, const char *text, size_t length);
void doc_add_string(struct doc_body *b, const char *name, const char *text); /* NULL is null */
void doc_add_i64(struct doc_body *b, const char *name, int64_t n);
void doc_add_f64(struct doc_body *b, const char *name, double n);
void doc_add_bool(struct doc_body *b, const char *name, bool v);
/* Since 1970, UTC; kept to the millisecond, rounded down. */
void doc_add_date_us(struct doc_body *b, const char *name, int64_t us);
void doc_add_null(struct doc_body *b, const char *name);
/* The whole value; {"$date": …} and the like stay what they are: plain data. */
void doc_add_json(struct doc_body *b, const char *name, const struct json *v);
void doc_begin(struct doc_body *b, const char *name);
void doc_begin_array(struct doc_body *b, const char *name);
void doc_end(struct doc_body *b);

/* ---- reading ---- */

/* A document, or an array, whose names are "0", "1", … */
struct doc_view {
	const uint8_t *bytes; /* NULL: none */
	size_t length;
};

struct doc_list {
	size_t count;
	const struct doc_view *at;
};

enum doc_type {
	DOC_ABSENT,
	DOC_NULL,
	DOC_TEXT,
	DOC_NUMBER,
	DOC_BOOL,
	DOC_DATE,
	DOC_NESTED,
	DOC_OTHER
};

/* What was built, borrowed until the body changes. ERR_LIMIT: it did not fit. */
int doc_look(const struct doc_body *b, struct doc_view *out, struct err *e) MUST_CHECK;

/*
 * path: "a.b.0.c". False or NULL: not there, or of another type. A number is
 * an i64 when it is whole and fits; any number is an f64.
 */
enum doc_type doc_type(const struct doc_view *v, const char *path);
/* Ends with a NUL that is not counted; length may be NULL. */
const char *doc_get_text(const struct doc_view *v, const char *path, size_t *length);
bool doc_get_i64(const struct doc_view *v, const char *path, int64_t *out);
bool doc_get_f64(const struct doc_view *v, const char *path, double *out);
bool doc_get_bool(const struct doc_view *v, const char *path, bool *out);
bool doc_get_date_us(const struct doc_view *v, const char *path, int64_t *out);
bool doc_get_nested(const struct doc_view *v, const char *path, struct doc_view *out);
size_t doc_count_members(const struct doc_view *v);
/* Appends relaxed extended JSON; ERR_INTERNAL: the server sent what is none, ERR_LIMIT: out is full. */
int doc_to_json(const struct doc_view *v, struct buf *out, struct err *e) MUST_CHECK;
