/* SPDX-License-Identifier: MIT */
/*
 * The common part of every link to a server: its name, its state for /health and
 * /ready, the time and reason of the last change, and the count of reconnects.
 * Each connection (sql, kv, doc, broker, smtp) holds one link and alone reports
 * to it.
 *
 * A link is DOWN until its first good answer. It is CONNECTING during a try,
 * UP after a good answer, BLOCKED while the server keeps the connection but
 * refuses work (RabbitMQ's alarms), and DOWN after any error, with the reason.
 * A change is logged once; further failed tries are not. The wait between tries
 * is link_wait_ms: capped, jittered, from 100 ms to 5 s.
 *
 * Threads: the link's own thread writes, any thread reads.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum link_state { LINK_DOWN, LINK_CONNECTING, LINK_UP, LINK_BLOCKED };

struct link {
	const char *name;     /* "postgres", "redis", "mongo", "rabbitmq" */
	pthread_mutex_t lock; /* guards the fields below */
	enum link_state state;
	int64_t since_us;    /* wall clock of the last change between usable and not */
	uint64_t reconnects; /* times it became UP after it had been UP before */
	unsigned attempt;    /* failed tries in a row, for link_wait_ms */
	bool was_up;
	char why[256]; /* the reason for DOWN or BLOCKED; no secret, no address */
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
/*
 * The only function that changes the state; an illegal step is a bug. why: NULL for UP
 * and CONNECTING.
 */
void link_state_set(struct link *l, enum link_state to, const char *why);
/* DOWN because we closed it: logs no warning. */
void link_closed(struct link *l);
/* The wait before the next try; call it once after each failed try. */
int64_t link_wait_ms(struct link *l);
bool link_usable(struct link *l); /* UP */
void link_look(struct link *l, struct link_view *out);
const char *link_state_name(enum link_state s); /* "down", "connecting", "up", "blocked" */

/*
 * Sets keepalive, a bound for unacked bytes, and no delay. They help; the deadlines do
 * not need them.
 */
void link_socket_set(int fd);
