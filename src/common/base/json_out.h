/* SPDX-License-Identifier: MIT */
/*
 * The one writer of JSON. It writes the commas, quotes and escapes, so the text
 * in the buffer is JSON once every open object and list has been closed.
 *
 *	json_out_init(&o, &buf);
 *	json_out_object(&o, NULL);
 *	json_out_i64(&o, "id", 42);
 *	json_out_list(&o, "items");
 *	json_out_text(&o, NULL, "a");
 *	json_out_end(&o);
 *	json_out_end(&o);		{"id":42,"items":["a"]}
 *
 * name is a member's name inside an object, and NULL inside a list or for the
 * outermost value. Names are our own words: letters, digits and "_".
 * A buffer that is full has failed (buf_failed); the caller looks once, at the end.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define JSON_OUT_DEPTH_MAX 32

struct json_out {
	struct buf *to;
	uint32_t lists; /* bit n: the open value at depth n is a list */
	unsigned depth;
	bool comma; /* a value was written before at this depth */
};

void json_out_init(struct json_out *o, struct buf *to);

void json_out_object(struct json_out *o, const char *name);
void json_out_list(struct json_out *o, const char *name);
void json_out_end(struct json_out *o); /* closes the innermost object or list */

void json_out_text(struct json_out *o, const char *name, const char *text); /* NULL: null */
void json_out_bytes(struct json_out *o, const char *name, const char *text, size_t length);
void json_out_i64(struct json_out *o, const char *name, int64_t n);
void json_out_double(struct json_out *o, const char *name, double d); /* not finite: null */
void json_out_bool(struct json_out *o, const char *name, bool on);
void json_out_null(struct json_out *o, const char *name);
/* A number as PostgreSQL writes it; NULL, NaN and Infinity become null. */
void json_out_number(struct json_out *o, const char *name, const char *text);
/* A value that is JSON already. */
void json_out_raw(struct json_out *o, const char *name, const char *json, size_t length);
/* Writes the comma and the name alone. The caller adds the value to the buffer next. */
void json_out_name(struct json_out *o, const char *name);
