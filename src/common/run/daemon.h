/* SPDX-License-Identifier: MIT */
/*
 * What every daemon is around its own work: command line, configuration, log,
 * signals, systemd, the admin listener, draining. A daemon's main() is
 *
 *	return daemon_main(argc, argv, &def);
 *
 * The story: start() makes what the daemon needs and waits for nothing. Links
 * connect by themselves; READY=1 is said once, when every required link is up
 * and ready() agrees. SIGTERM or SIGINT calls drain(): accepted work is
 * finished or handed back, nothing new is taken, and daemon_drained() ends the
 * process with 0; past the deadline it ends with 1, and so it does at once at
 * a second signal. SIGHUP loads the configuration anew: a bad one is logged and
 * the old one stays. WATCHDOG=1 comes from the loop itself, and only while
 * alive() agrees: a daemon that stands still is restarted.
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
	const char *name;                /* "onboard-api" */
	const char *summary;             /* one line for --help */
	unsigned short admin_port;       /* of instance 1, when admin.listen is unset */
	const struct daemon_flag *flags; /* ends with a NULL name; may be NULL */
	size_t state_size;               /* zeroed memory for the hooks, freed after stop */
	/* Of the configuration, what the keys' types don't say: files that keys name. Before all
	   else, for --check-config and before each reload. ERR_INVALID: exit 78. NULL: nothing. */
	int (*check)(const struct conf *conf, struct err *e);
	int (*start)(struct daemon *d, void *state, struct err *e);
	bool (*ready)(void *state);         /* besides the links; NULL: always */
	const char *(*notice)(void *state); /* why it does less than it could; NULL: it does not */
	bool (*alive)(void *state);         /* NULL: a loop that turns is alive */
	void (*reload)(void *state,
		const struct conf *now); /* takes CONF_RELOAD keys; NULL: none */
	void (*drain)(void *state);      /* leads to daemon_drained; NULL: nothing to finish */
	void (*stop)(void *state);       /* also after a failed start */
};

int daemon_main(int argc, char **argv, const struct daemon_def *def);

struct loop *daemon_loop(struct daemon *d);
const struct conf *daemon_conf(
	const struct daemon *d);                  /* a reload frees it: copy the texts you keep */
unsigned daemon_instance(const struct daemon *d); /* from 1 on */
bool daemon_draining(const struct daemon *d);

/* In start: what /health shows; a required link away makes /ready 503, any other "degraded". */
void daemon_depends(struct daemon *d, struct link *l, bool required);
/* In start: a table for /metrics. */
void daemon_metrics(struct daemon *d, struct metrics *m);

/* Drained: the process ends. */
void daemon_drained(struct daemon *d);
