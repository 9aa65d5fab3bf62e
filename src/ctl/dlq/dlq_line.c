/* SPDX-License-Identifier: MIT */
#include "ctl/dlq/dlq_line.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "ctl/dlq/base64.h"
#include "ctl/dlq/dlq.h"

static const struct {
	const char *name;
	size_t at;
} texts[] = {
	{ "content_type", offsetof(struct broker_properties, content_type) },
	{ "content_encoding", offsetof(struct broker_properties, content_encoding) },
	{ "correlation_id", offsetof(struct broker_properties, correlation_id) },
	{ "reply_to", offsetof(struct broker_properties, reply_to) },
	{ "expiration", offsetof(struct broker_properties, expiration) },
	{ "message_id", offsetof(struct broker_properties, message_id) },
	{ "type", offsetof(struct broker_properties, type) },
	{ "user_id", offsetof(struct broker_properties, user_id) },
	{ "app_id", offsetof(struct broker_properties, app_id) },
	{ "cluster_id", offsetof(struct broker_properties, cluster_id) },
};

static const char **
text_of(struct broker_properties *p, size_t i)
{
	return (const char **)(void *)((char *)p + texts[i].at);
}

static void
properties_write(struct json_out *o, const struct broker_properties *p)
{
	struct broker_properties copy = *p;
	char number[24];

	json_out_object(o, "properties");
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		const char *text = *text_of(&copy, i);

		if (text)
			dlq_bytes_write(o, texts[i].name, text, strlen(text));
	}
	if (p->delivery_mode)
		json_out_i64(o, "delivery_mode", p->delivery_mode);
	if (p->has_priority)
		json_out_i64(o, "priority", p->priority);
	if (p->has_timestamp && p->timestamp > JSON_INTEGER_MAX) {
		snprintf(number, sizeof number, "%" PRIu64, p->timestamp);
		json_out_text(o, "timestamp", number);
	} else if (p->has_timestamp) {
		json_out_i64(o, "timestamp", (int64_t)p->timestamp);
	}
	json_out_end(o);
}

int
dlq_line_write(struct buf *out, const struct dlq_entry *d, const struct broker_message *m,
	struct err *e)
{
	struct json_out o;

	json_out_init(&o, out);
	json_out_object(&o, NULL);
	dlq_entry_json(d, &o);
	dlq_bytes_write(&o, "exchange", m->exchange, strlen(m->exchange));
	dlq_bytes_write(&o, "routing_key", m->routing_key, strlen(m->routing_key));
	properties_write(&o, &m->props);
	dlq_headers_write(&o, &m->props.headers);
	dlq_bytes_write(&o, "body", m->body, m->length);
	json_out_end(&o);
	buf_add_char(out, '\n');
	return buf_failed(out) ? err_set(e, ERR_LIMIT, "an entry is too large for a line") : 0;
}

/* The text or the base64 of a member; NULL without an error: it is not there. */
static int
bytes_parse(const struct json *object, const char *name, struct arena *mem, const char **out,
	size_t *length, struct err *e)
{
	char raw_name[64];
	const struct json *text = json_get(object, name), *raw;
	struct buf b;
	bool fine;

	*out = NULL;
	snprintf(raw_name, sizeof raw_name, "%s_base64", name);
	raw = json_get(object, raw_name);
	if (text && (*out = json_string(text))) {
		*length = strlen(*out);
		return 0;
	}
	if (!text && !raw)
		return 0;
	buf_init(&b, BROKER_BODY_MAX);
	fine = raw && json_string(raw) && base64_read(&b, json_string(raw)) && !buf_failed(&b);
	if (fine) {
		*length = b.length;
		*out = arena_strndup(mem, buf_text(&b), b.length);
	}
	buf_fini(&b);
	return *out ? 0 : err_set(e, ERR_INVALID, "%s is neither text nor base64", name);
}

static int
number_parse(const struct json *object, const char *name, uint64_t max, bool *has, uint64_t *out,
	struct err *e)
{
	const struct json *v = json_get(object, name);
	int64_t n = 0;
	char *end = NULL;
	bool fine = true;

	*has = v != NULL;
	if (!v)
		return 0;
	if (json_string(v))
		*out = strtoull(json_string(v), &end, 10);
	else if (json_integer(v, &n) && n >= 0)
		*out = (uint64_t)n;
	else
		fine = false;
	return !fine || (end && *end) || *out > max
		? err_set(e, ERR_INVALID, "%s is no such number", name)
		: 0;
}

static int
properties_parse(const struct json *v, struct arena *mem, struct broker_properties *p,
	struct err *e)
{
	uint64_t mode = 0, priority = 0;
	bool has;
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		if (bytes_parse(v, texts[i].name, mem, text_of(p, i), &n, e))
			return -1;
		if (*text_of(p, i) && n > 255)
			return err_set(e, ERR_INVALID, "%s is over 255 bytes", texts[i].name);
	}
	if (number_parse(v, "delivery_mode", 255, &has, &mode, e) ||
		number_parse(v, "priority", 255, &p->has_priority, &priority, e) ||
		number_parse(v, "timestamp", UINT64_MAX, &p->has_timestamp, &p->timestamp, e))
		return -1;
	p->delivery_mode = (uint8_t)mode;
	p->priority = (uint8_t)priority;
	return 0;
}

int
dlq_line_read(const char *line, size_t length, struct arena *mem, struct broker_message *out,
	struct err *e)
{
	const struct json *v, *part;
	const char *raw;
	struct buf headers;
	size_t n = 0;
	int rc = 0;

	*out = (struct broker_message){ .body = "", .exchange = "", .routing_key = "" };
	if (json_parse(mem, line, length, &v, e))
		return -1;
	if (json_type(v) != JSON_OBJECT)
		return err_set(e, ERR_INVALID, "it is no object");
	if (bytes_parse(v, "body", mem, &out->body, &out->length, e))
		return -1;
	if (!out->body)
		return err_set(e, ERR_INVALID, "it has neither body nor body_base64");
	if (bytes_parse(v, "routing_key", mem, &out->routing_key, &n, e))
		return -1;
	if (!out->routing_key)
		out->routing_key = "";
	part = json_get(v, "properties");
	if (part && json_type(part) != JSON_OBJECT)
		return err_set(e, ERR_INVALID, "properties is no object");
	if (part && properties_parse(part, mem, &out->props, e))
		return -1;
	part = json_get(v, "headers");
	if (!part) {
		if (bytes_parse(v, "headers", mem, &raw, &n, e))
			return -1;
		if (raw)
			out->props.headers = (struct broker_table){ (const uint8_t *)raw, n };
		return broker_table_whole(&out->props.headers)
			? 0
			: err_set(e, ERR_INVALID, "headers_base64 is no table");
	}
	if (json_type(part) != JSON_ARRAY)
		return err_set(e, ERR_INVALID, "headers is no array of name, type and value");
	buf_init(&headers, BROKER_HEAD_MAX);
	rc = dlq_table_parse(part, &headers, mem, e);
	if (rc == 0) {
		out->props.headers.length = headers.length;
		out->props.headers.bytes =
			arena_memdup(mem, buf_text(&headers), headers.length + 1);
		if (!out->props.headers.bytes)
			rc = err_set(e, ERR_LIMIT, "no room for its headers");
	}
	buf_fini(&headers);
	return rc;
}
