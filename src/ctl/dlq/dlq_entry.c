/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/utf8.h"
#include "base/uuid7.h"
#include "ctl/dlq/dlq.h"
#include "model/dead_letter.h"
#include "model/retry.h"

#define TEXT_MAX 4096 /* bytes kept of a header */
#define JSON_PART 65536

/* FNV-1a with 128 bits: told apart, not kept from somebody who wants two alike. */
void
dlq_hash_begin(struct dlq_hash *h)
{
	*h = (struct dlq_hash){ { 0x6c62272e07bb0142, 0x62b821756295c58d } };
}

void
dlq_hash_add(struct dlq_hash *h, const void *bytes, size_t length)
{
	const unsigned __int128 prime = (unsigned __int128)1 << 88 | 0x13b;
	unsigned __int128 v = (unsigned __int128)h->half[0] << 64 | h->half[1];
	const uint8_t *p = bytes;

	for (size_t i = 0; i < length; i++)
		v = (v ^ p[i]) * prime;
	for (size_t i = 0; i < sizeof length; i++) /* "ab" "c" is another than "a" "bc" */
		v = (v ^ (uint8_t)(length >> (8 * i))) * prime;
	h->half[0] = (uint64_t)(v >> 64);
	h->half[1] = (uint64_t)v;
}

/* A terminal's second set of control characters, or what some take for a line end; 0: neither. */
static unsigned
escaped(const char *p, size_t left, size_t *bytes)
{
	const uint8_t *u = (const uint8_t *)p;

	if (left >= 2 && u[0] == 0xc2 && u[1] >= 0x80 && u[1] < 0xa0) {
		*bytes = 2;
		return u[1];
	}
	if (left >= 3 && u[0] == 0xe2 && u[1] == 0x80 && (u[2] == 0xa8 || u[2] == 0xa9)) {
		*bytes = 3;
		return 0x2000u | (u[2] & 0x3fu);
	}
	return 0;
}

void
dlq_json_bytes(struct buf *out, const char *text, size_t length)
{
	size_t plain = 0, n = 0;
	struct buf part;
	unsigned c;

	buf_init(&part, 6 * length + 16);
	buf_add_char(out, '"');
	for (size_t i = 0; i <= length; i++) {
		bool part_full = i - plain >= JSON_PART && i < length &&
			((uint8_t)text[i] & 0xc0) != 0x80; /* between two characters */

		c = i < length ? escaped(text + i, length - i, &n) : 0;
		if (!c && i < length && !part_full)
			continue;
		buf_clear(&part);
		buf_add_json_string(&part, text + plain, i - plain);
		buf_add(out, part.data + 1, part.length - 2);
		plain = i;
		if (c) {
			buf_printf(out, "\\u%04x", c);
			plain = i + n;
			i += n - 1;
		}
	}
	buf_add_char(out, '"');
	buf_fini(&part);
}

void
dlq_json_text(struct buf *out, const char *text)
{
	if (text)
		dlq_json_bytes(out, text, strlen(text));
	else
		buf_add_text(out, "null");
}

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
dlq_entry_json(const struct dlq_entry *d, struct buf *out)
{
	const struct {
		const char *name, *text;
	} fields[] = { { "id", d->id }, { "event_id", d->event_id }, { "consumer", d->consumer },
		{ "queue", d->queue }, { "type", d->type }, { "class", d->class },
		{ "error", d->error } };

	for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
		buf_printf(out, "%s\"%s\":", i ? "," : "", fields[i].name);
		dlq_json_text(out, fields[i].text);
	}
	/* JSON numbers beyond 2^53 lose digits, and our own reader refuses them */
	buf_printf(out,
		d->retry_count > JSON_INTEGER_MAX ? ",\"retry_count\":\"%" PRId64 "\""
						  : ",\"retry_count\":%" PRId64,
		d->retry_count);
	buf_add_text(out, ",\"first_failed_at\":");
	dlq_json_text(out, d->first_failed_at);
	buf_add_text(out, ",\"failed_at\":");
	dlq_json_text(out, d->failed_at);
}
