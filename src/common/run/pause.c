/* SPDX-License-Identifier: MIT */
#include "run/pause.h"

#include <stdio.h>

void
pause_queue_name(const char *consumer, char out[static PAUSE_NAME_SIZE])
{
	snprintf(out, PAUSE_NAME_SIZE, "onboard.paused.%s", consumer);
}

int
pause_look(struct broker *b, const char *consumer, bool *paused, struct err *e)
{
	const struct broker_field args[] = { { "x-queue-type", broker_text("classic") },
		/* a second pause replaces the copies of the first */
		{ "x-max-length", broker_int(PAUSE_COPIES) } };
	char name[PAUSE_NAME_SIZE];
	struct broker_queue_info info;

	pause_queue_name(consumer, name);
	if (broker_queue_declare(b,
		    &(struct broker_queue){ .name = name,
			    .durable = true,
			    .args = args,
			    .arg_count = ARRAY_LEN(args) },
		    &info, e))
		return -1;
	*paused = info.messages > 0;
	return 0;
}
