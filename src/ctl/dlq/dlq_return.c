/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "ctl/dlq/dlq.h"
#include "model/topology.h"

/* Anybody's text, as far as a terminal may show it. */
static const char *
terminal_safe(const char *text, char out[static 81])
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
	const struct consumer_row *c = entry->consumer ? consumer_row_find(entry->consumer) : NULL;
	char queue[81], consumer[81];

	if (!entry->queue)
		return err_set(e, ERR_CONFLICT,
			"no header says which consumer's queue they came from");
	if (c && strcmp(c->queue, entry->queue) == 0)
		return 0;
	if (c)
		return err_set(e, ERR_CONFLICT, "their header names queue %s, but %s reads %s",
			terminal_safe(entry->queue, queue), c->name, c->queue);
	if (topology_file_queue(entry->queue))
		return 0;
	if (!entry->consumer)
		return err_set(e, ERR_CONFLICT,
			"they are for queue %s, and no consumer of the topology reads it",
			terminal_safe(entry->queue, queue));
	return err_set(e, ERR_CONFLICT,
		"they are for consumer %s and queue %s, which the topology does not have",
		terminal_safe(entry->consumer, consumer), terminal_safe(entry->queue, queue));
}
