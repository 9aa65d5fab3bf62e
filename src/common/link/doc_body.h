/* SPDX-License-Identifier: MIT */
/*
 * Documents: struct doc_body builds one, struct doc_view reads one.
 *
 * doc_clear keeps the memory, so a body that a loop uses again allocates nothing.
 * A body that is full (16 MiB a document, or the arena was full at doc_new) stays
 * full, and the call that uses it returns ERR_LIMIT, so no other check is needed.
 * Names are UTF-8 without NUL; inside an array the name is NULL. Text that is not
 * UTF-8, or a body that is used before its last doc_end, is a bug of the caller.
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
#define DOC_DEPTH_MAX 64 /* of a body; the server takes 100 */

struct doc_body;

struct doc_body *doc_new(struct arena *mem); /* never NULL */
void doc_clear(struct doc_body *b);          /* empties it and keeps its memory */
bool doc_full(const struct doc_body *b);

void doc_add_text(struct doc_body *b, const char *name, const char *text, size_t length);
void doc_add_string(struct doc_body *b, const char *name, const char *text); /* NULL is null */
void doc_add_i64(struct doc_body *b, const char *name, int64_t n);
void doc_add_f64(struct doc_body *b, const char *name, double n);
void doc_add_bool(struct doc_body *b, const char *name, bool v);
/* Microseconds since 1970, UTC; stored in milliseconds, rounded down. */
void doc_add_date_us(struct doc_body *b, const char *name, int64_t us);
void doc_add_null(struct doc_body *b, const char *name);
/* Adds the whole value; {"$date": …} and the like are plain data here. */
void doc_add_json(struct doc_body *b, const char *name, const struct json *v);
void doc_begin(struct doc_body *b, const char *name);
void doc_begin_array(struct doc_body *b, const char *name);
void doc_end(struct doc_body *b);

/* ---- reading ---- */

/* A document or an array; the names in an array are "0", "1", … */
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

/* The built document, borrowed until the body changes. ERR_LIMIT: it did not fit. */
int doc_look(const struct doc_body *b, struct doc_view *out, struct err *e) MUST_CHECK;

/*
 * path: "a.b.0.c". False or NULL: absent, or of another type. doc_get_i64 takes
 * whole numbers that fit, doc_get_f64 any number.
 */
enum doc_type doc_type(const struct doc_view *v, const char *path);
/* length does not count the NUL at the end, and may be NULL. */
const char *doc_get_text(const struct doc_view *v, const char *path, size_t *length);
bool doc_get_i64(const struct doc_view *v, const char *path, int64_t *out);
bool doc_get_f64(const struct doc_view *v, const char *path, double *out);
bool doc_get_bool(const struct doc_view *v, const char *path, bool *out);
bool doc_get_date_us(const struct doc_view *v, const char *path, int64_t *out);
bool doc_get_nested(const struct doc_view *v, const char *path, struct doc_view *out);
size_t doc_count_members(const struct doc_view *v);
/* Appends relaxed extended JSON. ERR_INTERNAL: invalid BSON; ERR_LIMIT: out is full. */
int doc_to_json(const struct doc_view *v, struct buf *out, struct err *e) MUST_CHECK;
