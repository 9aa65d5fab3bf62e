/* SPDX-License-Identifier: MIT */
/* topology declare | check | mend: the broker's exchanges, queues and bindings. */
#include "model/topology.h"

#include <stdio.h>
#include <string.h>

#include "ctl/broker/mend.h"
#include "ctl/broker/topology.h"
#include "ctl/kit/audit.h"
#include "ctl/kit/servers.h"
#include "ctl/verbs.h"

static void
on_fault(void *arg, enum topology_fault fault, const char *object, const char *text)
{
	const struct ctl *c = arg;

	(void)object;
	/* the text brings the way out */
	ctl_finding(c, fault == TOPOLOGY_AS_IS ? CTL_MARK_WARN : CTL_MARK_BAD, "topology", text,
		NULL);
}

int
ctl_topology_check(struct ctl *c, struct broker *b, size_t *faults, struct err *e)
{
	return topology_check(b, conf_string(c->conf, "topology", "consumers"), on_fault, c, faults,
		e);
}

static int
check(struct ctl *c, struct broker *b, struct err *e)
{
	size_t faults = 0;

	if (ctl_topology_check(c, b, &faults, e))
		return -1;
	if (faults == 0)
		ctl_finding(c, CTL_MARK_OK, "topology", "whole", NULL);
	return faults ? err_set(e, ERR_CONFLICT, "%zu faults", faults) : 0;
}

static void
missing_count(void *arg, enum topology_fault fault, const char *object, const char *text)
{
	(void)object;
	(void)text;
	*(size_t *)arg += fault == TOPOLOGY_MISSING;
}

int
ctl_topology_missing(struct ctl *c, struct broker *b, size_t *missing, struct err *e)
{
	*missing = 0;
	return topology_check(b, conf_string(c->conf, "topology", "consumers"), missing_count,
		missing, NULL, e);
}

static int
declare(struct ctl *c, struct broker *b, struct err *e)
{
	const char *consumers = conf_string(c->conf, "topology", "consumers");
	struct audit a = { .what = "topology declare", .fd = -1 };
	size_t missing = 0;
	char text[64] = "whole already";
	int rc;

	/* what changes nothing is nothing to write down */
	if (ctl_topology_missing(c, b, &missing, e) || (missing > 0 && audit_begin(c, &a, e)))
		return -1;
	rc = topology_declare(b, consumers, e);
	audit_end(&a, missing, rc ? e->text : "done");
	if (missing > 0)
		snprintf(text, sizeof text, "declared, %zu were missing", missing);
	if (rc == 0)
		ctl_finding(c, CTL_MARK_OK, "topology", text, NULL);
	return rc;
}

int
ctl_topology(struct ctl *c, int argc, char **argv)
{
	struct err e = ERR_INIT;
	struct broker *b;
	int rc;

	if (argc >= 2 && strcmp(argv[1], "mend") == 0) {
		if (topology_list_check(conf_string(c->conf, "topology", "consumers"), &e))
			return ctl_fail(c, CTL_CONF, "%s", e.text);
		return ctl_topology_mend(c, argc - 1, argv + 1);
	}
	if (argc != 2 || (strcmp(argv[1], "declare") != 0 && strcmp(argv[1], "check") != 0))
		return ctl_fail(c, CTL_USAGE, "want: topology declare | check | mend");
	if (topology_list_check(conf_string(c->conf, "topology", "consumers"), &e))
		return ctl_fail(c, CTL_CONF, "%s", e.text);
	b = ctl_broker(c, &e);
	if (!b)
		return ctl_fail_err(c, &e);
	rc = strcmp(argv[1], "declare") == 0 ? declare(c, b, &e) : check(c, b, &e);
	broker_free(b);
	return rc ? ctl_fail_err(c, &e) : CTL_DONE;
}
