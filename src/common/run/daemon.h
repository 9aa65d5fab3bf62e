/* SPDX-License-Identifier: MIT */
/*
 * What every daemon is around its own work: command line, configuration, log,
 * signals, systemd, the admin listener, draining. It knows no server and no
 * protocol: run/consumer and run/service put those around a program. A
 * daemon's main() is
 *
 *	return daemon_main(argc, argv, &def);
 *
 * The story: start() makes what the daemon needs and waits for nothing. Links
 * connect by themselves. The daemon says READY=1 once, when every required
 * link is up and ready() agrees. SIGTERM or SIGINT calls drain(): the daemon
 * finishes accepted work or hands it back, and takes nothing new.
 * daemon_drained() ends the process with 0. Past the deadline it ends with 1;
 * at a second signal it does so at once. SIGHUP loads the configuration anew;
 * the daemon logs a bad one and keeps the old one. The loop itself sends
 * WATCHDOG=1, and only while alive() agrees, so systemd restarts a daemon that
 * stands still.
 *
 * Exit: 0 drained, 1 failed, 2 usage, 78 configuration.
 * Threads: all hooks and functions here belong to the main loop's thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/conf.h"
#include "base/err.h"

struct daemon;
struct link;
struct loop;
struct metrics;

/* A word of the command line that stands for a key: "--reuse-port". */
struct daemon_flag {
	const char *name, *section, *key, *value, *help;
};

struct daemon_def {
	const char *name;          /* "onboard-api" */
	const char *summary;       /* one line for --help */
	unsigned short admin_port; /* of instance 1; 0: no listener while admin.listen is unset */
	const struct daemon_flag *flags; /* ends with a NULL name; may be NULL */
	size_t state_size;               /* zeroed memory for the hooks, freed after stop */
	/* Checks what the keys' types don't say, as files that keys name. Called before all else,
	   for --check-config and before each reload. ERR_INVALID: exit 78. NULL: no such check. */
	int (*check)(const struct conf *conf, struct err *e);
	int (*start)(struct daemon *d, void *state, struct err *e);
	bool (*ready)(void *state);         /* besides the links; NULL: always */
	const char *(*notice)(void *state); /* why it is degraded; answers NULL when it is not */
	bool (*alive)(void *state);         /* NULL: a loop that turns is alive */
	void (*reload)(void *state,
		const struct conf *now); /* takes CONF_RELOAD keys; NULL: none */
	void (*drain)(void *state);      /* leads to daemon_drained; NULL: nothing to finish */
	void (*stop)(void *state);       /* once the loop has ended; also after a failed start */
};

int daemon_main(int argc, char **argv, const struct daemon_def *def);

struct loop *daemon_loop(struct daemon *d);
/* A reload frees it: copy the texts that you keep. */
const struct conf *daemon_conf(const struct daemon *d);

/*
 * In start: /health shows the link. While a required link is away, /ready
 * answers 503; while any other is away, the daemon is degraded.
 */
void daemon_depends(struct daemon *d, struct link *l, bool required);
/* In start: a table for /metrics. */
void daemon_metrics(struct daemon *d, struct metrics *m);

/* In answer to drain: ends the process with 0. */
void daemon_drained(struct daemon *d);
/* Logs e and ends the process as a failed start does: ERR_INVALID 78, else 1. */
void daemon_fail(struct daemon *d, const struct err *e);
