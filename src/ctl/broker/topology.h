/* SPDX-License-Identifier: MIT */
/* The topology's faults, for `topology check`, `topology mend` and `doctor`. */
#pragma once

#include <stddef.h>

#include "ctl/kit/ctl.h"
#include "link/broker.h"

/* Tells each fault of the topology; counts those that want mending. */
int ctl_topology_check(struct ctl *c, struct broker *b, size_t *faults, struct err *e) MUST_CHECK;
/* How many exchanges and queues of the topology are missing. */
int ctl_topology_missing(struct ctl *c, struct broker *b, size_t *missing, struct err *e)
	MUST_CHECK;
