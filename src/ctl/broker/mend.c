/* SPDX-License-Identifier: MIT */
#include "ctl/broker/mend.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "ctl/broker/move.h"
#include "ctl/broker/topology.h"
#include "ctl/kit/options.h"
#include "ctl/kit/servers.h"

#define ARENA_MAX (4u << 20)
#define OBJECTS_MAX 1200
#define AGAIN_MS 60000 /* how long a broker may be away in the middle */
#define TRIES_MAX 200

static int
object_collect(struct broker *b, const struct topology_object *o, void *arg, struct err *e)
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

static bool
is_wanted(const struct mend *m, const char *queue)
{
	for (size_t i = 0; i < m->name_count; i++)
		if (strcmp(m->names[i], queue) == 0)
			return true;
	return m->name_count == 0;
}

static int
queues_mend(struct mend *m, struct err *e)
{
	bool found = false;

	m->count = m->wanted = 0;
	if (topology_each(m->b, conf_string(m->c->conf, "topology", "consumers"), object_collect, m,
		    e))
		return -1;
	/* retry queues first: their messages then run into a queue that is not deleted any more */
	for (int round = 0; round < 2; round++)
		for (size_t i = 0; i < m->count; i++) {
			const struct topology_object *o = &m->list[i];
			bool retry = strstr(o->name, ".retry.") != NULL;

			if (o->step != STEP_QUEUE || retry != (round == 0) ||
				!is_wanted(m, o->name))
				continue;
			found = true;
			if (mend_queue(m, o, e))
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

/* Waits for a broker that goes away in the middle: each step may be done again. */
static int
mend_persistently(struct mend *m, struct err *e)
{
	int64_t gone_ms = clock_mono_ms();
	bool began = false;
	int rc;

	for (int tries = 1;; tries++) {
		*e = ERR_INIT;
		rc = connect_both(m, e);
		if (rc == 0) {
			began = true;
			rc = queues_mend(m, e);
			gone_ms = clock_mono_ms();
		}
		if (rc == 0 || e->kind != ERR_AWAY || !began || tries == TRIES_MAX ||
			clock_mono_ms() - gone_ms > AGAIN_MS)
			return rc;
		usleep(500 * 1000); /* nothing to wait for: a broker that is away says nothing */
	}
}

/* Declares the missing objects too; that is a change as well, so the audit log has it. */
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
	const struct ctl_option options[] = { { "--dry-run", .flag = &m.dry },
		{ "--force", .flag = &m.force }, { "--no-wait", .flag = &m.lock.o.no_wait },
		{ "--why", .text = &m.audit.why }, { 0 } };
	int rc, words = options_take(c, options, INT_MAX, argc, argv);

	if (words < 0)
		return CTL_USAGE;
	m.names = argv + 1;
	m.name_count = (size_t)words;
	m.mem = arena_new(1 << 16, ARENA_MAX);
	m.list = must_calloc(OBJECTS_MAX, sizeof *m.list);
	rc = mend_persistently(&m, &e);
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
