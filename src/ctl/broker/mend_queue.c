/* SPDX-License-Identifier: MIT */
/*
 * A queue whose arguments differ is replaced and keeps its messages. QUEUE.mend
 * holds them meanwhile:
 *
 *	make QUEUE.mend, bound as QUEUE is; unbind QUEUE
 *	move QUEUE into QUEUE.mend; delete QUEUE
 *	declare QUEUE, bind it; unbind QUEUE.mend
 *	move QUEUE.mend into QUEUE; delete QUEUE.mend
 *
 * Each step may be done again, and the broker shows which steps are done. So when
 * a mend is killed, the next one continues. One of the two queues is always bound.
 * For a moment both are: an event may be in both, and consumers know the second
 * copy as a duplicate.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "ctl/broker/look.h"
#include "ctl/broker/mend.h"
#include "ctl/broker/move.h"

#define RETRIES_WAIT_MS 20000 /* the longest retry queue waits four seconds */
#define GONE_MS 10000         /* until the broker has noticed that a connection is gone */

/* Binds or unbinds the queue `as` with every binding of `queue`. */
static int
bindings_set(struct mend *m, const char *queue, const char *as, bool bind, struct err *e)
{
	for (size_t i = 0; i < m->count; i++) {
		const struct topology_object *o = &m->list[i];

		if (o->step != STEP_BINDING || strcmp(o->name, queue) != 0)
			continue;
		if (bind ? broker_queue_bind(m->b, as, o->exchange, o->key, e)
			 : broker_queue_unbind(m->b, as, o->exchange, o->key, e))
			return -1;
	}
	return 0;
}

static int
queue_move(struct mend *m, const char *from, const char *to, struct err *e)
{
	struct progress p;
	uint64_t moved = 0;
	uint32_t depth;
	int rc;

	if (look_depth(m->b, from, &depth, NULL, e))
		return -1;
	progress_begin(&p, from, depth);
	rc = mover_run(m->mover, from, to, &moved, &p, e);
	progress_end(&p);
	return rc;
}

/* Waits, and keeps the lock's connection alive. */
static int
wait_ms(struct mend *m, int ms, struct err *e)
{
	return broker_pump(m->b, ms, e) || broker_pump(m->lock.b, 0, e) ? -1 : 0;
}

/*
 * Refuses while somebody consumes: a consumer holds messages that would be lost
 * with the queue. patience_ms: the broker notices late that an earlier mend was killed.
 */
static int
consumers_check(struct mend *m, const char *queue, int64_t patience_ms, struct err *e)
{
	int64_t until = clock_mono_ms() + patience_ms;
	const struct consumer_row *t = look_owner(queue);
	const char *watched = t ? t->queue : queue;
	struct err why = ERR_INIT;
	uint32_t depth, consumers;

	for (;;) {
		consumers = 0; /* also of a queue that has gone meanwhile */
		if (look_depth_sure(m->b, watched, &depth, &consumers, &why) &&
			why.kind != ERR_MISSING)
			return err_set(e, why.kind, "%s", why.text);
		if (consumers == 0 || m->force)
			return 0;
		if (clock_mono_ms() >= until)
			break;
		if (wait_ms(m, 100, e))
			return -1;
	}
	if (t)
		return err_set(e, ERR_CONFLICT,
			"%" PRIu32 " consume from %s: `onboardctl pause %s` first, then mend, then "
			"`onboardctl resume %s`",
			consumers, watched, t->name, t->name);
	return err_set(e, ERR_CONFLICT, "%" PRIu32 " consume from %s: stop them first", consumers,
		watched);
}

/* Waits until its retry queues are empty: they return messages to this queue, which goes next. */
static int
retries_wait(struct mend *m, const char *queue, struct err *e)
{
	const struct consumer_row *t = look_owner(queue);
	int64_t end = clock_mono_ms() + RETRIES_WAIT_MS;
	char name[256];

	if (!t || strcmp(t->queue, queue) != 0)
		return 0;
	for (unsigned n = 1; n <= TOPOLOGY_RETRIES; n++) {
		uint32_t depth = 1;
		bool there;

		topology_retry_name(queue, n, name);
		while (depth > 0) {
			if (look_there(m->b, name, &there, &depth, NULL, e))
				return -1;
			if (depth > 0 && clock_mono_ms() > end)
				return err_set(e, ERR_CONFLICT,
					"%s does not run empty: is it one of RabbitMQ's own making?",
					name);
			if (depth > 0 && wait_ms(m, 200, e))
				return -1;
		}
	}
	return 0;
}

static int
temporary_make(struct mend *m, const char *name, struct err *e)
{
	const struct broker_field args[] = { { "x-queue-type", broker_text("quorum") },
		{ "x-delivery-limit", broker_int(-1) } };

	return broker_queue_declare(m->b,
		&(struct broker_queue){ .name = name,
			.durable = true,
			.args = args,
			.arg_count = broker_server_at_least(m->b, 4, 0) ? 2 : 1 },
		NULL, e);
}

/* Moves QUEUE's messages into QUEUE.mend and deletes QUEUE. */
static int
queue_clear(struct mend *m, const struct topology_object *o, const char *temporary, struct err *e)
{
	uint32_t lost = 0;

	if (temporary_make(m, temporary, e) || bindings_set(m, o->name, temporary, true, e) ||
		bindings_set(m, o->name, o->name, false, e) || retries_wait(m, o->name, e) ||
		queue_move(m, o->name, temporary, e) || consumers_check(m, o->name, GONE_MS, e) ||
		broker_queue_delete(m->b, o->name, &lost, e))
		return -1;
	if (lost > 0)
		return err_set(e, ERR_INTERNAL,
			"%" PRIu32 " messages came into %s while it was deleted and went with it",
			lost, o->name);
	return 0;
}

/* Declares QUEUE as it should be and moves QUEUE.mend's messages into it. */
static int
queue_restore(struct mend *m, const struct topology_object *o, const char *temporary, struct err *e)
{
	if (topology_declare_object(m->b, o, false, e) ||
		bindings_set(m, o->name, o->name, true, e) ||
		bindings_set(m, o->name, temporary, false, e) ||
		queue_move(m, temporary, o->name, e))
		return -1;
	return broker_queue_delete(m->b, temporary, NULL, e);
}

static void
plan_tell(struct mend *m, const struct topology_object *o, const char *text, uint32_t waiting,
	bool leftover)
{
	char line[700];

	if (leftover)
		snprintf(line, sizeof line,
			"%s%s: %" PRIu32 " messages that an earlier mend left in %s.mend go back",
			m->dry ? "would mend " : "", o->name, waiting, o->name);
	else
		snprintf(line, sizeof line, "%s%.400s; %" PRIu32 " messages are kept",
			m->dry ? "would mend: " : "", text, waiting);
	ctl_finding(m->c, CTL_MARK_WARN, "mend", line, NULL);
}

int
mend_queue(struct mend *m, const struct topology_object *o, struct err *e)
{
	char temporary[256], done[300];
	struct err why = ERR_INIT;
	uint32_t depth, left;
	bool there, leftover, differs;

	snprintf(temporary, sizeof temporary, "%.240s.mend", o->name);
	if (look_there(m->b, o->name, &there, &depth, NULL, e) ||
		look_there(m->b, temporary, &leftover, &left, NULL, e))
		return -1;
	differs = there && topology_declare_object(m->b, o, false, &why);
	if (differs && why.kind != ERR_CONFLICT)
		return err_set(e, why.kind, "%s", why.text);
	/* user.dlq may be as somebody has made it, unless it is named */
	if (!leftover && (!differs || (o->as_is && m->name_count == 0)))
		return 0;
	m->wanted++;
	plan_tell(m, o, why.text, leftover ? left + (differs ? depth : 0) : depth,
		leftover && !differs);
	if (m->dry)
		return consumers_check(m, o->name, 0, e);
	if (m->audit.fd < 0 &&
		audit_begin_on(m->c, &m->audit,
			(const char *const[]){ "force", m->force ? "yes" : NULL, "first", o->name,
				NULL },
			e))
		return -1;
	if (differs &&
		(consumers_check(m, o->name, leftover ? GONE_MS : 0, e) ||
			queue_clear(m, o, temporary, e)))
		return -1;
	if (queue_restore(m, o, temporary, e))
		return -1;
	snprintf(done, sizeof done, "%s is as it should be", o->name);
	ctl_finding(m->c, CTL_MARK_OK, "mend", done, NULL);
	m->mended++;
	return 0;
}
