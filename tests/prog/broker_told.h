/* SPDX-License-Identifier: MIT */
/* What the programs on a broker link share: two connections and what was told of each. */
#pragma once

#include "../lib/on_server.h"
#include "base/clock.h"

#include "link/broker.h"

#define WINDOW 64

static const char *url;
static struct arena *mem;
static struct broker *b, *other; /* of all tests; for what ends a connection */
static char name[64];            /* a prefix of this run's own */

struct told {
	int delivered, confirmed, nacked, returned, cancelled, closed;
	uint64_t last_tag, next_confirm;
	bool confirmed_first, ack, chain;
	int code;
	char why[256], consumer[256];
	struct broker_message *keep[1100];
};

static struct told t;

static inline const char *
queue_name(const char *what)
{
	static char text[256][128];
	static size_t at;

	at = (at + 1) % ARRAY_LEN(text);
	snprintf(text[at], sizeof text[at], "%s.%s", name, what);
	return text[at];
}

static inline void
publish(struct broker *to, const char *key, const char *body, uint64_t *tag)
{
	struct err e = ERR_INIT;

	if (broker_publish(to,
		    &(struct broker_publish){ .exchange = "",
			    .routing_key = key,
			    .mandatory = true,
			    .body = body,
			    .length = strlen(body) },
		    tag, &e))
		fail_msg("%s", e.text);
}

static inline void
on_deliver(void *arg, const struct broker_message *m)
{
	struct told *w = arg;
	struct err e = ERR_INIT;

	must(w->delivered < (int)ARRAY_LEN(w->keep));
	must(w->keep[w->delivered++] = broker_message_copy(m, mem));
	w->last_tag = m->tag;
	if (w->ack)
		must(broker_ack(w == &t ? b : other, m->tag, false, &e) == 0);
}

static inline void
on_confirmed(void *arg, uint64_t tag, bool nacked)
{
	struct told *w = arg;

	w->confirmed_first |= w->returned == 0;
	w->confirmed++;
	w->nacked += nacked;
	w->next_confirm = tag + 1;
	/* the window has room for one more while it is told that one has gone */
	if (w->chain) {
		w->chain = false;
		publish(b, queue_name("window"), "more", NULL);
	}
}

static inline void
on_returned(void *arg, const struct broker_message *m, int code, const char *why)
{
	struct told *w = arg;

	w->code = code;
	snprintf(w->why, sizeof w->why, "%s", why);
	must(w->keep[w->returned++] = broker_message_copy(m, mem));
}

static inline void
on_cancelled(void *arg, const char *consumer)
{
	struct told *w = arg;

	w->cancelled++;
	snprintf(w->consumer, sizeof w->consumer, "%s", consumer);
}

static inline void
on_closed(void *arg, int code, const char *why)
{
	struct told *w = arg;

	w->closed++;
	w->code = code;
	snprintf(w->why, sizeof w->why, "%s", why);
}

static inline struct broker *
open_broker(struct told *to)
{
	static const struct broker_events events = { .deliver = on_deliver,
		.confirmed = on_confirmed,
		.returned = on_returned,
		.cancelled = on_cancelled,
		.channel_closed = on_closed };
	struct err e = ERR_INIT;
	struct broker *made = broker_new(&(struct broker_options){ .url = url,
						 .window = WINDOW,
						 .events = &events,
						 .arg = to },
		&e);

	if (!made || broker_connect(made, &e))
		fail_msg("%s", e.text);
	*to = (struct told){ 0 };
	return made;
}

static inline int
setup(void **state)
{
	(void)state;
	snprintf(name, sizeof name, "test.broker.%d", (int)getpid());
	mem = arena_new(64 << 10, 256 << 20);
	b = open_broker(&t);
	return 0;
}

static inline int
teardown(void **state)
{
	(void)state;
	broker_free(b);
	arena_free(mem);
	return 0;
}

static inline void
ok(int rc, struct err *e)
{
	if (rc)
		fail_msg("%s: %s", err_kind_name(e->kind), e->text);
}

/* Exclusive: it ends with its connection. */
static inline const char *
make_queue(struct broker *of, const char *what)
{
	const char *full = queue_name(what);
	struct err e = ERR_INIT;

	ok(broker_queue_declare(of, &(struct broker_queue){ .name = full, .exclusive = true }, NULL,
		   &e),
		&e);
	return full;
}

static inline void
until(struct broker *of, const int *what, int want)
{
	int64_t end = clock_mono_ms() + 5000;
	struct err e = ERR_INIT;

	while (*what < want) {
		if (clock_mono_ms() > end)
			fail_msg("%d of %d within 5 s", *what, want);
		ok(broker_pump(of, 50, &e), &e);
	}
}

/* What another channel gave or gave back may be a moment on its way: the queue has its own time. */
static inline struct broker_message *
get_soon(const char *queue)
{
	int64_t end = clock_mono_ms() + 3000;
	struct broker_message *m;
	struct err e = ERR_INIT;

	do
		ok(broker_get(b, queue, mem, &m, &e), &e);
	while (!m && clock_mono_ms() < end);
	assert_non_null(m);
	return m;
}

static inline struct broker_message *
get(const char *queue)
{
	struct broker_message *m;
	struct err e = ERR_INIT;

	ok(broker_get(b, queue, mem, &m, &e), &e);
	return m;
}
