/* SPDX-License-Identifier: MIT */
#include "model/consumers.h"

#include <string.h>

#include "model/doc_indexes.h"
#include "model/inbox.h"

#define KEYS(...) ((const char *const[]){ __VA_ARGS__, NULL })
#define ROW(row_name, port, row_queue, row_keys, ...) \
	{ .name = #row_name, \
		.admin_port = port, \
		.queue = row_queue, \
		.keys = row_keys, \
		__VA_ARGS__ },

const struct consumer_row consumer_rows[] = { CONSUMERS(ROW){ 0 } };

const struct consumer_row *
consumer_row_find(const char *name)
{
	for (const struct consumer_row *c = consumer_rows; c->name; c++)
		if (strcmp(c->name, name) == 0)
			return c;
	return NULL;
}
