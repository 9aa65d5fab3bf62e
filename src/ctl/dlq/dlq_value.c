/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/dlq/base64.h"
#include "ctl/dlq/dlq.h"
#include "ctl/dlq/dlq_line.h"
#include "ctl/kit/json.h"
#include "model/dead_letter.h"

#define LARGE 65536
#define WEIGHT_MAX (JSON_NODES_MAX - 100) /* the line has other values too */

/* A large text that would be longer with JSON escapes than as base64. */
static bool
escapes_many(const char *text, size_t length)
{
	size_t more = 0;

	if (length < LARGE)
		return false;
	for (size_t i = 0; i < length; i++)
		more += (uint8_t)text[i] < 0x20 || text[i] == 0x7f || text[i] == (char)0xc2 ? 5
			: text[i] == '"' || text[i] == '\\' || text[i] == (char)0xe2        ? 3
											    : 0;
	return more > length / 3;
}

static void
base64_write(struct json_out *o, const char *name, const void *bytes, size_t length)
{
	json_out_name(o, name);
	buf_add_char(o->to, '"');
	base64_add(o->to, bytes, length);
	buf_add_char(o->to, '"');
}

void
dlq_bytes_write(struct json_out *o, const char *name, const char *bytes, size_t length)
{
	char other[64];

	if (length == 0 || (json_utf8_valid(bytes, length) && !escapes_many(bytes, length))) {
		ctl_json_bytes(o, name, length ? bytes : "", length);
		return;
	}
	snprintf(other, sizeof other, "%s_base64", name);
	base64_write(o, strcmp(name, "value") == 0 ? "base64" : other, bytes, length);
}

void
dlq_json_i64(struct json_out *o, const char *name, int64_t n)
{
	char text[24];

	if (n <= JSON_INTEGER_MAX && n >= -JSON_INTEGER_MAX) {
		json_out_i64(o, name, n);
		return;
	}
	snprintf(text, sizeof text, "%" PRId64, n);
	json_out_text(o, name, text);
}

/* To its end; what is in its members is their own affair. */
static bool
array_whole(const struct broker_value *v)
{
	struct broker_value item;
	size_t at = 0;

	while (broker_array_next(v, &at, &item))
		;
	return at == v->length;
}

static void table_write(struct json_out *o, const char *member, const struct broker_table *t,
	unsigned depth);

static void
array_write(struct json_out *o, const struct broker_value *v, unsigned depth)
{
	struct broker_value item;
	size_t at = 0;

	json_out_list(o, "value");
	while (broker_array_next(v, &at, &item)) {
		json_out_object(o, NULL);
		dlq_value_write(o, &item, depth);
		json_out_end(o);
	}
	json_out_end(o);
}

void
dlq_value_write(struct json_out *o, const struct broker_value *v, unsigned depth)
{
	struct broker_table inner;
	char about[40];
	int64_t n;

	json_out_bytes(o, "type", &v->kind, 1);
	if (v->kind == 'V') {
		json_out_null(o, "value");
	} else if (v->kind == 'S' || v->kind == 'x') {
		dlq_bytes_write(o, "value", (const char *)v->bytes, v->length);
	} else if (v->kind == 't' && v->bytes[0] <= 1) {
		json_out_bool(o, "value", v->bytes[0]);
	} else if (v->kind == 'T' || broker_value_int(v, &n)) {
		dlq_json_i64(o, "value", v->number);
	} else if (v->kind == 'A' && depth < DLQ_TABLE_DEPTH && array_whole(v)) {
		array_write(o, v, depth + 1);
	} else if (v->kind == 'F' && depth < DLQ_TABLE_DEPTH && broker_value_table(v, &inner) &&
		broker_table_whole(&inner)) {
		table_write(o, "value", &inner, depth + 1);
	} else {
		if ((v->kind == 'f' || v->kind == 'd') && isfinite(v->real)) {
			snprintf(about, sizeof about, "%.9g", v->real);
			json_out_number(o, "about", about);
		}
		base64_write(o, "base64", v->bytes, v->length);
	}
}

static void
table_write(struct json_out *o, const char *member, const struct broker_table *t, unsigned depth)
{
	struct broker_value v;
	const char *name;
	size_t at = 0, n;

	json_out_list(o, member);
	while (broker_table_next(t, &at, &name, &n, &v)) {
		if (depth == 0 && dead_letter_of_delivery(name, n))
			continue;
		json_out_object(o, NULL);
		dlq_bytes_write(o, "name", name, n);
		dlq_value_write(o, &v, depth);
		json_out_end(o);
	}
	json_out_end(o);
}

/* How many JSON values the header becomes, at most. */
static size_t
json_weight(const struct broker_value *v, unsigned depth)
{
	struct broker_value item;
	struct broker_table inner;
	const char *name;
	size_t at = 0, n, sum = 5; /* the object, name, type, value, about */

	if (depth == DLQ_TABLE_DEPTH)
		return sum;
	while (v->kind == 'A' && broker_array_next(v, &at, &item))
		sum += json_weight(&item, depth + 1);
	if (broker_value_table(v, &inner))
		while (broker_table_next(&inner, &at, &name, &n, &item))
			sum += json_weight(&item, depth + 1);
	return sum;
}

/* Too many entries for a JSON reader: the wire's bytes as they are. */
static bool
headers_write_raw(struct json_out *o, const struct broker_table *t)
{
	struct broker_value v;
	struct buf raw;
	const char *name;
	size_t at = 0, n, sum = 0;

	while (broker_table_next(t, &at, &name, &n, &v))
		sum += json_weight(&v, 0);
	if (sum <= WEIGHT_MAX)
		return false;
	buf_init(&raw, BROKER_HEAD_MAX);
	for (at = 0; broker_table_next(t, &at, &name, &n, &v);)
		if (!dead_letter_of_delivery(name, n))
			broker_field_add(&raw, name, n, &v);
	base64_write(o, "headers_base64", raw.data, raw.length);
	o->to->failed |= buf_failed(&raw);
	buf_fini(&raw);
	return true;
}

void
dlq_headers_write(struct json_out *o, const struct broker_table *t)
{
	if (!headers_write_raw(o, t))
		table_write(o, "headers", t, 0);
}

/* ---- back ---- */

/* Bytes that a number of this kind takes; 0: it has a length of its own, or is none. */
static size_t
number_size(char kind)
{
	static const char
		*const kinds[] = { [1] = "tbB", [2] = "su", [4] = "Iif", [5] = "D", [8] = "lLdT" };

	for (size_t i = 1; i < ARRAY_LEN(kinds); i++)
		if (kinds[i] && strchr(kinds[i], kind))
			return i;
	return 0;
}

static int
value_number_parse(const struct json *v, char kind, struct buf *out, struct err *e)
{
	size_t size = number_size(kind);
	int64_t n = 0;
	bool on = false;
	char *end = NULL;

	if (json_type(v) == JSON_STRING)
		n = strtoll(json_string(v), &end, 10);
	else if (kind == 't' ? !json_bool(v, &on) : !json_integer(v, &n))
		return err_set(e, ERR_INVALID, "a header of type %c has no number", kind);
	if (end && (*end || end == json_string(v)))
		return err_set(e, ERR_INVALID, "a header of type %c has no number", kind);
	if (kind == 't')
		n = on;
	for (size_t i = size; i-- > 0;)
		buf_add_char(out, (char)((uint64_t)n >> (8 * i)));
	return 0;
}

static int value_parse(const struct json *v, char *kind, struct buf *out, struct arena *mem,
	struct err *e);

static void
length_put(struct buf *out, size_t n)
{
	for (int shift = 24; shift >= 0; shift -= 8)
		buf_add_char(out, (char)(n >> shift));
}

static int
array_parse(const struct json *array, struct buf *out, struct arena *mem, struct err *e)
{
	struct buf one;
	int rc = 0;
	char kind;

	buf_init(&one, BROKER_HEAD_MAX);
	for (const struct json *v = json_first(array); v && rc == 0; v = json_next(v)) {
		buf_clear(&one);
		rc = value_parse(v, &kind, &one, mem, e);
		if (rc)
			break;
		buf_add_char(out, kind);
		if (kind != 'V' && number_size(kind) == 0)
			length_put(out, one.length);
		buf_add(out, buf_text(&one), one.length);
	}
	buf_fini(&one);
	return rc;
}

/* What is in the value, without kind and length. */
static int
value_parse(const struct json *v, char *kind, struct buf *out, struct arena *mem, struct err *e)
{
	const struct json *type, *value, *raw;
	const char *letter;
	size_t size;

	if (json_type(v) != JSON_OBJECT)
		return err_set(e, ERR_INVALID, "a header is no object of type and value");
	type = json_get(v, "type"), value = json_get(v, "value"), raw = json_get(v, "base64");
	letter = type ? json_string(type) : NULL;
	if (!letter || strlen(letter) != 1 || !strchr("tbBsuIilLfdDSxTFAV", *letter))
		return err_set(e, ERR_INVALID, "a header's type is none that AMQP has");
	*kind = *letter;
	size = number_size(*kind);
	if (*kind == 'V')
		return 0;
	if (raw) {
		if (!json_string(raw) || !base64_read(out, json_string(raw)) ||
			(size && out->length != size))
			return err_set(e, ERR_INVALID, "a header's base64 is none");
		return 0;
	}
	if (!value)
		return err_set(e, ERR_INVALID, "a header has no value");
	if (*kind == 'F' && json_type(value) == JSON_ARRAY)
		return dlq_table_parse(value, out, mem, e);
	if (*kind == 'A' && json_type(value) == JSON_ARRAY)
		return array_parse(value, out, mem, e);
	if ((*kind == 'S' || *kind == 'x') && json_string(value)) {
		buf_add_text(out, json_string(value));
		return 0;
	}
	if (size && !strchr("fdD", *kind))
		return value_number_parse(value, *kind, out, e);
	return err_set(e, ERR_INVALID, "a header's value does not fit its type %c", *kind);
}

static int
name_parse(const struct json *v, struct buf *out, struct err *e)
{
	const struct json *name = json_get(v, "name"), *raw = json_get(v, "name_base64");

	if (name && json_string(name))
		buf_add_text(out, json_string(name));
	else if (!raw || !json_string(raw) || !base64_read(out, json_string(raw)))
		return err_set(e, ERR_INVALID, "a header has no name");
	return out->length > 255 ? err_set(e, ERR_INVALID, "a header's name is over 255 bytes") : 0;
}

int
dlq_table_parse(const struct json *array, struct buf *out, struct arena *mem, struct err *e)
{
	struct buf name, value;
	int rc = 0;

	buf_init(&name, 1024);
	buf_init(&value, BROKER_HEAD_MAX);
	for (const struct json *v = json_first(array); v && rc == 0; v = json_next(v)) {
		struct broker_value one = { 0 };

		buf_clear(&name);
		buf_clear(&value);
		rc = value_parse(v, &one.kind, &value, mem, e) || name_parse(v, &name, e) ? -1 : 0;
		if (rc)
			break;
		one.bytes = (const uint8_t *)buf_text(&value);
		one.length = value.length;
		broker_field_add(out, buf_text(&name), name.length, &one);
		if (buf_failed(&value) || buf_failed(out))
			rc = err_set(e, ERR_LIMIT, "headers are over 1 MiB");
	}
	buf_fini(&name);
	buf_fini(&value);
	return rc;
}
