/* SPDX-License-Identifier: MIT */
/*
 * The connection to the broker, and the lock: an exclusive queue, so that it ends
 * with its holder's connection. A second queue tells others who holds it.
 */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "ctl/dlq/dlq.h"
#include "ctl/kit/operator.h"
#include "ctl/kit/servers.h"

#define LOCK "onboardctl.dlq.lock"
#define HOLDER "onboardctl.dlq.holder"
#define HOLDER_EXPIRES_MS 3600000
#define LOCK_WAIT_MS 3600000
#define LOCK_EVERY_MS 200

static void
dlq_deliver(void *arg, const struct broker_message *m)
{
	struct dlq *d = arg;
	struct dlq_reader *r = d->reader;

	if (r)
		r->held++;
	/* messages after the end, or after a fault, return with the channel */
	if (!r || r->failed || r->stop || r->seen == r->total)
		return;
	r->seen++;
	arena_reset(d->mem);
	if (r->message(r->arg, m, &r->error))
		r->failed = true;
}

static void
dlq_confirmed(void *arg, uint64_t tag, bool nacked)
{
	const struct dlq *d = arg;

	if (d->reader && d->reader->confirmed)
		d->reader->confirmed(d->reader->arg, tag, nacked);
}

static void
dlq_returned(void *arg, const struct broker_message *m, int code, const char *why)
{
	const struct dlq *d = arg;

	if (d->reader && d->reader->returned)
		d->reader->returned(d->reader->arg, m, code, why);
}

static const struct broker_events events = { .deliver = dlq_deliver,
	.confirmed = dlq_confirmed,
	.returned = dlq_returned };

static int
holder_queue(struct dlq *d, struct err *e)
{
	const struct broker_field args[] = { { "x-max-length", broker_int(1) },
		{ "x-expires", broker_int(HOLDER_EXPIRES_MS) } };
	const struct broker_queue q = { .name = HOLDER,
		.durable = true,
		.args = args,
		.arg_count = ARRAY_LEN(args) };

	return broker_queue_declare(d->b, &q, NULL, e);
}

/* Tells others who holds the lock. The lock holds even if this fails. */
static void
holder_tell(struct dlq *d)
{
	char when[CLOCK_RFC3339_SIZE], who[OPERATOR_SIZE], text[300];

	if (holder_queue(d, NULL))
		return;
	clock_format_rfc3339(clock_wall_us(), when);
	snprintf(text, sizeof text, "%.100s, process %d, `%s%s`, since %s", operator_at_host(who),
		(int)getpid(), strchr(d->what, ' ') ? "" : "dlq ", d->what, when);
	if (broker_publish(d->b,
		    &(struct broker_publish){ .exchange = "",
			    .routing_key = HOLDER,
			    .body = text,
			    .length = strlen(text) },
		    NULL, NULL) == 0)
		(void)!broker_settle(d->b, 2000, NULL);
}

static void
holder_ask(struct dlq *d, struct buf *out)
{
	struct broker_message *m = NULL;

	arena_reset(d->mem);
	if (broker_queue_declare(d->b, &(struct broker_queue){ .name = HOLDER, .passive = true },
		    NULL, NULL) == 0 &&
		broker_get(d->b, HOLDER, d->mem, &m, NULL) == 0 && m) {
		size_t start = out->length;

		(void)!broker_nack(d->b, m->tag, false, true, NULL);
		buf_add(out, m->body, m->length < 200 ? m->length : 200);
		for (size_t i = start; i < out->length; i++)
			if ((uint8_t)out->data[i] < 0x20 || (uint8_t)out->data[i] > 0x7e)
				out->data[i] = '?';
	} else {
		buf_add_text(out, "another onboardctl");
	}
}

/* 1: another connection has the lock. */
static int
lock_try(struct dlq *d, struct err *e)
{
	const struct broker_queue q = { .name = LOCK, .exclusive = true, .auto_delete = true };
	struct err why = ERR_INIT;

	if (broker_queue_declare(d->b, &q, NULL, &why) == 0)
		return 0;
	if (why.kind == ERR_CONFLICT && strstr(why.text, "RESOURCE_LOCKED"))
		return 1;
	return err_set(e, why.kind, "the lock (queue %s) was refused: %s", LOCK, why.text);
}

static int
lock_take(struct dlq *d, struct err *e)
{
	int64_t until = clock_mono_ms() + LOCK_WAIT_MS;
	bool told = false;
	struct buf who;
	int rc;

	buf_init(&who, 1000);
	while ((rc = lock_try(d, e)) == 1) {
		if (!told)
			holder_ask(d, &who);
		if (d->o.no_wait || clock_mono_ms() > until) {
			rc = err_set(e, ERR_CONFLICT, "the DLQ is in use by %s%s", buf_text(&who),
				strcmp(d->what, "trace") == 0
					? ""
					: "; without --no-wait this command waits");
			break;
		}
		if (!told)
			fprintf(stderr, "onboardctl: waiting, the DLQ is in use by %s\n",
				buf_text(&who));
		told = true;
		if (broker_pump(d->b, LOCK_EVERY_MS, e)) {
			rc = -1;
			break;
		}
	}
	buf_fini(&who);
	if (rc == 0) {
		d->locked = true;
		holder_tell(d);
	}
	return rc;
}

int
dlq_connect(struct dlq *d, struct err *e)
{
	if (!d->mem)
		d->mem = arena_new(1 << 16, 1u << 30);
	if (!d->b)
		d->b = broker_new(&(struct broker_options){ .url = conf_string(d->ctl->conf,
								    "rabbitmq", "url"),
					  .name = "onboardctl dlq",
					  .call_ms = CTL_BROKER_MS,
					  .events = &events,
					  .arg = d },
			e);
	if (!d->b || broker_connect(d->b, e))
		return -1;
	return lock_take(d, e);
}

void
dlq_disconnect(struct dlq *d)
{
	if (d->b && d->locked && broker_fd(d->b) >= 0)
		(void)!broker_queue_delete(d->b, HOLDER, NULL, NULL);
	d->locked = false;
	broker_free(d->b);
	d->b = NULL;
	arena_free(d->mem);
	d->mem = NULL;
}
