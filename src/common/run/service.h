/* SPDX-License-Identifier: MIT */
/*
 * What every HTTP daemon is made of, but for its routes. A daemon's main() is
 * one call with a struct service_def. The runtime opens what the definition
 * names, keeps clients out until that is usable, drains, and ends everything
 * in the right order. A daemon brings its routes and what only they need.
 *
 *	static const struct service_pool pools[] = {
 *		{ "postgres", "changers", SQL_WANT_WRITABLE, 0 },
 *		{ "postgres-reader", "readers", SQL_WANT_PRIMARY, 0 },
 *		{ 0 },
 *	};
 *	static const struct service_def def = {
 *		.name = "orders",
 *		.summary = "Orders over HTTP; each change is an event.",
 *		.admin_port = 9103,
 *		.routes = routes,
 *		.database = "orders",
 *		.pools = pools,
 *		.publishes = true,
 *		.state_size = sizeof(struct orders),
 *		.start = orders_start,
 *	};
 *	return service_main(argc, argv, &def);
 *
 * A gateway has routes and no database: it leaves out database, pools and
 * publishes, and then no route waits for a server and no topology is declared.
 *
 * The parts:
 *
 *	HTTP      "listen", "connections" and "reuse_port" of the section NAME,
 *	          the flag --reuse-port, the sockets that systemd passes
 *	database  a name of model/databases.h. The first pool's first connection is
 *	          what the daemon depends on. A database that a newer version has
 *	          migrated ends the daemon with 78.
 *	pools     connections on the loop, as many as the key in the section NAME
 *	          says. Rows of the outbox that they write carry this process'
 *	          owner number.
 *	publishes the broker's topology, the outbox and the publisher, each with a
 *	          thread. A handler stores its event in the same transaction as its
 *	          change, and pushes it to service_publisher() after the commit.
 *
 * The story: start() makes what the routes need and waits for nothing. Until
 * the outbox' tables have answered once, each request gets 503. The daemon is
 * READY once each pool has a usable connection and the topology stands, or the
 * broker is away. SIGTERM stops accepting; what is open is answered. Then the
 * loop ends, and the parts go in this order:
 *
 *	publisher, outbox   what they still hold stays in the outbox
 *	halt()              fails what waits for a timer or for its turn
 *	pools               what waits for the database is answered with ERR_AWAY,
 *	                    and new calls are refused
 *	close()             closes own links: what waits for them is answered
 *	HTTP                what is still open gets 503
 *	stop()              frees the rest
 *
 * The same order follows a failed start, so each of the three takes a state
 * that start() has filled in part, or not at all.
 *
 * Threads: all hooks, handlers and functions here belong to the main loop's
 * thread. The publisher and the outbox have their own.
 * Errors: start() answers -1; ERR_INVALID means exit 78, any other 1.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/conf.h"
#include "base/err.h"
#include "http/http.h"
#include "link/sql_pool.h"

struct daemon;
struct publisher;
struct service;

#define SERVICE_POOLS_MAX 8

struct service_pool {
	const char *link_name; /* as logs show it; "postgres" for the first */
	const char *key;       /* how many connections; NULL: one */
	enum sql_want want;
	int64_t query_ms; /* 0: sql.h's own */
};

struct service_def {
	const char *name; /* "api": the section; the daemon is onboard-NAME */
	const char *summary;
	unsigned short admin_port;
	const struct http_route *routes;  /* ends with a NULL method; arg is the state */
	const char *database;             /* NULL: none */
	const struct service_pool *pools; /* ends with a NULL link_name; NULL: none */
	bool publishes;                   /* wants a database */
	size_t state_size;                /* zeroed memory for hooks and handlers */
	/* check, ready, notice, alive and reload as in struct daemon_def, beside the parts' own. */
	int (*check)(const struct conf *conf, struct err *e);
	int (*start)(struct service *s, void *state, struct err *e);
	bool (*ready)(void *state);
	const char *(*notice)(void *state);
	bool (*alive)(void *state);
	void (*reload)(void *state, const struct conf *now);
	void (*halt)(void *state);
	void (*close)(void *state);
	void (*stop)(void *state);
};

int service_main(int argc, char **argv, const struct service_def *def);

/* From start on: its loop, configuration, dependencies and metrics (run/daemon.h). */
struct daemon *service_daemon(struct service *s);
struct sql_pool *service_pool(struct service *s, size_t i); /* in the order of def->pools */
struct publisher *service_publisher(struct service *s);
