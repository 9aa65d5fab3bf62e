/* SPDX-License-Identifier: MIT */
/*
 * What every link to a server has in common: a name, a state that /health and
 * /ready show, since when, why, and how often it came back. The kinds of links
 * (sql, kv, doc, broker) each hold one and report to it; nothing else does.
 *
 * A link is DOWN until its first good answer. It is CONNECTING during a try,
 * UP after a good answer, BLOCKED while the server keeps the connection but
 * refuses work (RabbitMQ's alarms), and DOWN after any error, with the reason.
 * The change is logged once, the tries between are not; the wait between them
 * is link_wait_ms: capped, jittered, from 100 ms to 5 s.
 *
 * Threads: written by the link's own thread, read by any.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum link_state { LINK_DOWN, LINK_CONNECTING, LINK_UP, LINK_BLOCKED };

struct link {
	const char *name;     /* "postgres", "redis", "mongo", "rabbitmq" */
	pthread_mutex_t lock; /* of all below */
	enum link_state state;
	int64_t since_us;    /* wall clock of the last change between usable and not */
	uint64_t reconnects; /* times it became UP after it had been UP before */
	unsigned attempt;    /* failed tries in a row: what link_wait_ms counts */
	bool was_up;
	char why[256]; /* of DOWN and BLOCKED; no secret, no address */
};

struct link_view {
	const char *name;
	enum link_state state;
	int64_t since_us;
	uint64_t reconnects;
	char why[256];
};

void link_init(struct link *l, const char *name);
void link_fini(struct link *l);
/* The only place where the state changes; an illegal step is a bug. why: NULL for UP, CONNECTING. */
void link_state_set(struct link *l, enum link_state to, const char *why);
/* DOWN because we are done with it: nothing to warn of. */
void link_closed(struct link *l);
/* How long to wait before the next try; call once after each failed one. */
int64_t link_wait_ms(struct link *l);
bool link_usable(struct link *l); /* UP */
void link_look(struct link *l, struct link_view *out);
const char *link_state_name(enum link_state s); /* "down", "connecting", "up", "blocked" */

/* Keepalive, a bound for unacked bytes, no delay: a help each, since every wait has a deadline anyway. */
void link_socket_set(int fd);
