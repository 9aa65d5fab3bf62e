/* SPDX-License-Identifier: MIT */
/*
 * The consumer runtime: the fate of a delivery. The I/O thread publishes a copy,
 * waits for its confirm, and acks the delivery only then. If the process is killed
 * in between, the delivery comes again: it may be doubled, but is never lost.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/utf8.h"
#include "run/consumer_own.h"

#define AGAIN_MS 1000 /* before a copy that no queue took is published again */
#define WHY_MAX 800   /* bytes of the handler's reason that stay when our own follows */

const char *const consumer_fates[FATE_COUNT] = { "done", "retry", "permanent", "exhausted",
	"poison" };

static void
trace_id(const struct held *h, char out[static 33])
{
	size_t n = 0;
	const char *p = broker_table_text(&h->m->props.headers, "traceparent", &n);

	memset(out, 0, 33);
	if (p && n >= 35)
		memcpy(out, p + 3, 32);
}

/* One line for each delivery's fate. Done is a debug line; the others are always logged. */
static void
fate_log(const struct consumer *c, const struct bunch *b, const struct held *h)
{
	const char *id = *h->ev.id ? h->ev.id : h->m->props.message_id;
	int64_t attempt = retry_count(h->m) + 1, ms = b->handled_us / 1000;
	char trace[33], number[24];
	const char *user = h->ev.user_id ? number : NULL;

	if (h->out == OUT_DONE && log_level_now > LOG_LEVEL_DEBUG)
		return;
	trace_id(h, trace);
	snprintf(number, sizeof number, "%" PRId64, h->ev.user_id);
	if (h->out == OUT_DONE)
		log_debug("done", LOG_S("event_id", id), LOG_S("consumer", c->handler->name),
			LOG_S("user_id", user), LOG_I("attempt", attempt), LOG_I("ms", ms),
			LOG_S("trace_id", trace));
	else if (h->retry->class == RETRY_AGAIN)
		log_warn("retry", LOG_S("event_id", id), LOG_S("consumer", c->handler->name),
			LOG_S("user_id", user), LOG_I("attempt", attempt), LOG_I("ms", ms),
			LOG_S("trace_id", trace), LOG_S("why", h->why));
	else
		log_error("dead", LOG_S("event_id", id), LOG_S("consumer", c->handler->name),
			LOG_S("user_id", user), LOG_S("class", retry_class_name(h->retry->class)),
			LOG_S("dead_id", h->retry->dead_id), LOG_I("attempt", attempt),
			LOG_I("ms", ms), LOG_S("trace_id", trace), LOG_S("why", h->why));
}

static void
mark_settled(struct consumer *c, struct bunch *b, struct held *h)
{
	static const int fates[] = { [RETRY_AGAIN] = FATE_RETRY,
		[RETRY_PERMANENT] = FATE_PERMANENT,
		[RETRY_EXHAUSTED] = FATE_EXHAUSTED,
		[RETRY_POISON] = FATE_POISON };

	h->settled = true;
	b->open--;
	metric_add(c->outcomes[h->out == OUT_DONE ? FATE_DONE : fates[h->retry->class]], 1);
	fate_log(c, b, h);
}

static int
copy_publish(struct consumer *c, struct bunch *b, struct held *h, struct err *e)
{
	const char *why = h->why && *h->why ? h->why : "no reason was given";

	if (!h->retry) {
		h->retry = arena_alloc(b->mem, sizeof *h->retry);
		must(h->retry);
		retry_make(h->retry, h->m, c->handler->name, c->place->queue, h->class, why,
			clock_wall_us());
		h->why = why;
	}
	h->returned = false;
	if (broker_publish(c->broker, &h->retry->publish, &h->publish_tag, e))
		return -1;
	h->sent = true;
	return 0;
}

/*
 * The headers of the message fill a frame, so ours do not fit beside them. The copy
 * leaves out the largest ones and is a dead letter at once: the handler must not see
 * a retry that has silently lost its headers.
 */
static void
copy_shrink(struct consumer *c, struct bunch *b, struct held *h)
{
	struct retry *r = h->retry;
	bool again = r->class == RETRY_AGAIN;

	h->class = again ? RETRY_EXHAUSTED : r->class;
	h->why = arena_printf(b->mem,
		"%.*s (%sits headers and ours are too large together: those "
		"over %zu bytes are left out)",
		(int)utf8_cut(h->why, strlen(h->why), WHY_MAX), h->why,
		again ? "not retried: " : "", r->publish.carried_max);
	must(h->why);
	retry_make(r, h->m, c->handler->name, c->place->queue, h->class, h->why, clock_wall_us());
	(void)!broker_publish_trim(c->broker, &r->publish);
}

/*
 * One ack for all deliveries from the oldest up to the first that is not done. Many
 * single acks would hold up the broker, and it loses the last of them when the
 * connection closes right after.
 */
int
consumer_ack_front(struct consumer *c, struct err *e)
{
	const struct held *last = NULL;
	bool more = true;

	for (struct bunch *b = c->settling; b && more; b = b->next)
		for (size_t i = 0; i < b->count && more; i++) {
			more = b->list[i].out == OUT_DONE && !b->list[i].settled;
			if (more)
				last = &b->list[i];
		}
	if (!last)
		return 0;
	if (broker_ack(c->broker, last->m->tag, true, e))
		return -1;
	for (struct bunch *b = c->settling; b; b = b->next)
		for (size_t i = 0; i < b->count; i++) {
			mark_settled(c, b, &b->list[i]);
			if (&b->list[i] == last)
				return 0;
		}
	return 0;
}

/* Settles one delivery. 1: the broker takes no copy for now. */
static int
settle_one(struct consumer *c, struct bunch *b, struct held *h, struct err *e)
{
	struct err why = ERR_INIT;

	if (h->settled || h->sent)
		return 0;
	if (h->out == OUT_DONE) {
		if (broker_ack(c->broker, h->m->tag, false, e))
			return -1;
		mark_settled(c, b, h);
	} else if (h->out == OUT_UNSET) { /* not handled before the end: hand it back */
		if (broker_nack(c->broker, h->m->tag, false, true, e))
			return -1;
		h->settled = true;
		b->open--;
	} else if (copy_publish(c, b, h, &why)) {
		if (broker_fd(c->broker) < 0)
			return err_set(e, ERR_AWAY, "%s", why.text);
		if (why.kind == ERR_INVALID && broker_publish_trim(c->broker, &h->retry->publish)) {
			copy_shrink(c, b, h);
		} else if (why.kind != ERR_AWAY && why.kind != ERR_LIMIT) {
			/* the broker takes no such property: the copy goes without properties */
			h->retry->publish.props = (struct broker_properties){ .delivery_mode = 2 };
			log_warn("a copy goes without the properties it came with", LOG_E(&why));
		}
		c->again_ms = clock_mono_ms() + AGAIN_MS / 10;
		return 1;
	}
	return 0;
}

int
consumer_settle(struct consumer *c, struct bunch *b, struct err *e)
{
	for (size_t i = 0; i < b->count; i++) {
		int rc = settle_one(c, b, &b->list[i], e);

		if (rc)
			return rc < 0 ? -1 : 0;
	}
	return 0;
}

/* Finds the copy with this tag. NULL: its bunch has been dropped. */
static struct held *
copy_find(struct consumer *c, uint64_t tag, struct bunch **out)
{
	for (struct bunch *b = c->settling; b; b = b->next)
		for (size_t i = 0; i < b->count; i++)
			if (b->list[i].sent && b->list[i].publish_tag == tag) {
				*out = b;
				return &b->list[i];
			}
	return NULL;
}

void
consumer_confirmed(void *arg, uint64_t tag, bool nacked)
{
	struct consumer *c = arg;
	struct bunch *b = NULL;
	struct held *h = copy_find(c, tag, &b);

	if (!h)
		return;
	h->sent = false;
	if (nacked || h->returned) {
		log_warn("a copy found no queue: it is tried again",
			LOG_S("consumer", c->handler->name),
			LOG_S("to", h->retry->publish.routing_key));
		c->again_ms = clock_mono_ms() + AGAIN_MS;
		c->declare_ms = 0;
		return;
	}
	if (broker_ack(c->broker, h->m->tag, false, NULL) == 0)
		mark_settled(c, b, h);
}

/*
 * A return comes before the confirm of the same copy, and names no tag. So it counts
 * for the oldest equal copy to that queue.
 */
void
consumer_returned(void *arg, const struct broker_message *m, int code, const char *why)
{
	struct consumer *c = arg;

	(void)code;
	(void)why;
	for (struct bunch *b = c->settling; b; b = b->next)
		for (size_t i = 0; i < b->count; i++) {
			struct held *h = &b->list[i];

			if (h->sent && !h->returned &&
				strcmp(h->retry->publish.routing_key, m->routing_key) == 0 &&
				h->m->length == m->length &&
				memcmp(h->m->body, m->body, m->length) == 0) {
				h->returned = true;
				return;
			}
		}
}
