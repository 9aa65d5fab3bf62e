/* SPDX-License-Identifier: MIT */
/*
 * A consumer that does what the username says: "again…" asks for a retry,
 * "never…" for a rejection, "crash…" aborts the process, "slow…" takes 20 ms;
 * all else is done. It takes the mailer's place and writes to the file
 * FAILING_LOG a line for each event that it sees: wall clock in µs, id, username.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "run/consumer.h"

static bool
says(const struct event *ev, const char *word)
{
	return ev->username && strncmp(ev->username, word, strlen(word)) == 0;
}

static void
note(int fd, const struct event *ev)
{
	char line[160];
	int n = snprintf(line, sizeof line, "%" PRId64 " %s %.60s\n", clock_wall_us(), ev->id,
		ev->username ? ev->username : "-");

	must(write(fd, line, (size_t)n) == n);
}

static int
handle(struct consumer *c, void *state, struct batch *b, struct err *e)
{
	const char *path = getenv("FAILING_LOG");
	int fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;

	(void)c;
	(void)state;
	if (fd < 0)
		return err_set(e, ERR_INTERNAL, "FAILING_LOG: %s",
			path ? strerror(errno) : "not set");
	for (size_t i = 0; i < b->n; i++) {
		struct delivery *d = &b->d[i];

		note(fd, d->ev);
		if (says(d->ev, "crash"))
			abort();
		if (says(d->ev, "slow"))
			usleep(20000);
		d->out = says(d->ev, "again")  ? OUT_RETRY
			: says(d->ev, "never") ? OUT_REJECT
					       : OUT_DONE;
		d->why = "as the username says";
	}
	close(fd);
	return 0;
}

int
main(int argc, char **argv)
{
	static const struct handler failing = { .name = "mailer",
		.summary = "Does what the username says.",
		.admin_port = 9108,
		.handle = handle };

	return consumer_main(argc, argv, &failing);
}
