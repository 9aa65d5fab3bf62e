/* SPDX-License-Identifier: MIT */
/*
 * AMQP's tables (headers, arguments) as views of their wire form: nothing is
 * decoded before it is asked for, and what is passed on is passed on byte for
 * byte, whatever types its maker chose.
 *
 * Threads: any; a view lives as long as the bytes it shows.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct broker_table {
	const uint8_t *bytes; /* its entries, without the length before them */
	size_t length;        /* 0: empty or absent */
};

/*
 * kind is the wire's letter: t bool, b B s u I i l L integers, f d floating,
 * D decimal, S text, x bytes, T time, F table, A array, V nothing.
 */
struct broker_value {
	char kind;
	const uint8_t *bytes; /* S, x, F, A: what is in them; others: the wire's bytes, or NULL */
	size_t length;
	int64_t number; /* t, integers, T */
	double real;    /* f, d */
};

struct broker_field {
	const char *name;
	struct broker_value value;
};

struct broker_value broker_text(const char *text); /* S; text outlives the value */
struct broker_value broker_int(int64_t n);         /* l */
struct broker_value broker_bool(bool on);          /* t */

/* The entries in turn; *at begins with 0. False at the end, or where the bytes make no sense. */
bool broker_table_next(const struct broker_table *t, size_t *at, const char **name,
	size_t *name_length, struct broker_value *v);
bool broker_array_next(const struct broker_value *array, size_t *at, struct broker_value *v);
bool broker_table_get(const struct broker_table *t, const char *name, struct broker_value *v);
bool broker_table_whole(const struct broker_table *t); /* its own entries; not what is in them */
bool broker_table_valid(const struct broker_table *t); /* whole, nested no deeper than 32 */

/* False, out untouched: not of that kind. Text and bytes are the same here. */
bool broker_value_int(const struct broker_value *v, int64_t *out);
bool broker_value_text(const struct broker_value *v, const char **text, size_t *length);
bool broker_value_table(const struct broker_value *v, struct broker_table *out);
/* By name; the fallback where it is absent or of another kind. */
int64_t broker_table_int(const struct broker_table *t, const char *name, int64_t fallback);
/* NULL where it is absent or no text. Not NUL-ended. */
const char *broker_table_text(const struct broker_table *t, const char *name, size_t *length);

/* One entry in its wire form at b's end; the name has at most 255 bytes. */
void broker_field_add(struct buf *b, const char *name, size_t name_length,
	const struct broker_value *v);
