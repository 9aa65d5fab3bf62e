/* SPDX-License-Identifier: MIT */
/* A proxy in front of a server, for a C test: passes on, is slow, drips, holds, cuts. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

enum { PAIRS_MAX = 32 };

struct proxy {
	const char *to_host;
	uint16_t to_port;
	int listener, port;
	_Atomic int delay_ms; /* before each read */
	_Atomic bool drip;    /* to the client byte by byte */
	_Atomic bool hold, cut, stop;
	pthread_t thread;
	struct pollfd p[1 + 2 * PAIRS_MAX]; /* the listener, then client and server in turn */
	nfds_t n;
};

static void
proxy_accept(struct proxy *x)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(x->to_port) };
	int client = accept(x->p[0].fd, NULL, NULL), fd = socket(AF_INET, SOCK_STREAM, 0);

	inet_pton(AF_INET, x->to_host, &to.sin_addr);
	if (client < 0 || x->n + 2 > ARRAY_LEN(x->p) ||
		connect(fd, (struct sockaddr *)&to, sizeof to)) {
		close(fd);
		if (client >= 0)
			close(client);
		return;
	}
	x->p[x->n++] = (struct pollfd){ .fd = client, .events = POLLIN };
	x->p[x->n++] = (struct pollfd){ .fd = fd, .events = POLLIN };
}

/* False: the pair is at its end. */
static bool
proxy_pass(struct proxy *x, nfds_t i)
{
	char bytes[65536];
	bool to_client = i % 2 == 0;
	int to = x->p[to_client ? i - 1 : i + 1].fd;
	ssize_t n, sent;

	if (x->delay_ms)
		usleep((unsigned)x->delay_ms * 1000);
	n = read(x->p[i].fd, bytes, x->drip && to_client ? 1 : sizeof bytes);
	if (n <= 0)
		return false;
	if (x->drip && to_client)
		usleep(100000);
	for (ssize_t at = 0; at < n; at += sent)
		if ((sent = write(to, bytes + at, (size_t)(n - at))) < 0)
			return false;
	return true;
}

static void
proxy_end(struct proxy *x, nfds_t i)
{
	nfds_t first = i % 2 == 1 ? i : i - 1;
	const struct linger reset = { 1, 0 };

	for (nfds_t k = first; k < first + 2; k++) {
		setsockopt(x->p[k].fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
		close(x->p[k].fd);
	}
	x->n -= 2;
	x->p[first] = x->p[x->n];
	x->p[first + 1] = x->p[x->n + 1];
}

static void *
proxy_main(void *arg)
{
	struct proxy *x = arg;

	while (!x->stop) {
		if (x->cut) {
			while (x->n > 1)
				proxy_end(x, 1);
			x->cut = false;
		}
		if (x->hold || poll(x->p, x->n, 5) <= 0) {
			usleep(1000);
			continue;
		}
		if (x->p[0].revents)
			proxy_accept(x);
		for (nfds_t i = x->n - 1; i > 0; i--)
			if (x->p[i].revents && !proxy_pass(x, i)) {
				proxy_end(x, i);
				break; /* the rows have moved */
			}
	}
	while (x->n > 1)
		proxy_end(x, 1);
	close(x->listener);
	return NULL;
}

static void
proxy_start(struct proxy *x, const char *to_host, uint16_t to_port)
{
	*x = (struct proxy){ .n = 1, .to_host = to_host, .to_port = to_port };
	x->listener = silent_server(&x->port);
	x->p[0] = (struct pollfd){ .fd = x->listener, .events = POLLIN };
	assert_int_equal(pthread_create(&x->thread, NULL, proxy_main, x), 0);
}

static void
proxy_stop(struct proxy *x)
{
	x->stop = true;
	pthread_join(x->thread, NULL);
}

static void
proxy_cut(struct proxy *x)
{
	x->cut = true;
	while (x->cut)
		usleep(500);
}
