/* SPDX-License-Identifier: MIT */
/*
 * The topology by itself:  topology declare|check [CONSUMERS]
 * On ONBOARD_RABBITMQ_URL. check prints one line a fault: its kind, the object,
 * the text. 0: done; 1: the error is on stderr. With 0 faults check prints nothing.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/topology.h"

static void
tell(void *arg, enum topology_fault fault, const char *object, const char *text)
{
	static const char *const names[] = { "missing", "differs", "as-is", "unknown" };
	size_t *told = arg;

	*told += fault != TOPOLOGY_AS_IS;
	printf("%s %s %s\n", names[fault], object, text);
}

int
main(int argc, char **argv)
{
	const char *only = argc > 2 ? argv[2] : NULL;
	struct broker *b;
	struct err e = ERR_INIT;
	size_t faults = 0, told = 0;
	int rc = -1;

	must(argc > 1);
	signal(SIGPIPE, SIG_IGN);
	b = broker_new(&(struct broker_options){ .url = getenv("ONBOARD_RABBITMQ_URL") }, &e);
	if (b && broker_connect(b, &e) == 0)
		rc = strcmp(argv[1], "check") == 0
			? topology_check(b, only, tell, &told, &faults, &e)
			: topology_declare(b, only, &e);
	must(rc || faults == told);
	if (rc)
		fprintf(stderr, "%s: %s\n", err_kind_name(e.kind), e.text);
	broker_free(b);
	return rc ? 1 : 0;
}
