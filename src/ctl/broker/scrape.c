/* SPDX-License-Identifier: MIT */
#include "ctl/broker/scrape.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/promtext.h"

#define FIRST_PORT 9101 /* the default of admin.base */
#define ANSWER_MS 300
#define ANSWER_MAX (4u << 20)

static bool
wait_for(int fd, short what, int64_t end_ms)
{
	struct pollfd p = { .fd = fd, .events = what };
	int64_t left = end_ms - clock_mono_ms();

	return left > 0 && poll(&p, 1, (int)left) == 1;
}

static int
connect_loopback(unsigned port, int64_t end_ms)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), code = 0;
	socklen_t size = sizeof code;

	if (fd < 0)
		return -1;
	if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
		return fd;
	if (errno == EINPROGRESS && wait_for(fd, POLLOUT, end_ms) &&
		getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &size) == 0 && code == 0)
		return fd;
	close(fd);
	return -1;
}

/* The whole answer, head and body; false: none in time. */
static bool
page_get(unsigned port, struct buf *out)
{
	static const char ask[] = "GET /metrics HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n";
	int64_t end = clock_mono_ms() + ANSWER_MS;
	int fd = connect_loopback(port, end);
	char part[16384];
	ssize_t n = 1;
	bool whole = false;

	buf_clear(out);
	if (fd < 0)
		return false;
	if (send(fd, ask, sizeof ask - 1, MSG_NOSIGNAL) == (ssize_t)(sizeof ask - 1))
		while (n > 0 && !buf_failed(out) && wait_for(fd, POLLIN, end)) {
			n = recv(fd, part, sizeof part, 0);
			if (n > 0)
				buf_add(out, part, (size_t)n);
			whole = n == 0;
		}
	close(fd);
	return whole && !buf_failed(out) && out->length > 12 &&
		memcmp(out->data + 8, " 200", 4) == 0;
}

static void
sample_add(struct scraped *s, const struct promtext_sample *m)
{
	double value = m->value > 0 && m->value < 9e12 ? m->value : 0;
	int64_t n = (int64_t)value;
	char outcome[16];

	if (promtext_is(m, "onboard_build_info"))
		(void)promtext_label(m, "daemon", s->daemon, sizeof s->daemon);
	else if (promtext_is(m, "onboard_http_requests_total"))
		s->done += n;
	else if (promtext_is(m, "process_cpu_seconds_total"))
		s->cpu_ms = (int64_t)(value * 1000);
	else if (promtext_is(m, "onboard_consumer_held"))
		s->held = n;
	else if (promtext_is(m, "onboard_consumer_paused"))
		s->paused = n > 0;
	else if (promtext_is(m, "onboard_consumer_deliveries_total") &&
		promtext_label(m, "outcome", outcome, sizeof outcome))
		*(strcmp(outcome, "done") == 0                  ? &s->done
				: strcmp(outcome, "retry") == 0 ? &s->retries
								: &s->dead) += n;
}

static bool
scrape(unsigned port, struct buf *page, struct scraped *out)
{
	const char *at, *end;
	struct promtext_sample m;

	if (!page_get(port, page))
		return false;
	*out = (struct scraped){ .port = port };
	at = buf_text(page);
	end = at + page->length;
	while (promtext_next(&at, end, &m))
		sample_add(out, &m);
	return *out->daemon;
}

/* The one of admin.listen, where it is set: "127.0.0.1:9201". */
static unsigned
own_port(const struct conf *f)
{
	const char *listen = conf_string(f, "admin", "listen");
	const char *colon = listen ? strrchr(listen, ':') : NULL;

	return colon ? (unsigned)atoi(colon + 1) & 0xffffu : 0;
}

/*
 * The admin port of instance 1: HTTP daemons first, then consumers. tools/stack sets
 * admin.base, and numbers its daemons from there on by their place in the tables.
 */
static unsigned
daemon_port(unsigned base, unsigned d)
{
	return d < SCRAPE_HTTP || base != FIRST_PORT ? base + d
						     : consumer_rows[d - SCRAPE_HTTP].admin_port;
}

size_t
scrape_all(const struct conf *f, struct scraped *out)
{
	unsigned own = own_port(f), first = (unsigned)conf_int(f, "admin", "base");
	struct buf page;
	size_t n = 0;

	buf_init(&page, ANSWER_MAX);
	if (own)
		n += scrape(own, &page, &out[n]);
	for (unsigned d = 0; d < SCRAPE_HTTP + CONSUMER_COUNT; d++)
		for (unsigned i = 0; i < SCRAPE_INSTANCES; i++) {
			unsigned port = daemon_port(first, d) + 10 * i;

			if (port != own)
				n += scrape(port, &page, &out[n]);
		}
	buf_fini(&page);
	return n;
}
