/* SPDX-License-Identifier: MIT */
/*
 * A TCP relay on a thread of its own, one connection at a time, that a C test
 * can silence, cut, limit (the server's first bytes only) and speak through.
 * Its listener stays open; so a port that is closed is one that was never asked for.
 */
#pragma once

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/must.h"

struct relay {
	int listener, client, server;
	struct sockaddr_in target;
	uint16_t port;
	pthread_t thread;
	atomic_bool stop, stalled, cut;
	atomic_long limit;   /* bytes that the server may still say; negative: all */
	_Atomic size_t said; /* to be said to the client: the first of what */
	_Atomic(const char *) what;
	atomic_int accepted;
};

static inline int
relay_listener(uint16_t *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	must(bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 8) == 0);
	must(getsockname(fd, (struct sockaddr *)&a, &size) == 0);
	*port = ntohs(a.sin_port);
	return fd;
}

static inline void
relay_end(struct relay *r)
{
	const struct linger hard = { 1, 0 };

	for (int *fd = &r->client; fd; fd = fd == &r->client ? &r->server : NULL) {
		if (*fd < 0)
			continue;
		(void)setsockopt(*fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
		close(*fd);
		*fd = -1;
	}
}

static inline bool
relay_pass(int from, int to, long most)
{
	char bytes[65536];
	size_t want = most >= 0 && most < (long)sizeof bytes ? (size_t)most : sizeof bytes;
	ssize_t n = recv(from, bytes, want, MSG_DONTWAIT), at = 0;

	while (n > 0 && at < n) {
		ssize_t done = send(to, bytes + at, (size_t)(n - at), MSG_NOSIGNAL);

		if (done < 0)
			return false;
		at += done;
	}
	return n > 0;
}

static inline void
relay_turn(struct relay *r)
{
	struct pollfd p[3] = { { r->listener, POLLIN, 0 }, { r->client, POLLIN, 0 },
		{ r->server, POLLIN, 0 } };
	long limit = atomic_load(&r->limit);
	size_t said;

	if (atomic_load(&r->stalled))
		p[1].fd = p[2].fd = -1;
	if (limit == 0)
		p[2].fd = -1;
	if (poll(p, 3, 2) < 0)
		return;
	if ((said = atomic_exchange(&r->said, 0)) && r->client >= 0)
		(void)!write(r->client, atomic_load(&r->what), said);
	if (p[0].revents) {
		relay_end(r);
		r->client = accept(r->listener, NULL, NULL);
		r->server = socket(AF_INET, SOCK_STREAM, 0);
		must(connect(r->server, (struct sockaddr *)&r->target, sizeof r->target) == 0);
		atomic_fetch_add(&r->accepted, 1);
		return;
	}
	if (p[1].revents && !relay_pass(r->client, r->server, -1))
		relay_end(r);
	else if (p[2].revents && !relay_pass(r->server, r->client, limit < 0 ? -1 : 1))
		relay_end(r);
	else if (p[2].revents && limit > 0)
		atomic_fetch_sub(&r->limit, 1);
	if (atomic_exchange(&r->cut, false))
		relay_end(r);
}

static inline void *
relay_run(void *arg)
{
	struct relay *r = arg;

	while (!atomic_load(&r->stop))
		relay_turn(r);
	relay_end(r);
	return NULL;
}

static inline void
relay_start(struct relay *r, const char *address, uint16_t port)
{
	*r = (struct relay){ .client = -1, .server = -1 };
	r->target = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port) };
	must(inet_pton(AF_INET, address, &r->target.sin_addr) == 1);
	atomic_store(&r->limit, -1);
	r->listener = relay_listener(&r->port);
	must(pthread_create(&r->thread, NULL, relay_run, r) == 0);
}

/* Ends the connection there is by RST; it is over when this returns. */
static inline void
relay_cut(struct relay *r)
{
	atomic_store(&r->cut, true);
	while (atomic_load(&r->cut))
		usleep(500);
}

static inline void
relay_stop(struct relay *r)
{
	atomic_store(&r->stop, true);
	must(pthread_join(r->thread, NULL) == 0);
	close(r->listener);
}
