/* SPDX-License-Identifier: MIT */
#include "run/service.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/must.h"
#include "model/databases.h"
#include "model/topology.h"
#include "run/daemon.h"
#include "run/outbox.h"
#include "run/outbox_sweep.h"
#include "run/publisher.h"
#include "run/schema.h"

#define DRAIN_PUBLISH_MS 4000
#define DRAIN_OUTBOX_MS 2000
#define DESCRIPTORS_BESIDE 64 /* servers, timers, log, admin */
#define QUEUE_MAX 1024        /* calls that wait for one connection */

struct service {
	const struct service_def *def;
	struct daemon *daemon;
	void *state; /* the program's */
	struct http *http;
	struct schema_check *schema;
	struct sql_pool *pools[SERVICE_POOLS_MAX];
	size_t pool_count;
	int owner; /* this process' number in the outbox */
	struct outbox *outbox;
	struct publisher *publisher;
};

/* A program is one service. The daemon's start knows only the definition, and gate and open know
   only the program's state, since that is what handlers get. */
static const struct service_def *program;
static struct service *running;
static char program_name[64]; /* "onboard-NAME" */

struct daemon *
service_daemon(struct service *s)
{
	return s->daemon;
}

struct sql_pool *
service_pool(struct service *s, size_t i)
{
	must(i < s->pool_count);
	return s->pools[i];
}

struct publisher *
service_publisher(struct service *s)
{
	must(s->publisher);
	return s->publisher;
}

static const char *
database_url(const struct service *s, const struct conf *c)
{
	const struct database *d = database_find(s->def->database);

	must(d);
	return conf_string(c, d->section, d->key);
}

/* The kernel bounds connections: past that they wait there, and nothing here grows. */
static void
descriptors_bound(const char *name, int64_t connections)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r))
		return;
	r.rlim_cur = (rlim_t)connections + DESCRIPTORS_BESIDE;
	if (r.rlim_cur > r.rlim_max) {
		log_warn("fewer connections than configured: raise the limit of open files",
			LOG_S("service", name),
			LOG_I("connections", (int64_t)r.rlim_max - DESCRIPTORS_BESIDE));
		r.rlim_cur = r.rlim_max;
	}
	(void)setrlimit(RLIMIT_NOFILE, &r);
}

static int
pools_open(struct service *s, const struct conf *c, struct err *e)
{
	char owner[OUTBOX_OWNER_SETTING_SIZE];
	struct sql_options o = { .url = database_url(s, c),
		.application = program_name,
		.settings = s->def->publishes ? owner : NULL,
		.queue_max = QUEUE_MAX };

	s->owner = outbox_owner_new();
	outbox_owner_setting(s->owner, owner);
	for (const struct service_pool *p = s->def->pools; p->link_name; p++) {
		size_t count = p->key ? (size_t)conf_int(c, s->def->name, p->key) : 1;

		must(s->pool_count < SERVICE_POOLS_MAX);
		o.link_name = p->link_name;
		o.want = p->want;
		o.query_ms = p->query_ms;
		s->pools[s->pool_count] =
			sql_pool_open(loop_base(daemon_loop(s->daemon)), &o, count, e);
		if (!s->pools[s->pool_count])
			return -1;
		s->pool_count++;
	}
	daemon_depends(s->daemon, sql_pool_link(s->pools[0]), true);
	s->schema = schema_check_start(s->daemon, s->def->database);
	return 0;
}

static int
publishing_start(struct service *s, const struct conf *c, struct err *e)
{
	char name[sizeof program_name + 8];

	snprintf(name, sizeof name, "%s outbox", program_name);
	if (topology_file_load(conf_string(c, "topology", "file"), e))
		return -1;
	s->outbox = outbox_new(&(struct outbox_options){ .url = database_url(s, c),
				       .name = name,
				       .owner = s->owner,
				       .sweep_after_ms = conf_int(c, "outbox", "sweep_after"),
				       .retention_days = conf_int(c, "outbox", "retention") },
		e);
	if (!s->outbox)
		return -1;
	s->publisher = publisher_start(
		&(struct publisher_options){ .url = conf_string(c, "rabbitmq", "url"),
			.name = program_name,
			.heartbeat_s = (unsigned)(conf_int(c, "rabbitmq", "heartbeat") / 1000),
			.consumers = conf_string(c, "topology", "consumers"),
			.check_every_ms = conf_int(c, "topology", "check_every"),
			.done = outbox_done,
			.arg = s->outbox },
		e);
	if (!s->publisher)
		return -1;
	outbox_start(s->outbox, s->publisher);
	daemon_depends(s->daemon, publisher_link(s->publisher), false);
	daemon_metrics(s->daemon, publisher_metrics(s->publisher));
	daemon_metrics(s->daemon, outbox_metrics(s->outbox));
	return 0;
}

/* The database has its tables, as far as the outbox tells. */
static bool
tables_there(const struct service *s)
{
	return !s->outbox || outbox_ready(s->outbox);
}

static bool
pools_usable(const struct service *s)
{
	for (size_t i = 0; i < s->pool_count; i++)
		if (!sql_pool_usable(s->pools[i]))
			return false;
	return true;
}

/* Each pool: a first sign-up may ask any of them, and a restart is no reason for a 503. */
static bool
open_for_clients(void *arg)
{
	const struct service *s = running;

	(void)arg;
	return tables_there(s) && pools_usable(s);
}

static bool
starting_gate(void *arg, struct http_request *r)
{
	(void)arg;
	if (tables_there(running))
		return true;
	http_answer_problem(r, 503, "starting: the database is not there yet", NULL, 0);
	return false;
}

static int
http_start(struct service *s, const struct conf *c, struct err *e)
{
	s->http = http_new(&(struct http_options){ .gate = starting_gate,
				   .open = open_for_clients,
				   .loop = daemon_loop(s->daemon),
				   .name = s->def->name,
				   .listen = conf_string(c, s->def->name, "listen"),
				   .reuse_port = conf_bool(c, s->def->name, "reuse_port"),
				   .routes = s->def->routes,
				   .arg = s->state },
		e);
	if (!s->http)
		return -1;
	daemon_metrics(s->daemon, http_metrics(s->http));
	log_info("listening", LOG_I("port", http_port(s->http)));
	return 0;
}

static int
service_start(struct daemon *d, void *state, struct err *e)
{
	const struct conf *c = daemon_conf(d);
	struct service *s = running = state;

	s->def = program;
	s->daemon = d;
	s->state = must_calloc(1, s->def->state_size ? s->def->state_size : 1);
	must(s->def->database ? s->def->pools != NULL : !s->def->pools && !s->def->publishes);
	descriptors_bound(s->def->name, conf_int(c, s->def->name, "connections"));
	if ((s->def->database && pools_open(s, c, e)) ||
		(s->def->publishes && publishing_start(s, c, e)) ||
		(s->def->start && s->def->start(s, s->state, e)))
		return -1;
	return http_start(s, c, e);
}

static bool
service_ready(void *state)
{
	struct service *s = state;

	return pools_usable(s) && tables_there(s) &&
		(!s->publisher || publisher_settled(s->publisher)) &&
		(!s->def->ready || s->def->ready(s->state));
}

static const char *
service_notice(void *state)
{
	struct service *s = state;

	if (s->outbox && outbox_stuck(s->outbox))
		return "events stay unpublished although the broker is there (onboardctl doctor)";
	return s->def->notice ? s->def->notice(s->state) : NULL;
}

static bool
service_alive(void *state)
{
	struct service *s = state;

	return (!s->publisher || (publisher_alive(s->publisher) && outbox_alive(s->outbox))) &&
		(!s->def->alive || s->def->alive(s->state));
}

static void
service_reload(void *state, const struct conf *now)
{
	struct service *s = state;

	if (s->def->reload)
		s->def->reload(s->state, now);
}

static void
on_drained(void *arg)
{
	struct service *s = arg;

	daemon_drained(s->daemon);
}

static void
service_drain(void *state)
{
	struct service *s = state;

	http_drain(s->http, on_drained, s);
}

/* What the two still hold is in the outbox, for the next start or another process. */
static void
publishing_stop(struct service *s)
{
	if (s->publisher)
		publisher_drain(s->publisher, DRAIN_PUBLISH_MS);
	if (s->outbox)
		outbox_halt(s->outbox);
	publisher_stop(s->publisher);
	outbox_stop(s->outbox, DRAIN_OUTBOX_MS);
	topology_file_forget();
}

static void
hook_call(const struct service *s, void (*hook)(void *))
{
	if (hook)
		hook(s->state);
}

/* The order that service.h tells. Every request is answered, or gets its 503. */
static void
service_stop(void *state)
{
	struct service *s = state;

	if (!s->def) /* the admin listener did not start */
		return;
	publishing_stop(s);
	hook_call(s, s->def->halt);
	for (size_t i = 0; i < s->pool_count; i++)
		sql_pool_close(s->pools[i]);
	hook_call(s, s->def->close);
	http_free(s->http);
	hook_call(s, s->def->stop);
	for (size_t i = 0; i < s->pool_count; i++)
		sql_pool_free(s->pools[i]);
	schema_check_stop(s->schema);
	free(s->state);
}

int
service_main(int argc, char **argv, const struct service_def *def)
{
	const struct daemon_flag flags[] = {
		{ "reuse-port", def->name, "reuse_port", "true",
			"share the port with other processes" },
		{ 0 },
	};
	const struct daemon_def daemon = { .name = program_name,
		.summary = def->summary,
		.admin_port = def->admin_port,
		.flags = flags,
		.state_size = sizeof(struct service),
		.check = def->check,
		.start = service_start,
		.ready = service_ready,
		.notice = service_notice,
		.alive = service_alive,
		.reload = service_reload,
		.drain = service_drain,
		.stop = service_stop };

	snprintf(program_name, sizeof program_name, "onboard-%s", def->name);
	program = def;
	return daemon_main(argc, argv, &daemon);
}
