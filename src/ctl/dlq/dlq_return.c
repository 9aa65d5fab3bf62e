/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "ctl/dlq/dlq.h"
#include "model/topology.h"

/* All that tells of its failures: it starts again. CC, BCC: the copy is for one queue. */
static const char *const drop[] = { "x-death*", "x-first-death-*", "x-last-death-*",
	"x-delivery-count", "x-acquired-count", "CC", "BCC", "x-dead-id", "x-retry-count",
	"x-consumer", "x-original-queue", "x-error-class", "x-error", "x-first-failed-at",
	"x-failed-at", NULL };

/* Anybody's text, as far as a terminal may show it. */
static const char *
shown(const char *text, char out[static 81])
{
	size_t n = 0;

	for (; n < 80 && text[n]; n++)
		out[n] = text[n] > 0x20 && text[n] < 0x7f ? text[n] : '?';
	out[n] = '\0';
	return out;
}

int
dlq_return_check(const struct dlq_entry *entry, struct err *e)
{
	const struct topology_consumer *c = entry->consumer ? topology_find(entry->consumer) : NULL;
	char queue[81], consumer[81];

	if (!entry->queue)
		return err_set(e, ERR_CONFLICT,
			"no header says which consumer's queue they came from");
	if (c && strcmp(c->queue, entry->queue) == 0)
		return 0;
	if (c)
		return err_set(e, ERR_CONFLICT, "their header names queue %s, but %s reads %s",
			shown(entry->queue, queue), c->name, c->queue);
	if (topology_file_queue(entry->queue))
		return 0;
	if (!entry->consumer)
		return err_set(e, ERR_CONFLICT,
			"they are for queue %s, and no consumer of the topology reads it",
			shown(entry->queue, queue));
	return err_set(e, ERR_CONFLICT,
		"they are for consumer %s and queue %s, which the topology does not have",
		shown(entry->consumer, consumer), shown(entry->queue, queue));
}

/* Under which it was published: the oldest death has it, where no consumer wrote it down. */
static bool
key_of_deaths(const struct broker_message *m, char out[static 256])
{
	struct broker_value list, one, keys, key;
	struct broker_table death;
	const char *text;
	size_t at = 0, first = 0, n;
	bool found = false;

	if (!broker_table_get(&m->props.headers, "x-death", &list))
		return false;
	while (broker_array_next(&list, &at, &one)) {
		first = 0;
		if (broker_value_table(&one, &death) &&
			broker_table_get(&death, "routing-keys", &keys) &&
			broker_array_next(&keys, &first, &key) &&
			broker_value_text(&key, &text, &n)) {
			snprintf(out, 256, "%.*s", (int)utf8_cut(text, n, 255), text);
			found = true;
		}
	}
	return found;
}

static bool
key_find(struct dlq_return *out, const struct broker_message *m)
{
	size_t n = 0;
	const char *text = broker_table_text(&m->props.headers, "x-original-routing-key", &n);

	if (text)
		return false; /* goes along as it is */
	return key_of_deaths(m, out->key);
}

void
dlq_return_make(struct dlq_return *out, const struct dlq_entry *entry,
	const struct broker_message *m, const char *replay_of)
{
	struct broker_publish *p = &out->publish;

	*out = (struct dlq_return){ 0 };
	*p = (struct broker_publish){ .exchange = "",
		.routing_key = entry->queue,
		.mandatory = true,
		.body = m->body,
		.length = m->length,
		.props = m->props,
		.drop = drop,
		.headers = out->headers,
		.headers_optional = true };
	p->props.delivery_mode = 2;
	p->props.expiration = NULL; /* it would vanish on its way */
	p->props.user_id = NULL;    /* the broker takes no name but our own */
	if (key_find(out, m))
		out->headers[p->header_count++] =
			(struct broker_field){ "x-original-routing-key", broker_text(out->key) };
	if (replay_of)
		out->headers[p->header_count++] =
			(struct broker_field){ "replay-of", broker_text(replay_of) };
}
