/* SPDX-License-Identifier: MIT */
/* What daemon.c, daemon_args.c and daemon_admin.c share; nobody else includes it. */
#pragma once

#include "run/daemon.h"

#define DAEMON_EXIT_USAGE 2
#define DAEMON_EXIT_CONF 78
#define DAEMON_INSTANCES_MAX 99
#define DAEMON_OVERRIDES_MAX 64

struct daemon_args {
	const char *config;
	struct conf_override overrides[DAEMON_OVERRIDES_MAX + 1];
	size_t override_count;
	unsigned instance;
	bool check_config, print_config;
};

/* At --help and --version ends the process with 0, at words that it cannot read with 2. */
void daemon_args_parse(int argc, char **argv, const struct daemon_def *def,
	struct daemon_args *out);

struct daemon_link {
	struct link *link;
	bool required;
};

struct http;
struct loop_timer;
struct daemon {
	const struct daemon_def *def;
	struct daemon_args args;
	struct conf *conf;
	struct loop *loop;
	void *state;
	struct daemon_link links[8];
	size_t link_count;
	struct metrics *metrics[8];
	size_t metrics_count;
	struct loop_timer *look, *watchdog, *deadline;
	struct http *admin;
	struct metrics *own_metrics, *process_metrics;
	int64_t started_us; /* wall clock */
	char status[256];   /* as last told to systemd */
	bool said_ready, draining, drained;
	int exit_code;
};

enum daemon_state { DAEMON_WAITING, DAEMON_DEGRADED, DAEMON_READY, DAEMON_DRAINING };
enum daemon_state daemon_look(struct daemon *d);
const char *daemon_notice(struct daemon *d); /* NULL: none */

/* daemon_admin.c */
int daemon_admin_start(struct daemon *d, struct err *e) MUST_CHECK;
void daemon_admin_stop(struct daemon *d);
