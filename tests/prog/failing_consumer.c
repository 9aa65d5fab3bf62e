/* SPDX-License-Identifier: MIT */
/*
 * A consumer that does what the username says: "again…" asks for a retry,
 * "never…" for a rejection, "crash…" aborts the process, "slow…" takes 20 ms;
 * all else is done. It takes the mailer's place and writes to the file
 * FAILING_LOG a line for each event that it sees: wall clock in µs, id, username.
 *
 * While the file FAILING_AWAY exists, its store answers the probe but no call:
 * each batch is ERR_AWAY after 100 ms, and the line says "away" instead of an id.
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
note(int fd, const char *id, const char *username)
{
	char line[160];
	int n = snprintf(line, sizeof line, "%" PRId64 " %s %.60s\n", clock_wall_us(), id,
		username ? username : "-");

	must(write(fd, line, (size_t)n) == n);
}

static int
handle(struct consumer *c, void *state, struct batch *b, struct err *e)
{
	const char *path = getenv("FAILING_LOG"), *away = getenv("FAILING_AWAY");
	int fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;

	(void)c;
	(void)state;
	if (fd < 0)
		return err_set(e, ERR_INTERNAL, "FAILING_LOG: %s",
			path ? strerror(errno) : "not set");
	if (away && access(away, F_OK) == 0) {
		note(fd, "away", NULL);
		close(fd);
		usleep(100000); /* until the call's deadline */
		return err_set(e, ERR_AWAY, "the store answers no call");
	}
	for (size_t i = 0; i < b->n; i++) {
		struct delivery *d = &b->d[i];

		note(fd, d->ev->id, d->ev->username);
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
		.handle = handle };

	return consumer_main(argc, argv, &failing);
}
