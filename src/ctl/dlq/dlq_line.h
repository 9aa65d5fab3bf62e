/* SPDX-License-Identifier: MIT */
/*
 * Header values as JSON: {"name": …, "type": the wire's letter, "value": …}, and
 * "base64" in place of what JSON cannot say exactly (bytes that are no UTF-8,
 * floating numbers, tables nested too deep). Names may come twice, so headers
 * are an array.
 */
#pragma once

#include "base/json.h"
#include "link/broker_value.h"

#define DLQ_TABLE_DEPTH 10 /* two levels of JSON each */

/* Members without braces: "type":…,"value":… */
void dlq_value_write(struct buf *out, const struct broker_value *v, unsigned depth);
/* The member "headers", or "headers_base64" where JSON has no room for so many. */
void dlq_headers_write(struct buf *out, const struct broker_table *t);
void dlq_table_write(struct buf *out, const struct broker_table *t, unsigned depth);
/* Text as a member of this name, or as name_base64. */
void dlq_bytes_write(struct buf *out, const char *name, const char *bytes, size_t length);

/* The wire form at out's end. */
int dlq_table_parse(const struct json *array, struct buf *out, struct arena *mem, struct err *e)
	MUST_CHECK;
