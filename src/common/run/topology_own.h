/* SPDX-License-Identifier: MIT */
/* What topology.c and topology_file.c share; nobody else includes it. */
#pragma once

#include "run/topology.h"

#define TOPOLOGY_ARGS_MAX 8

enum topology_step { STEP_EXCHANGE, STEP_QUEUE, STEP_BINDING };

/* One thing to declare; of a file or of topology.c's tables, in an order that works. */
struct topology_object {
	enum topology_step step;
	const char *name;           /* of a binding: the queue */
	const char *exchange, *key; /* of a binding */
	const char *type;           /* of an exchange: "topic" */
	struct broker_field args[TOPOLOGY_ARGS_MAX];
	size_t arg_count;
	bool as_is;
};

/* Those of the file, in its order; NULL and 0 before topology_file_load. */
extern const struct topology_object *topology_extra;
extern size_t topology_extra_count;
