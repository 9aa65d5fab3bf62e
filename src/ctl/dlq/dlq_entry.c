/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/utf8.h"
#include "base/uuid7.h"
#include "ctl/dlq/dlq.h"
#include "ctl/dlq/dlq_line.h"
#include "ctl/kit/json.h"
#include "model/dead_letter.h"
#include "model/retry.h"

#define TEXT_MAX 4096 /* bytes kept of a header */

static char *
text_keep(const char *text, size_t length, struct arena *mem)
{
	size_t n = utf8_cut(text, length, TEXT_MAX);
	char *copy = arena_strndup(mem, text, n);

	must(copy);
	for (size_t i = 0; i < n; i++)
		if (copy[i] == '\0')
			copy[i] = '?';
	return copy;
}

static const char *
header_text(const struct broker_table *t, const char *name, struct arena *mem)
{
	size_t length = 0;
	const char *text = broker_table_text(t, name, &length);

	return text && length ? text_keep(text, length, mem) : NULL;
}

static bool
id_sane(const char *text)
{
	size_t n = text ? strlen(text) : 0;

	return n >= DLQ_FRONT_MIN && n < DLQ_ID_SIZE &&
		strspn(text, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.") ==
		n;
}

/* A hash of body and headers, as 32 hex digits. */
static void
content_hash(const struct broker_message *m, char out[static 33])
{
	struct broker_value v;
	struct dlq_hash h;
	const char *name;
	size_t at = 0, n;

	dlq_hash_begin(&h);
	dlq_hash_add(&h, m->body, m->length);
	while (broker_table_next(&m->props.headers, &at, &name, &n, &v)) {
		if (dead_letter_of_delivery(name, n))
			continue;
		dlq_hash_add(&h, name, n);
		dlq_hash_add(&h, &v.kind, 1);
		dlq_hash_add(&h, v.bytes, v.length);
	}
	snprintf(out, 33, "%016" PRIx64 "%016" PRIx64, h.half[0], h.half[1]);
}

void
dlq_entry_key(const struct dlq_entry *d, const struct broker_message *m,
	char out[static DLQ_KEY_SIZE])
{
	char hash[33];

	content_hash(m, hash);
	snprintf(out, DLQ_KEY_SIZE, "%s %s", d->id, hash);
}

/* What the event itself says, as far as it can be read. */
static void
body_read(struct dlq_entry *out, const struct broker_message *m, struct arena *mem)
{
	const struct json *v = NULL, *payload;
	const char *s;
	struct uuid u;
	char id[UUID_TEXT_SIZE];

	if (m->length && json_parse(mem, m->body, m->length, &v, NULL) == 0 &&
		json_type(v) == JSON_OBJECT) {
		s = json_get(v, "id") ? json_string(json_get(v, "id")) : NULL;
		if (s && uuid_parse(s, strlen(s), &u)) {
			uuid_format(&u, id);
			out->event_id = arena_strdup(mem, id);
		}
		s = json_get(v, "type") ? json_string(json_get(v, "type")) : NULL;
		if (s && *s)
			out->type = text_keep(s, strlen(s), mem);
		payload = json_get(v, "payload");
		if (payload && json_type(payload) == JSON_OBJECT && json_get(payload, "user_id"))
			(void)json_integer(json_get(payload, "user_id"), &out->user_id);
	}
	if (!out->event_id && m->props.message_id && *m->props.message_id)
		out->event_id = text_keep(m->props.message_id, strlen(m->props.message_id), mem);
	if (!out->type && m->props.type && *m->props.type)
		out->type = text_keep(m->props.type, strlen(m->props.type), mem);
}

/* The consumer that reads this queue, or that fills it as its retry queue; NULL: none of ours. */
static const struct consumer_row *
reader_of(const char *queue)
{
	for (const struct consumer_row *c = consumer_rows; queue && c->name; c++) {
		size_t n = strlen(c->queue);

		if (strncmp(queue, c->queue, n) == 0 &&
			(!queue[n] || strncmp(queue + n, ".retry.", 7) == 0))
			return c;
	}
	return NULL;
}

static void
death_read(struct dlq_entry *out, const struct broker_message *m, struct arena *mem)
{
	char text[CLOCK_RFC3339_SIZE];
	const struct consumer_row *c;
	struct broker_table death;
	const char *reason;
	size_t at = 0;
	int64_t us;

	if (!dead_letter_death(m, &at, &death))
		return;
	/* seconds: whatever our consumers wrote in the same one is the later */
	us = dead_letter_death_s(&death);
	us = us < 0 ? -1 : us * 1000000;
	if (out->consumer && us / 1000000 <= out->failed_us / 1000000)
		return;
	out->by_broker = true;
	out->queue = header_text(&death, "queue", mem);
	c = reader_of(out->queue);
	out->consumer = c ? c->name : NULL;
	if (c)
		out->queue = c->queue;
	reason = header_text(&death, "reason", mem);
	out->class = reason && strcmp(reason, "delivery_limit") == 0 ? "poison" : reason;
	out->error = arena_printf(mem, "the broker gave it up: %s in %s, %" PRId64 " times",
		reason ? reason : "no reason", out->queue ? out->queue : "no queue",
		broker_table_int(&death, "count", 0));
	must(out->error);
	out->failed_us = us;
	if (us < 0)
		return;
	clock_format_rfc3339(us, text);
	out->failed_at = arena_strdup(mem, text);
	if (!out->first_failed_at)
		out->first_failed_at = out->failed_at;
}

void
dlq_entry_read(struct dlq_entry *out, const struct broker_message *m, struct arena *mem)
{
	const struct broker_table *h = &m->props.headers;
	const char *id = header_text(h, HEADER_DEAD_ID, mem);

	*out = (struct dlq_entry){ .retry_count = retry_count(m), .failed_us = -1 };
	if (id_sane(id))
		snprintf(out->id, sizeof out->id, "%s", id);
	else
		content_hash(m, out->id);
	body_read(out, m, mem);
	out->consumer = header_text(h, HEADER_CONSUMER, mem);
	out->queue = header_text(h, HEADER_ORIGINAL_QUEUE, mem);
	out->class = header_text(h, HEADER_ERROR_CLASS, mem);
	out->error = header_text(h, HEADER_ERROR, mem);
	out->first_failed_at = header_text(h, HEADER_FIRST_FAILED_AT, mem);
	out->failed_at = header_text(h, HEADER_FAILED_AT, mem);
	if (out->failed_at &&
		clock_parse_rfc3339(out->failed_at, strlen(out->failed_at), &out->failed_us, NULL))
		out->failed_us = -1;
	death_read(out, m, mem);
}

void
dlq_entry_json(const struct dlq_entry *d, struct json_out *o)
{
	ctl_json_text(o, "id", d->id);
	ctl_json_text(o, "event_id", d->event_id);
	ctl_json_text(o, "consumer", d->consumer);
	ctl_json_text(o, "queue", d->queue);
	ctl_json_text(o, "type", d->type);
	ctl_json_text(o, "class", d->class);
	ctl_json_text(o, "error", d->error);
	dlq_json_i64(o, "retry_count", d->retry_count);
	ctl_json_text(o, "first_failed_at", d->first_failed_at);
	ctl_json_text(o, "failed_at", d->failed_at);
}
