/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/dlq/base64.h"
#include "ctl/dlq/dlq.h"
#include "ctl/dlq/dlq_line.h"
#include "model/dead_letter.h"

#define LARGE 65536
#define WEIGHT_MAX (JSON_NODES_MAX - 100) /* the line has other values too */

/* Of a large text that escapes would make larger than base64 does. */
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

void
dlq_bytes_write(struct buf *out, const char *name, const char *bytes, size_t length)
{
	if (length == 0 || (json_utf8_valid(bytes, length) && !escapes_many(bytes, length))) {
		buf_printf(out, "\"%s\":", name);
		dlq_json_bytes(out, length ? bytes : "", length);
		return;
	}
	buf_printf(out, strcmp(name, "value") == 0 ? "\"base64\":\"" : "\"%s_base64\":\"", name);
	base64_add(out, bytes, length);
	buf_add_char(out, '"');
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

static void
array_write(struct buf *out, const struct broker_value *v, unsigned depth)
{
	struct broker_value item;
	size_t at = 0;

	buf_add_char(out, '[');
	while (broker_array_next(v, &at, &item)) {
		buf_add_text(out, out->data[out->length - 1] == '[' ? "{" : ",{");
		dlq_value_write(out, &item, depth);
		buf_add_char(out, '}');
	}
	buf_add_char(out, ']');
}

void
dlq_value_write(struct buf *out, const struct broker_value *v, unsigned depth)
{
	struct broker_table inner;
	bool nested = v->kind == 'F' || v->kind == 'A';
	int64_t n;

	buf_printf(out, "\"type\":\"%c\",", v->kind);
	if (v->kind == 'V') {
		buf_add_text(out, "\"value\":null");
	} else if (v->kind == 'S' || v->kind == 'x') {
		dlq_bytes_write(out, "value", (const char *)v->bytes, v->length);
	} else if (v->kind == 't' && v->bytes[0] <= 1) {
		buf_add_text(out, v->bytes[0] ? "\"value\":true" : "\"value\":false");
	} else if (v->kind == 'T' || broker_value_int(v, &n)) {
		n = v->number;
		buf_printf(out,
			n > JSON_INTEGER_MAX || n < -JSON_INTEGER_MAX ? "\"value\":\"%" PRId64 "\""
								      : "\"value\":%" PRId64,
			n);
	} else if (nested && depth < DLQ_TABLE_DEPTH &&
		(v->kind == 'A' ? array_whole(v)
				: broker_value_table(v, &inner) && broker_table_whole(&inner))) {
		buf_add_text(out, "\"value\":");
		if (v->kind == 'A')
			array_write(out, v, depth + 1);
		else
			dlq_table_write(out, &inner, depth + 1);
	} else {
		if ((v->kind == 'f' || v->kind == 'd') && isfinite(v->real))
			buf_printf(out, "\"about\":%.9g,", v->real);
		buf_add_text(out, "\"base64\":\"");
		base64_add(out, v->bytes, v->length);
		buf_add_char(out, '"');
	}
}

/* JSON values that it becomes, at most. */
static size_t
weight(const struct broker_value *v, unsigned depth)
{
	struct broker_value item;
	struct broker_table inner;
	const char *name;
	size_t at = 0, n, sum = 5; /* the object, name, type, value, about */

	if (depth == DLQ_TABLE_DEPTH)
		return sum;
	while (v->kind == 'A' && broker_array_next(v, &at, &item))
		sum += weight(&item, depth + 1);
	if (broker_value_table(v, &inner))
		while (broker_table_next(&inner, &at, &name, &n, &item))
			sum += weight(&item, depth + 1);
	return sum;
}

/* Too many entries for a JSON reader: the wire's bytes as they are. */
static bool
headers_write_raw(struct buf *out, const struct broker_table *t)
{
	struct broker_value v;
	struct buf raw;
	const char *name;
	size_t at = 0, n, sum = 0;

	while (broker_table_next(t, &at, &name, &n, &v))
		sum += weight(&v, 0);
	if (sum <= WEIGHT_MAX)
		return false;
	buf_init(&raw, BROKER_HEAD_MAX);
	for (at = 0; broker_table_next(t, &at, &name, &n, &v);)
		if (!dead_letter_of_delivery(name, n))
			broker_field_add(&raw, name, n, &v);
	buf_add_text(out, "\"headers_base64\":\"");
	base64_add(out, raw.data, raw.length);
	buf_add_char(out, '"');
	out->failed |= buf_failed(&raw);
	buf_fini(&raw);
	return true;
}

void
dlq_headers_write(struct buf *out, const struct broker_table *t)
{
	if (headers_write_raw(out, t))
		return;
	buf_add_text(out, "\"headers\":");
	dlq_table_write(out, t, 0);
}

void
dlq_table_write(struct buf *out, const struct broker_table *t, unsigned depth)
{
	struct broker_value v;
	const char *name;
	size_t at = 0, n;

	buf_add_char(out, '[');
	while (broker_table_next(t, &at, &name, &n, &v)) {
		if (depth == 0 && dead_letter_of_delivery(name, n))
			continue;
		buf_add_text(out, out->data[out->length - 1] == '[' ? "{" : ",{");
		dlq_bytes_write(out, "name", name, n);
		buf_add_char(out, ',');
		dlq_value_write(out, &v, depth);
		buf_add_char(out, '}');
	}
	buf_add_char(out, ']');
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
number_parse(const struct json *v, char kind, struct buf *out, struct err *e)
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
		return number_parse(value, *kind, out, e);
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
