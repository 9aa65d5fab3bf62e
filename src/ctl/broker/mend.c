/* SPDX-License-Identifier: MIT */
/*
 * topology mend: a queue whose arguments differ is replaced, and keeps its
 * messages. QUEUE.mend takes their place meanwhile:
 *
 *	make QUEUE.mend, bound as QUEUE is; unbind QUEUE
 *	move QUEUE into QUEUE.mend; delete QUEUE
 *	declare QUEUE, bind it; unbind QUEUE.mend
 *	move QUEUE.mend into QUEUE; delete QUEUE.mend
 *
 * Each step is harmless when done again, and which are done can be seen in the
 * broker: so killed anywhere, the next run goes on. At any moment one of the two
 * is bound. For a moment both are, and then an event is in both: consumers take
 * the second for what it is.
 */
#include "ctl/broker/mend.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl/kit/audit.h"
#include "base/clock.h"
#include "ctl/dlq/dlq.h"
#include "ctl/broker/move.h"
#include "ctl/broker/ops.h"
#include "ctl/kit/progress.h"

#define ARENA_MAX (4u << 20)
#define OBJECTS_MAX 1200
#define RETRIES_WAIT_MS 20000 /* the longest retry queue waits four seconds */
#define GONE_MS 10000         /* until the broker has noticed that a connection is gone */
#define AGAIN_MS 60000        /* so long a broker may be away in the middle */
#define TRIES_MAX 200

struct mend {
	struct ctl *c;
	struct arena *mem;
	struct broker *b;
	struct mover *mover;
	struct topology_object *list;
	size_t count, wanted, mended;
	char *const *names; /* of the command line: only these */
	size_t name_count;
	bool dry, force;
	struct dlq lock; /* held throughout: no replay puts a message into a queue that goes */
	struct audit audit;
};

static int
collect(struct broker *b, const struct topology_object *o, void *arg, struct err *e)
{
	struct mend *m = arg;
	struct topology_object *copy = &m->list[m->count];

	(void)b;
	if (m->count == OBJECTS_MAX)
		return err_set(e, ERR_LIMIT, "over %d objects", OBJECTS_MAX);
	*copy = *o;
	copy->name = arena_strdup(m->mem, o->name);
	must(copy->name);
	m->count++;
	return 0;
}

/* Of its bindings, each; bound or unbound. */
static int
bindings(struct mend *m, const char *queue, const char *as, bool bind, struct err *e)
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
is_there(struct mend *m, const char *queue, bool *there, uint32_t *depth, struct err *e)
{
	struct err why = ERR_INIT;

	*depth = 0;
	*there = look_depth(m->b, queue, depth, NULL, &why) == 0;
	return *there || why.kind == ERR_MISSING ? 0 : err_set(e, why.kind, "%s", why.text);
}

static int
move(struct mend *m, const char *from, const char *to, struct err *e)
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

/* The consumer that takes from this queue, or fills it as its retry queue. */
static const struct consumer_row *
owner(const char *queue)
{
	const struct consumer_row *found = NULL;

	for (const struct consumer_row *t = consumer_rows; t->name; t++) {
		size_t n = strlen(t->queue);

		if (strncmp(queue, t->queue, n) == 0 &&
			(!queue[n] || strncmp(queue + n, ".retry.", 7) == 0))
			found = t;
	}
	return found;
}

/* What is waited for is looked at again then; the lock's connection lives on meanwhile. */
static int
wait_ms(struct mend *m, int ms, struct err *e)
{
	return broker_pump(m->b, ms, e) || broker_pump(m->lock.b, 0, e) ? -1 : 0;
}

/*
 * Whoever consumes holds messages that are in no queue, and would lose them with
 * it. patience_ms: for a mend that was just killed, of which the broker knows late.
 */
static int
alone(struct mend *m, const char *queue, int64_t patience_ms, struct err *e)
{
	int64_t until = clock_mono_ms() + patience_ms;
	const struct consumer_row *t = owner(queue);
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

/* What waits in its retry queues comes back to it: not into a queue that is just being deleted. */
static int
retries_wait(struct mend *m, const char *queue, struct err *e)
{
	const struct consumer_row *t = owner(queue);
	int64_t end = clock_mono_ms() + RETRIES_WAIT_MS;
	char name[256];

	if (!t || strcmp(t->queue, queue) != 0)
		return 0;
	for (unsigned n = 1; n <= TOPOLOGY_RETRIES; n++) {
		uint32_t depth = 1;
		bool there;

		topology_retry_name(queue, n, name);
		while (depth > 0) {
			if (is_there(m, name, &there, &depth, e))
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

/* QUEUE's messages into QUEUE.mend, and the queue away. */
static int
clear_away(struct mend *m, const struct topology_object *o, const char *temporary, struct err *e)
{
	uint32_t lost = 0;

	if (temporary_make(m, temporary, e) || bindings(m, o->name, temporary, true, e) ||
		bindings(m, o->name, o->name, false, e) || retries_wait(m, o->name, e) ||
		move(m, o->name, temporary, e) || alone(m, o->name, GONE_MS, e) ||
		broker_queue_delete(m->b, o->name, &lost, e))
		return -1;
	if (lost > 0)
		return err_set(e, ERR_INTERNAL,
			"%" PRIu32 " messages came into %s while it was deleted and went with it",
			lost, o->name);
	return 0;
}

/* The queue as it should be, with what QUEUE.mend holds. */
static int
put_back(struct mend *m, const struct topology_object *o, const char *temporary, struct err *e)
{
	if (topology_declare_object(m->b, o, false, e) || bindings(m, o->name, o->name, true, e) ||
		bindings(m, o->name, temporary, false, e) || move(m, temporary, o->name, e))
		return -1;
	return broker_queue_delete(m->b, temporary, NULL, e);
}

static void
tell(struct mend *m, const struct topology_object *o, const char *text, uint32_t waiting,
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

static int
mend_one(struct mend *m, const struct topology_object *o, struct err *e)
{
	char temporary[256], done[300];
	struct err why = ERR_INIT;
	uint32_t depth, left;
	bool there, leftover, differs;

	snprintf(temporary, sizeof temporary, "%.240s.mend", o->name);
	if (is_there(m, o->name, &there, &depth, e) || is_there(m, temporary, &leftover, &left, e))
		return -1;
	differs = there && topology_declare_object(m->b, o, false, &why);
	if (differs && why.kind != ERR_CONFLICT)
		return err_set(e, why.kind, "%s", why.text);
	/* user.dlq may be as somebody has made it, unless it is named */
	if (!leftover && (!differs || (o->as_is && m->name_count == 0)))
		return 0;
	m->wanted++;
	tell(m, o, why.text, leftover ? left + (differs ? depth : 0) : depth, leftover && !differs);
	if (m->dry)
		return alone(m, o->name, 0, e);
	if (m->audit.fd < 0 &&
		audit_begin_on(m->c, &m->audit,
			(const char *const[]){ "force", m->force ? "yes" : NULL, "first", o->name,
				NULL },
			e))
		return -1;
	if (differs &&
		(alone(m, o->name, leftover ? GONE_MS : 0, e) || clear_away(m, o, temporary, e)))
		return -1;
	if (put_back(m, o, temporary, e))
		return -1;
	snprintf(done, sizeof done, "%s is as it should be", o->name);
	ctl_finding(m->c, CTL_MARK_OK, "mend", done, NULL);
	m->mended++;
	return 0;
}

static bool
named(const struct mend *m, const char *queue)
{
	for (size_t i = 0; i < m->name_count; i++)
		if (strcmp(m->names[i], queue) == 0)
			return true;
	return m->name_count == 0;
}

static int
all(struct mend *m, struct err *e)
{
	bool found = false;

	m->count = m->wanted = 0;
	if (topology_each(m->b, conf_string(m->c->conf, "topology", "consumers"), collect, m, e))
		return -1;
	/* retry queues first: what they hold then runs into a queue that stays */
	for (int round = 0; round < 2; round++)
		for (size_t i = 0; i < m->count; i++) {
			const struct topology_object *o = &m->list[i];
			bool retry = strstr(o->name, ".retry.") != NULL;

			if (o->step != STEP_QUEUE || retry != (round == 0) || !named(m, o->name))
				continue;
			found = true;
			if (mend_one(m, o, e))
				return -1;
		}
	if (!found)
		return err_set(e, ERR_MISSING, "the topology has no queue of that name");
	return 0;
}

static int
connect_both(struct mend *m, struct err *e)
{
	broker_free(m->b);
	mover_close(m->mover);
	m->mover = NULL;
	dlq_disconnect(&m->lock);
	m->b = ctl_broker(m->c, e);
	if (!m->b || (!m->dry && dlq_connect(&m->lock, e)))
		return -1;
	m->mover = mover_open(m->c->conf, e);
	if (!m->mover)
		return -1;
	mover_beside(m->mover, m->b, m->lock.b);
	m->lock.o.no_wait = false; /* a restart of the broker is no reason to give up */
	return 0;
}

/* A broker that goes away in the middle is waited for: each step may be done again. */
static int
persist(struct mend *m, struct err *e)
{
	int64_t gone_ms = clock_mono_ms();
	bool began = false;
	int rc;

	for (int tries = 1;; tries++) {
		*e = ERR_INIT;
		rc = connect_both(m, e);
		if (rc == 0) {
			began = true;
			rc = all(m, e);
			gone_ms = clock_mono_ms();
		}
		if (rc == 0 || e->kind != ERR_AWAY || !began || tries == TRIES_MAX ||
			clock_mono_ms() - gone_ms > AGAIN_MS)
			return rc;
		usleep(500 * 1000); /* nothing to wait for: a broker that is away says nothing */
	}
}

/* What is missing is made as well, and is a change as mending is. */
static int
declare_missing(struct mend *m, struct err *e)
{
	size_t missing;

	if (ctl_topology_missing(m->c, m->b, &missing, e) ||
		(missing > 0 && m->audit.fd < 0 && audit_begin(m->c, &m->audit, e)))
		return -1;
	return topology_declare(m->b, conf_string(m->c->conf, "topology", "consumers"), e);
}

int
ctl_topology_mend(struct ctl *c, int argc, char **argv)
{
	struct mend m = { .c = c,
		.lock = { .ctl = c, .what = "topology mend" },
		.audit = { .what = "topology mend", .fd = -1 } };
	struct err e = ERR_INIT;
	int rc, o, kept = 0;

	for (int i = 0; i < argc; i++)
		if (strcmp(argv[i], "--dry-run") == 0)
			m.dry = true;
		else if (strcmp(argv[i], "--force") == 0)
			m.force = true;
		else if (strcmp(argv[i], "--no-wait") == 0)
			m.lock.o.no_wait = true;
		else if ((o = ops_option(c, argc, argv, &i, "--why", &m.audit.why)) < 0)
			return CTL_USAGE;
		else if (o == 0 && argv[i][0] == '-')
			return ctl_fail(c, CTL_USAGE, "what is \"%s\"?", argv[i]);
		else if (o == 0)
			argv[kept++] = argv[i];
	m.names = argv;
	m.name_count = (size_t)kept;
	m.mem = arena_new(1 << 16, ARENA_MAX);
	m.list = must_calloc(OBJECTS_MAX, sizeof *m.list);
	rc = persist(&m, &e);
	if (rc == 0 && !m.dry)
		rc = declare_missing(&m, &e);
	audit_end(&m.audit, m.mended, rc ? e.text : "done");
	if (rc == 0 && m.wanted == 0 && m.mended == 0)
		ctl_finding(c, CTL_MARK_OK, "mend", "nothing to mend", NULL);
	broker_free(m.b);
	mover_close(m.mover);
	dlq_disconnect(&m.lock);
	free(m.list);
	arena_free(m.mem);
	return rc ? ctl_fail_err(c, &e) : CTL_DONE;
}
