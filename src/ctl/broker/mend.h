/* SPDX-License-Identifier: MIT */
/* topology mend: mend.c has the verb and the order of the queues, mend_queue.c mends one. */
#pragma once

#include "base/arena.h"
#include "ctl/dlq/dlq.h"
#include "ctl/kit/audit.h"
#include "ctl/kit/ctl.h"
#include "link/broker.h"
#include "model/topology.h"

struct mover;

struct mend {
	struct ctl *c;
	struct arena *mem;
	struct broker *b;
	struct mover *mover;
	struct topology_object *list;
	size_t count, wanted, mended;
	char *const *names; /* of the command line: only these queues */
	size_t name_count;
	bool dry, force;
	struct dlq lock; /* held throughout: no replay may publish into a queue that is deleted */
	struct audit audit;
};

/* Mends the queue if its arguments differ, or if an earlier mend left messages. */
int mend_queue(struct mend *m, const struct topology_object *o, struct err *e) MUST_CHECK;

/* argv[0] is "mend". */
int ctl_topology_mend(struct ctl *c, int argc, char **argv);
