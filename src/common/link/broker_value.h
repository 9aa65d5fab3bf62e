/* SPDX-License-Identifier: MIT */
/*
 * AMQP's tables (headers, arguments) as views of their wire form. A value is
 * decoded only when it is read. Headers are passed on byte for byte, with the
 * types that their sender chose.
 *
 * Threads: any; a view lives as long as its bytes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct broker_table {
	const uint8_t *bytes; /* the entries without the leading length */
	size_t length;        /* 0: empty or absent */
};

/*
 * kind is the wire's letter: t bool, b B s u I i l L integers, f d floating,
 * D decimal, S text, x bytes, T time, F table, A array, V nothing.
 */
struct broker_value {
	char kind;
	const uint8_t *bytes; /* S, x, F, A: the content; others: the wire's bytes, or NULL */
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

/* Reads the next entry; *at begins with 0. False: the end, or invalid bytes. */
bool broker_table_next(const struct broker_table *t, size_t *at, const char **name,
	size_t *name_length, struct broker_value *v);
bool broker_array_next(const struct broker_value *array, size_t *at, struct broker_value *v);
bool broker_table_get(const struct broker_table *t, const char *name, struct broker_value *v);
bool broker_table_whole(const struct broker_table *t); /* checks the entries, not their contents */
bool broker_table_valid(const struct broker_table *t); /* checks everything; depth 32 at most */

/* False: another kind; out stays as it was. Text and bytes count as one kind. */
bool broker_value_int(const struct broker_value *v, int64_t *out);
bool broker_value_text(const struct broker_value *v, const char **text, size_t *length);
bool broker_value_table(const struct broker_value *v, struct broker_table *out);
/* The entry of that name; the fallback when it is absent or of another kind. */
int64_t broker_table_int(const struct broker_table *t, const char *name, int64_t fallback);
/* NULL: absent, or no text. The text has no NUL at its end. */
const char *broker_table_text(const struct broker_table *t, const char *name, size_t *length);

/* Appends one entry in its wire form; the name has at most 255 bytes. */
void broker_field_add(struct buf *b, const char *name, size_t name_length,
	const struct broker_value *v);
