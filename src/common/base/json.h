/* SPDX-License-Identifier: MIT */
/*
 * Strict JSON over cJSON; json.c alone uses cJSON. Parsing refuses what cJSON
 * accepts: bytes after the value, invalid UTF-8, \u0000, lone surrogates,
 * duplicate names (also when they differ only in case), depth over 32, numbers
 * that are not finite, integers beyond 2^53, more than JSON_NODES_MAX values,
 * control bytes in strings, an empty input. json_get compares names exactly.
 *
 * Ownership: the tree lives in the arena passed to json_parse. Errors are
 * ERR_INVALID with the position of the byte. To write JSON, see json_out.h.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

#define JSON_DEPTH_MAX 32
#define JSON_NODES_MAX 100000
#define JSON_INTEGER_MAX 9007199254740992LL /* 2^53 */

struct json; /* a value in a parsed tree */
enum json_type { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

int json_parse(struct arena *mem, const char *text, size_t length, const struct json **out,
	struct err *e) MUST_CHECK;

enum json_type json_type(const struct json *v);
const char *json_type_name(enum json_type t);
const struct json *json_get(const struct json *object, const char *name); /* NULL: no such member */
const char *json_name(const struct json *member);
const struct json *json_first(const struct json *parent); /* of an array or an object */
const struct json *json_next(const struct json *v);
size_t json_count(const struct json *parent);

const char *json_string(const struct json *v);         /* NULL: not a string */
bool json_integer(const struct json *v, int64_t *out); /* false: not a whole number within 2^53 */
bool json_number(const struct json *v, double *out);
bool json_bool(const struct json *v, bool *out);

/*
 * Writes a parsed value as compact JSON, with names in their order or, for a
 * fingerprint, sorted by byte.
 */
void json_write(const struct json *v, struct buf *out);
void json_write_sorted(const struct json *v, struct buf *out);
bool json_utf8_valid(const char *text,
	size_t length); /* false: a cut character, a surrogate, an overlong form, or a NUL */
