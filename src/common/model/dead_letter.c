/* SPDX-License-Identifier: MIT */
#include "model/dead_letter.h"

#include <stdio.h>
#include <string.h>

#include "base/must.h"
#include "base/utf8.h"

#define TIME_MAX_S 253402300800 /* 10000-01-01 */

#define OF_RECIPIENTS "CC", "BCC"
#define OF_DELIVERY "x-delivery-count", "x-acquired-count"
#define OF_DEATHS "x-death*", "x-first-death-*", "x-last-death-*"
#define OF_FAILURES \
	HEADER_DEAD_ID, HEADER_RETRY_COUNT, HEADER_CONSUMER, HEADER_ORIGINAL_QUEUE, \
		HEADER_ERROR_CLASS, HEADER_ERROR, HEADER_FIRST_FAILED_AT, HEADER_FAILED_AT

static const char *const of_delivery[] = { OF_DELIVERY, NULL };
static const char *const drop_moved[] = { OF_RECIPIENTS, OF_DELIVERY, NULL };
static const char *const drop_retried[] = { OF_RECIPIENTS, OF_DELIVERY, OF_DEATHS, NULL };
static const char *const drop_returned[] = { OF_RECIPIENTS, OF_DELIVERY, OF_DEATHS, OF_FAILURES,
	NULL };

void
dead_letter_copy(struct broker_publish *p, const struct broker_message *m,
	enum dead_letter_copy how)
{
	*p = (struct broker_publish){ .mandatory = true,
		.body = m->body,
		.length = m->length,
		.props = m->props,
		.drop = how == COPY_MOVED     ? drop_moved
			: how == COPY_RETRIED ? drop_retried
					      : drop_returned };
	p->props.expiration = NULL;
	p->props.user_id = NULL;
	if (how != COPY_MOVED)
		p->props.delivery_mode = 2;
}

bool
dead_letter_of_delivery(const char *name, size_t length)
{
	for (const char *const *d = of_delivery; *d; d++)
		if (strlen(*d) == length && memcmp(*d, name, length) == 0)
			return true;
	return false;
}

bool
dead_letter_death(const struct broker_message *m, size_t *at, struct broker_table *death)
{
	struct broker_value list, one;

	return broker_table_get(&m->props.headers, "x-death", &list) &&
		broker_array_next(&list, at, &one) && broker_value_table(&one, death);
}

int64_t
dead_letter_death_s(const struct broker_table *death)
{
	struct broker_value v;

	return broker_table_get(death, "time", &v) && v.kind == 'T' && v.number > 0 &&
			v.number < TIME_MAX_S
		? v.number
		: -1;
}

/* The routing key of the oldest death: the message was published with it. */
static bool
key_of_deaths(const struct broker_message *m, char out[static 256])
{
	struct broker_value keys, key;
	struct broker_table death;
	const char *text;
	size_t at = 0, first, n;
	bool found = false;

	while (dead_letter_death(m, &at, &death)) {
		first = 0;
		if (broker_table_get(&death, "routing-keys", &keys) &&
			broker_array_next(&keys, &first, &key) &&
			broker_value_text(&key, &text, &n)) {
			snprintf(out, 256, "%.*s", (int)utf8_cut(text, n, 255), text);
			found = true;
		}
	}
	return found;
}

void
dead_letter_return(struct dead_letter_return *out, const struct broker_message *m,
	const char *queue, const char *replay_of)
{
	struct broker_publish *p = &out->publish;
	size_t n;

	*out = (struct dead_letter_return){ 0 };
	dead_letter_copy(p, m, COPY_RETURNED);
	p->exchange = "";
	p->routing_key = queue;
	p->headers = out->headers;
	p->headers_optional = true;
	/* a consumer has written the key down, or the broker has */
	if (!broker_table_text(&m->props.headers, HEADER_ORIGINAL_KEY, &n) &&
		key_of_deaths(m, out->key))
		out->headers[p->header_count++] =
			(struct broker_field){ HEADER_ORIGINAL_KEY, broker_text(out->key) };
	if (replay_of)
		out->headers[p->header_count++] =
			(struct broker_field){ HEADER_REPLAY_OF, broker_text(replay_of) };
}
