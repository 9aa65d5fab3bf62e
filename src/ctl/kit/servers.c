/* SPDX-License-Identifier: MIT */
#include "ctl/kit/servers.h"

#include "link/broker.h"
#include "link/sql.h"

struct broker *
ctl_broker(const struct ctl *c, struct err *e)
{
	struct broker *b =
		broker_new(&(struct broker_options){ .url = conf_string(c->conf, "rabbitmq", "url"),
				   .name = "onboardctl",
				   .call_ms = CTL_BROKER_MS },
			e);

	if (b && broker_connect(b, e)) {
		broker_free(b);
		return NULL;
	}
	return b;
}

struct sql *
ctl_sql(const struct ctl *c, struct err *e)
{
	return sql_open(&(struct sql_options){ .url = conf_string(c->conf, "postgres", "url"),
				.application = "onboardctl" },
		e);
}
