/* SPDX-License-Identifier: MIT */
/*
 * Every key of every program. Parser, environment names, config/onboard.conf,
 * --print-config and the manual come from this table; after a change renew the
 * sample: build/debug/tests/prog/conf_sample >config/onboard.conf
 */
#include "base/conf.h"

const struct conf_key conf_keys[] = {
	{ "postgres", "url", CONF_URL_POSTGRES, "postgresql://onboard@127.0.0.1:5432/onboard",
		.help = "Where users, the outbox and the totals are.", .flags = CONF_SECRET },
	{ "rabbitmq", "url", CONF_URL_AMQP, "amqp://guest:guest@127.0.0.1:5672/%2f",
		.help = "The broker; of several URLs the first that answers. The path is the virtual host.",
		.flags = CONF_SECRET },
	{ "rabbitmq", "heartbeat", CONF_DURATION_MS, "5s", 1000, 10000,
		.help = "How soon a silent broker is noticed: after one and a half of it." },
	{ "mongo", "url", CONF_URL_MONGO, "mongodb://127.0.0.1:27017/onboard",
		.help = "Where events and user states are; the path is the database.",
		.flags = CONF_SECRET },
	{ "redis", "url", CONF_URL_REDIS, "redis://127.0.0.1:6379/0",
		.help = "The cache; the path is the database's number. rediss:// needs a hiredis with TLS.",
		.flags = CONF_SECRET },
	{ "smtp", "url", CONF_URL_SMTP, "smtp://127.0.0.1:1025", .help = "Where mail is handed in.",
		.flags = CONF_SECRET },
	{ "log", "level", CONF_ENUM, "info", .choices = "debug|info|warn|error",
		.help = "The least level that is written.", .flags = CONF_RELOAD },
	{ "log", "format", CONF_ENUM, "auto", .choices = "auto|text|json|journal",
		.help = "How lines look: auto is text on a terminal, the journal's own form where stderr is the "
			"journal, one JSON object a line otherwise." },
	{ "admin", "listen", CONF_LISTEN, NULL,
		.help = "Where the daemon answers /health, /ready and /metrics. Unset: 127.0.0.1 and the daemon's own "
			"port from 9101 on, instance N of a daemon 10 (N-1) higher." },
	{ "admin", "token", CONF_STRING, NULL,
		.help = "What a client that is not on loopback must send as a bearer token. Unset: the admin listener "
			"answers on loopback only.",
		.flags = CONF_SECRET },
	{ "topology", "consumers", CONF_STRING, "",
		.help = "The consumers whose queues are declared, with commas between; empty: all." },
	{ "topology", "check_every", CONF_DURATION_MS, "60s", 1000, 86400000,
		.help = "How often a daemon looks whether the topology is still whole." },
	{ 0 },
};
