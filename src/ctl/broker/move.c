/* SPDX-License-Identifier: MIT */
#include "ctl/broker/move.h"

#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/must.h"
#include "link/broker.h"
#include "model/dead_letter.h"
#include "ctl/broker/look.h"
#include "ctl/kit/progress.h"
#include "ctl/kit/servers.h"

#define PREFETCH 1000
#define WINDOW 65536 /* of tags between the oldest unconfirmed and the newest */
#define QUIET_MS 200
#define STALL_MS 30000
#define TAG "onboard-move"

struct mover {
	struct broker *beside[2];
	struct broker *b;
	const char *to;
	uint64_t delivery[WINDOW]; /* by publish tag */
	bool done[WINDOW];         /* by delivery tag: confirmed */
	uint64_t last, front;      /* delivery tags: the newest, and the first not acked */
	int64_t came_ms;
	bool refused;
	struct err why; /* of the first that could not be published */
};

static void
mover_deliver(void *arg, const struct broker_message *m)
{
	struct mover *v = arg;
	struct broker_field key = { HEADER_ORIGINAL_KEY, broker_text(m->routing_key) };
	struct broker_publish p;
	size_t n;
	uint64_t tag;

	v->came_ms = clock_mono_ms();
	v->last = m->tag;
	if (v->why.kind != ERR_NONE)
		return;
	dead_letter_copy(&p, m, COPY_MOVED);
	p.exchange = "";
	p.routing_key = v->to;
	p.headers = &key;
	p.headers_optional = true;
	p.header_count = *m->exchange && !broker_table_text(&m->props.headers, key.name, &n);
	if (broker_publish(v->b, &p, &tag, &v->why))
		return;
	v->delivery[tag % WINDOW] = m->tag;
}

static void
mover_confirmed(void *arg, uint64_t tag, bool nacked)
{
	struct mover *v = arg;

	if (fault_hit(FAULT_move_confirmed) || nacked || v->refused)
		v->refused = true;
	else
		v->done[v->delivery[tag % WINDOW] % WINDOW] = true;
}

static void
mover_returned(void *arg, const struct broker_message *m, int code, const char *why)
{
	struct mover *v = arg;

	(void)m;
	(void)code;
	(void)why;
	v->refused =
		true; /* before its confirm: what is confirmed from here on stays where it was */
}

struct mover *
mover_open(const struct conf *f, struct err *e)
{
	static const struct broker_events events = { .deliver = mover_deliver,
		.confirmed = mover_confirmed,
		.returned = mover_returned };
	struct mover *v = must_calloc(1, sizeof *v);

	v->b = broker_new(&(struct broker_options){ .url = conf_string(f, "rabbitmq", "url"),
				  .name = "onboardctl mend",
				  .window = WINDOW,
				  .call_ms = CTL_BROKER_MS,
				  .events = &events,
				  .arg = v },
		e);
	if (v->b && broker_connect(v->b, e) == 0)
		return v;
	mover_close(v);
	return NULL;
}

void
mover_beside(struct mover *v, struct broker *a, struct broker *b)
{
	v->beside[0] = a;
	v->beside[1] = b;
}

void
mover_close(struct mover *v)
{
	if (!v)
		return;
	broker_free(v->b);
	free(v);
}

/* Acks, with one ack, all messages up to the first that is not confirmed. */
static int
ack_front(struct mover *v, uint64_t *moved, struct err *e)
{
	uint64_t at = v->front;

	while (at <= v->last && v->done[at % WINDOW]) {
		v->done[at % WINDOW] = false;
		at++;
	}
	if (at == v->front)
		return 0;
	if (broker_ack(v->b, at - 1, true, e))
		return -1;
	*moved += at - v->front;
	v->front = at;
	return broker_flush(v->b, e);
}

/* Until no message comes and none is unconfirmed. */
static int
messages_move(struct mover *v, uint64_t *moved, struct progress *p, struct err *e)
{
	int64_t stuck_ms = clock_mono_ms();
	uint64_t before;

	v->came_ms = clock_mono_ms();
	for (;;) {
		before = *moved;
		if (broker_pump(v->b, QUIET_MS / 4, e) || ack_front(v, moved, e))
			return -1;
		for (size_t i = 0; i < ARRAY_LEN(v->beside); i++)
			if (v->beside[i] && broker_pump(v->beside[i], 0, e))
				return -1;
		if (v->why.kind != ERR_NONE)
			return err_set(e, v->why.kind, "%s", v->why.text);
		if (v->refused)
			return err_set(e, ERR_CONFLICT,
				"the broker put a copy into no queue: %s is not there, or full",
				v->to);
		if (p)
			progress_set(p, *moved);
		if (*moved > before)
			stuck_ms = clock_mono_ms();
		if (v->front > v->last && clock_mono_ms() - v->came_ms > QUIET_MS)
			return 0;
		if (v->front <= v->last && clock_mono_ms() - stuck_ms > STALL_MS)
			return err_set(e, ERR_AWAY, "the broker confirms nothing in %d s",
				STALL_MS / 1000);
	}
}

int
mover_run(struct mover *v, const char *from, const char *to, uint64_t *moved, struct progress *p,
	struct err *e)
{
	uint32_t depth;

	v->to = to;
	for (;;) {
		/* the caller deletes the queue when this says it is empty */
		if (look_depth_sure(v->b, from, &depth, NULL, e))
			return -1;
		if (depth == 0)
			return 0;
		/* a channel of its own: its delivery tags begin with 1 */
		if (broker_give_back(v->b, e))
			return -1;
		v->front = 1;
		v->last = 0;
		if (broker_qos(v->b, PREFETCH, e) || broker_consume(v->b, from, TAG, false, e) ||
			messages_move(v, moved, p, e) || broker_cancel(v->b, TAG, e))
			return -1;
		/* messages that came during the cancel */
		if (messages_move(v, moved, p, e))
			return -1;
	}
}
