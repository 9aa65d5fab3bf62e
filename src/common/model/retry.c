/* SPDX-License-Identifier: MIT */
#include "model/retry.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/must.h"
#include "base/utf8.h"
#include "base/uuid7.h"
#include "model/dead_letter.h"

const char *
retry_class_name(enum retry_class c)
{
	static const char *const names[] = { "again", "permanent", "exhausted", "poison" };

	return names[c];
}

int64_t
retry_count(const struct broker_message *m)
{
	int64_t n = broker_table_int(&m->props.headers, HEADER_RETRY_COUNT, 0);

	return n < 0 ? 0 : n;
}

/* Writes a header's text; the fallback if the header is missing or no text. */
static void
header_text(const struct broker_message *m, const char *name, const char *fallback, char *out,
	size_t size)
{
	size_t length = 0;
	const char *text = broker_table_text(&m->props.headers, name, &length);

	if (text)
		snprintf(out, size, "%.*s", (int)utf8_cut(text, length, size - 1), text);
	else
		snprintf(out, size, "%s", fallback);
}

static void
add(struct retry *r, const char *name, struct broker_value v)
{
	must(r->publish.header_count < RETRY_HEADERS_MAX);
	r->headers[r->publish.header_count++] = (struct broker_field){ name, v };
}

void
retry_make(struct retry *out, const struct broker_message *m, const char *consumer,
	const char *queue, enum retry_class class, const char *error, int64_t now_us)
{
	struct uuid id;

	*out = (struct retry){ .class = class, .count = retry_count(m) };
	if (class == RETRY_AGAIN && out->count >= TOPOLOGY_RETRIES)
		out->class = RETRY_EXHAUSTED;
	clock_format_rfc3339(now_us, out->failed_at);
	header_text(m, HEADER_FIRST_FAILED_AT, out->failed_at, out->first_failed_at,
		sizeof out->first_failed_at);
	header_text(m, HEADER_ORIGINAL_KEY, m->routing_key, out->original_key,
		sizeof out->original_key);
	dead_letter_copy(&out->publish, m, COPY_RETRIED);
	out->publish.headers = out->headers;
	add(out, HEADER_ORIGINAL_KEY, broker_text(out->original_key));
	add(out, HEADER_FIRST_FAILED_AT, broker_text(out->first_failed_at));
	if (out->class == RETRY_AGAIN) {
		topology_retry_name(queue, (unsigned)++out->count, out->queue);
		out->publish.exchange = "";
		out->publish.routing_key = out->queue;
		add(out, HEADER_RETRY_COUNT, broker_int(out->count));
		return;
	}
	id = uuid7_new();
	uuid_format(&id, out->dead_id);
	snprintf(out->error, sizeof out->error, "%.*s",
		(int)utf8_cut(error, strlen(error), RETRY_ERROR_MAX), error);
	out->publish.exchange = TOPOLOGY_DEAD;
	out->publish.routing_key = TOPOLOGY_DEAD_KEY;
	add(out, HEADER_DEAD_ID, broker_text(out->dead_id));
	add(out, HEADER_RETRY_COUNT, broker_int(out->count));
	add(out, HEADER_CONSUMER, broker_text(consumer));
	add(out, HEADER_ORIGINAL_QUEUE, broker_text(queue));
	add(out, HEADER_ERROR_CLASS, broker_text(retry_class_name(out->class)));
	add(out, HEADER_ERROR, broker_text(out->error));
	add(out, HEADER_FAILED_AT, broker_text(out->failed_at));
}
