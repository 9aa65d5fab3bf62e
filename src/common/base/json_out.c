/* SPDX-License-Identifier: MIT */
#include "base/json_out.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void
json_out_init(struct json_out *o, struct buf *to)
{
	*o = (struct json_out){ .to = to };
}

void
json_out_name(struct json_out *o, const char *name)
{
	bool in_object = o->depth > 0 && !(o->lists >> (o->depth - 1) & 1), comma = o->comma;
	size_t length = name ? strlen(name) : 0;
	char *p;

	must(in_object == (name != NULL));
	o->comma = true;
	p = buf_reserve(o->to, (size_t)comma + (name ? length + 3 : 0)); /* one check of the room */
	if (!p)
		return;
	if (comma)
		*p++ = ',';
	if (!name)
		return;
	*p++ = '"';
	memcpy(p, name, length);
	memcpy(p + length, "\":", 2);
}

static void
open_value(struct json_out *o, const char *name, bool list)
{
	json_out_name(o, name);
	must(o->depth < JSON_OUT_DEPTH_MAX);
	o->lists = (o->lists & ~(UINT32_C(1) << o->depth)) | (uint32_t)list << o->depth;
	o->depth++;
	o->comma = false;
	buf_add_char(o->to, list ? '[' : '{');
}

void
json_out_object(struct json_out *o, const char *name)
{
	open_value(o, name, false);
}

void
json_out_list(struct json_out *o, const char *name)
{
	open_value(o, name, true);
}

void
json_out_end(struct json_out *o)
{
	must(o->depth > 0);
	o->depth--;
	o->comma = true;
	buf_add_char(o->to, o->lists >> o->depth & 1 ? ']' : '}');
}

void
json_out_text(struct json_out *o, const char *name, const char *text)
{
	if (text)
		json_out_bytes(o, name, text, strlen(text));
	else
		json_out_null(o, name);
}

void
json_out_bytes(struct json_out *o, const char *name, const char *text, size_t length)
{
	json_out_name(o, name);
	buf_add_json_string(o->to, text, length);
}

void
json_out_i64(struct json_out *o, const char *name, int64_t n)
{
	json_out_name(o, name);
	buf_add_i64(o->to, n);
}

void
json_out_double(struct json_out *o, const char *name, double d)
{
	char text[32];

	if (!isfinite(d)) {
		json_out_null(o, name);
		return;
	}
	/* the shortest form that reads back as the same number */
	for (int digits = 15; digits <= 17; digits++) {
		snprintf(text, sizeof text, "%.*g", digits, d);
		if (strtod(text, NULL) == d)
			break;
	}
	json_out_raw(o, name, text, strlen(text));
}

void
json_out_bool(struct json_out *o, const char *name, bool on)
{
	json_out_name(o, name);
	buf_add_text(o->to, on ? "true" : "false");
}

void
json_out_null(struct json_out *o, const char *name)
{
	json_out_raw(o, name, "null", 4);
}

void
json_out_number(struct json_out *o, const char *name, const char *text)
{
	if (text && !strpbrk(text, "NaIi"))
		json_out_raw(o, name, text, strlen(text));
	else
		json_out_null(o, name);
}

void
json_out_raw(struct json_out *o, const char *name, const char *json, size_t length)
{
	json_out_name(o, name);
	buf_add(o->to, json, length);
}
