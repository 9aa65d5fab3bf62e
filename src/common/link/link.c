/* SPDX-License-Identifier: MIT */
#include "link/link.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/backoff.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/rnd.h"

static const struct backoff reconnect = { .base_ms = 100, .cap_ms = 5000 };

/* Rows: from; columns: to. A link that is UP becomes DOWN before it connects again. */
static const bool legal[4][4] = {
	[LINK_DOWN] = { [LINK_DOWN] = true, [LINK_CONNECTING] = true },
	[LINK_CONNECTING] = { [LINK_DOWN] = true, [LINK_CONNECTING] = true, [LINK_UP] = true },
	[LINK_UP] = { [LINK_DOWN] = true, [LINK_UP] = true, [LINK_BLOCKED] = true },
	[LINK_BLOCKED] = { [LINK_DOWN] = true, [LINK_UP] = true, [LINK_BLOCKED] = true },
};

const char *
link_state_name(enum link_state s)
{
	static const char *const names[] = { "down", "connecting", "up", "blocked" };

	return names[s];
}

void
link_init(struct link *l, const char *name)
{
	*l = (struct link){ .name = name, .state = LINK_DOWN, .since_us = clock_wall_us() };
	must(pthread_mutex_init(&l->lock, NULL) == 0);
	snprintf(l->why, sizeof l->why, "not connected yet");
}

void
link_fini(struct link *l)
{
	must(pthread_mutex_destroy(&l->lock) == 0);
}

/* The log message for a change. CONNECTING is a step on the way and logs nothing. */
static void
announce(const char *name, enum link_state from, enum link_state to, bool again, const char *why)
{
	if (to == LINK_UP && from != LINK_UP)
		log_info("server usable", LOG_S("server", name), LOG_B("again", again));
	else if (to == LINK_BLOCKED && from != LINK_BLOCKED)
		log_warn("server refuses work for now", LOG_S("server", name), LOG_S("why", why));
	else if (to == LINK_DOWN && why)
		log_warn("server away, trying again", LOG_S("server", name), LOG_S("why", why));
}

void
link_state_set(struct link *l, enum link_state to, const char *why)
{
	enum link_state from;
	bool again, news;

	must(pthread_mutex_lock(&l->lock) == 0);
	from = l->state;
	must(legal[from][to]);
	/* log a failed try only when its reason differs from the last one */
	news = to != LINK_DOWN || from == LINK_UP || from == LINK_BLOCKED ||
		(why && strncmp(l->why, why, sizeof l->why - 1) != 0);
	if ((from == LINK_UP) != (to == LINK_UP))
		l->since_us = clock_wall_us();
	again = l->was_up;
	if (to == LINK_UP) {
		if (from == LINK_CONNECTING)
			l->reconnects += l->was_up;
		l->was_up = true;
		l->attempt = 0;
		l->why[0] = '\0';
	} else if (why) {
		snprintf(l->why, sizeof l->why, "%s", why);
	}
	l->state = to;
	must(pthread_mutex_unlock(&l->lock) == 0);
	if (news)
		announce(l->name, from, to, again, why);
}

void
link_closed(struct link *l)
{
	must(pthread_mutex_lock(&l->lock) == 0);
	if (l->state == LINK_UP)
		l->since_us = clock_wall_us();
	l->state = LINK_DOWN;
	snprintf(l->why, sizeof l->why, "closed");
	must(pthread_mutex_unlock(&l->lock) == 0);
}

int64_t
link_wait_ms(struct link *l)
{
	unsigned attempt;

	must(pthread_mutex_lock(&l->lock) == 0);
	attempt = l->attempt++;
	must(pthread_mutex_unlock(&l->lock) == 0);
	return backoff_wait_ms(&reconnect, attempt, rnd_u64());
}

bool
link_usable(struct link *l)
{
	bool up;

	must(pthread_mutex_lock(&l->lock) == 0);
	up = l->state == LINK_UP;
	must(pthread_mutex_unlock(&l->lock) == 0);
	return up;
}

void
link_look(struct link *l, struct link_view *out)
{
	must(pthread_mutex_lock(&l->lock) == 0);
	*out = (struct link_view){ .name = l->name,
		.state = l->state,
		.since_us = l->since_us,
		.reconnects = l->reconnects };
	snprintf(out->why, sizeof out->why, "%s", l->why);
	must(pthread_mutex_unlock(&l->lock) == 0);
}

void
link_socket_set(int fd)
{
	static const struct {
		int level, name, value;
	} options[] = {
		{ SOL_SOCKET, SO_KEEPALIVE, 1 },
		{ IPPROTO_TCP, TCP_KEEPIDLE, 5 },
		{ IPPROTO_TCP, TCP_KEEPINTVL, 2 },
		{ IPPROTO_TCP, TCP_KEEPCNT, 3 },
		{ IPPROTO_TCP, TCP_USER_TIMEOUT, 5000 },
		{ IPPROTO_TCP, TCP_NODELAY, 1 },
	};

	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		(void)setsockopt(fd, options[i].level, options[i].name, &options[i].value,
			sizeof options[i].value);
}
