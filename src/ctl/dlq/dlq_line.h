/* SPDX-License-Identifier: MIT */
/*
 * Header values as JSON: {"name": …, "type": the wire's letter, "value": …}, and
 * "base64" in place of what JSON cannot say exactly (bytes that are no UTF-8,
 * floating numbers, tables nested too deep). Names may come twice, so headers
 * are an array.
 */
#pragma once

#include "base/json.h"
#include "base/json_out.h"
#include "link/broker_value.h"

#define DLQ_TABLE_DEPTH 10 /* two levels of JSON each */

/* The members "type" and "value", or "base64" instead of "value". */
void dlq_value_write(struct json_out *o, const struct broker_value *v, unsigned depth);
/* The member "headers", or "headers_base64" where JSON has no room for so many. */
void dlq_headers_write(struct json_out *o, const struct broker_table *t);
/* Text as a member of this name, or as name_base64. */
void dlq_bytes_write(struct json_out *o, const char *name, const char *bytes, size_t length);
/* A number; beyond 2^53, where JSON's readers lose digits, as a string. */
void dlq_json_i64(struct json_out *o, const char *name, int64_t n);

/* The wire form at out's end. */
int dlq_table_parse(const struct json *array, struct buf *out, struct arena *mem, struct err *e)
	MUST_CHECK;
