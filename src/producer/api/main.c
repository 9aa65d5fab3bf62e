/* SPDX-License-Identifier: MIT */
/* onboard-api: users, and the events that tell of them. See api.h for what is where. */
#include <stdio.h>
#include <sys/resource.h>

#include "api.h"
#include "base/log.h"
#include "cache.h"
#include "flight.h"
#include "model/topology.h"
#include "places.h"
#include "run/schema.h"

#define DRAIN_PUBLISH_MS 4000
#define DRAIN_OUTBOX_MS 2000
#define DESCRIPTORS_BESIDE 64 /* servers, timers, log, admin */
#define QUEUE_MAX 1024        /* calls that wait for one connection */
#define LIST_QUERY_MS 5000    /* statistics read all users; only lists wait for them */

static const struct {
	const char *key, *link_name;
	int64_t query_ms;
	enum sql_want want;
} lanes[LANE_COUNT] = {
	[LANE_READ] = { "readers", "postgres-reader", 0, SQL_WANT_PRIMARY },
	[LANE_LIST] = { "listers", "postgres-lister", LIST_QUERY_MS, SQL_WANT_PRIMARY },
	[LANE_CHANGE] = { "changers", "postgres-changer", 0, SQL_WANT_WRITABLE },
};

static const struct metric_def defs[M_COUNT] = {
	[M_BATCH_ROWS] = { "onboard_signup_batch_rows_total", METRIC_COUNTER,
		"Signups that went into transactions; by the batches: their mean size.", {} },
	[M_BATCHES] = { "onboard_signup_batches_total", METRIC_COUNTER, "Transactions of signups.",
		{} },
	[M_BATCH_SECONDS] = { "onboard_signup_batch_seconds", METRIC_HISTOGRAM,
		"From a transaction's begin to its answer.", {} },
	[M_QUEUE] = { "onboard_signup_queue", METRIC_GAUGE,
		"Signups that wait for the next transaction.", {} },
	[M_SIGNUPS] = { "onboard_signups_total", METRIC_COUNTER, "Signups answered with 201.", {} },
	[M_MEMORY_HITS] = { "onboard_cache_memory_hits_total", METRIC_COUNTER,
		"Reads answered from the process.", {} },
	[M_MEMORY_MISSES] = { "onboard_cache_memory_misses_total", METRIC_COUNTER,
		"Reads that the process did not have.", {} },
	[M_MEMORY_ENTRIES] = { "onboard_cache_memory_entries", METRIC_GAUGE,
		"Answers kept in the process.", {} },
	[M_REDIS_HITS] = { "onboard_cache_redis_hits_total", METRIC_COUNTER,
		"Reads answered from Redis.", {} },
	[M_REDIS_MISSES] = { "onboard_cache_redis_misses_total", METRIC_COUNTER,
		"Reads that went to the database.", {} },
	[M_STATEMENTS] = { "onboard_sql_statements_total", METRIC_COUNTER,
		"Statements sent to the database, but for signups'.", {} },
};

static const struct http_route routes[] = {
	{ "POST", "/api/users/signup", signup_post, 0 },
	{ "GET", "/api/users", user_list, 0 },
	{ "GET", "/api/users/{id}", user_get, 0 },
	{ "PATCH", "/api/users/{id}", user_patch, 0 },
	{ "PUT", "/api/users/{id}", user_patch, 0 },
	{ "DELETE", "/api/users/{id}", user_delete, 0 },
	{ "GET", "/api/countries", countries_get, 0 },
	{ "GET", "/api/countries/stats", countries_stats, 0 },
	{ 0 },
};

static struct sql_async *
least_busy(struct api *a, enum api_lane lane)
{
	const struct api_lane_pool *p = &a->lanes[lane];
	struct sql_async *best = NULL;

	for (size_t i = 0; i < p->count; i++) {
		struct sql_async *s = p->list[i];

		if (link_usable(sql_async_link(s)) &&
			(!best || sql_async_waiting(s) < sql_async_waiting(best)))
			best = s;
	}
	return best ? best : p->list[0];
}

static int
ask(struct api *a, enum api_lane lane, struct arena *mem, const struct sql_part *parts,
	size_t count, sql_done_fn *done, void *arg, struct err *e)
{
	if (a->lanes[lane].count == 0) /* closed by stop() */
		return err_set(e, ERR_AWAY, "the process is ending");
	metric_add(a->cells[M_STATEMENTS], count);
	return sql_async_transact(least_busy(a, lane), mem, parts, count, done, arg, e);
}

int
api_read(struct api *a, struct arena *mem, const struct sql_statement *st,
	const struct sql_params *p, sql_done_fn *done, void *arg, struct err *e)
{
	return ask(a, LANE_READ, mem, &(struct sql_part){ st, p }, 1, done, arg, e);
}

int
api_list(struct api *a, struct arena *mem, const struct sql_statement *st,
	const struct sql_params *p, sql_done_fn *done, void *arg, struct err *e)
{
	return ask(a, LANE_LIST, mem, &(struct sql_part){ st, p }, 1, done, arg, e);
}

int
api_change(struct api *a, struct arena *mem, const struct sql_part *parts, size_t count,
	sql_done_fn *done, void *arg, struct err *e)
{
	return ask(a, LANE_CHANGE, mem, parts, count, done, arg, e);
}

/* The kernel's own bound of connections: past it they wait, and nothing here grows. */
static void
descriptors_bound(int64_t connections)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r))
		return;
	r.rlim_cur = (rlim_t)connections + DESCRIPTORS_BESIDE;
	if (r.rlim_cur > r.rlim_max) {
		log_warn("fewer connections than api.connections: raise the limit of open files",
			LOG_I("connections", (int64_t)r.rlim_max - DESCRIPTORS_BESIDE));
		r.rlim_cur = r.rlim_max;
	}
	(void)setrlimit(RLIMIT_NOFILE, &r);
}

static int
lane_open(struct api *a, enum api_lane lane, const struct conf *c, struct sql_options *o,
	struct err *e)
{
	struct api_lane_pool *p = &a->lanes[lane];
	size_t count = (size_t)conf_int(c, "api", lanes[lane].key);

	o->link_name = lanes[lane].link_name;
	o->query_ms = lanes[lane].query_ms;
	o->want = lanes[lane].want;
	for (size_t i = 0; i < count; i++) {
		p->list[i] = sql_async_open(loop_base(a->loop), o, e);
		if (!p->list[i])
			return -1;
		p->count++;
	}
	return 0;
}

static int
databases_open(struct api *a, const struct conf *c, struct err *e)
{
	char owner[OUTBOX_OWNER_SETTING_SIZE]; /* of the rows of signups and of changes */
	struct sql_options o = { .url = conf_string(c, "postgres", "url"),
		.application = "onboard-api",
		.want = SQL_WANT_WRITABLE,
		.settings = owner,
		.queue_max = QUEUE_MAX };

	a->owner = outbox_owner_new();
	outbox_owner_setting(a->owner, owner);
	a->writer = sql_async_open(loop_base(a->loop), &o, e);
	if (!a->writer)
		return -1;
	daemon_depends(a->daemon, sql_async_link(a->writer), true);
	a->schema = schema_check_start(a->daemon, "onboard");
	for (enum api_lane lane = 0; lane < LANE_COUNT; lane++)
		if (lane_open(a, lane, c, &o, e))
			return -1;
	return 0;
}

static int
publishing_start(struct api *a, const struct conf *c, struct err *e)
{
	a->outbox = outbox_new(&(struct outbox_options){ .url = conf_string(c, "postgres", "url"),
				       .name = "onboard-api outbox",
				       .owner = a->owner,
				       .sweep_after_ms = conf_int(c, "outbox", "sweep_after"),
				       .retention_days = conf_int(c, "outbox", "retention") },
		e);
	if (!a->outbox)
		return -1;
	a->publisher = publisher_start(
		&(struct publisher_options){ .url = conf_string(c, "rabbitmq", "url"),
			.name = "onboard-api",
			.heartbeat_s = (unsigned)(conf_int(c, "rabbitmq", "heartbeat") / 1000),
			.consumers = conf_string(c, "topology", "consumers"),
			.check_every_ms = conf_int(c, "topology", "check_every"),
			.done = outbox_done,
			.arg = a->outbox },
		e);
	if (!a->publisher)
		return -1;
	outbox_start(a->outbox, a->publisher);
	daemon_depends(a->daemon, publisher_link(a->publisher), false);
	daemon_metrics(a->daemon, publisher_metrics(a->publisher));
	daemon_metrics(a->daemon, outbox_metrics(a->outbox));
	return 0;
}

static bool
open_for_clients(void *arg)
{
	struct api *a = arg;

	return outbox_ready(a->outbox) && link_usable(sql_async_link(a->writer));
}

static bool
gate(void *arg, struct http_request *r)
{
	struct api *a = arg;

	if (outbox_ready(a->outbox))
		return true;
	http_answer_problem(r, 503, "starting: the database is not there yet", NULL, 0);
	return false;
}

static int
start(struct daemon *d, void *state, struct err *e)
{
	struct api *a = state;
	const struct conf *c = daemon_conf(d);

	a->daemon = d;
	a->loop = daemon_loop(d);
	a->metrics = metrics_new(defs, ARRAY_LEN(defs));
	for (size_t i = 0; i < M_COUNT; i++)
		a->cells[i] = metrics_cell(a->metrics, i);
	daemon_metrics(d, a->metrics);
	descriptors_bound(conf_int(c, "api", "connections"));
	a->flights = flights_new();
	if (topology_file_load(conf_string(c, "topology", "file"), e) || databases_open(a, c, e) ||
		!(a->cache = cache_new(a, c, e)) || publishing_start(a, c, e))
		return -1;
	daemon_depends(d, cache_link(a->cache), false);
	daemon_depends(d, cache_channel_link(a->cache), false);
	daemon_depends(d, cache_writes_link(a->cache), false);
	a->places = places_new(a);
	a->countries = countries_new(a);
	a->signups = signups_new(a);
	a->http = http_new(&(struct http_options){ .gate = gate,
				   .open = open_for_clients,
				   .loop = a->loop,
				   .name = "api",
				   .listen = conf_string(c, "api", "listen"),
				   .reuse_port = conf_bool(c, "api", "reuse_port"),
				   .routes = routes,
				   .arg = a },
		e);
	if (!a->http)
		return -1;
	daemon_metrics(d, http_metrics(a->http));
	log_info("listening", LOG_I("port", http_port(a->http)));
	return 0;
}

static bool
ready(void *state)
{
	struct api *a = state;

	for (enum api_lane lane = 0; lane < LANE_COUNT; lane++)
		if (!link_usable(sql_async_link(least_busy(a, lane))))
			return false;
	return publisher_settled(a->publisher) && outbox_ready(a->outbox);
}

static const char *
notice(void *state)
{
	struct api *a = state;

	return outbox_stuck(a->outbox)
		? "events stay unpublished although the broker is there (onboardctl doctor)"
		: NULL;
}

static bool
alive(void *state)
{
	struct api *a = state;

	return publisher_alive(a->publisher) && outbox_alive(a->outbox);
}

static void
reload(void *state, const struct conf *now)
{
	struct api *a = state;

	signups_reload(a->signups, now);
}

static void
on_drained(void *arg)
{
	struct api *a = arg;

	daemon_drained(a->daemon);
}

static void
drain(void *state)
{
	struct api *a = state;

	http_drain(a->http, on_drained, a);
}

/* Every request is answered, or gets its 503 as its server's link closes. */
static void
stop(void *state)
{
	struct api *a = state;

	/* what they still hold is in the outbox for the next start, or another process */
	if (a->publisher)
		publisher_drain(a->publisher, DRAIN_PUBLISH_MS);
	if (a->outbox)
		outbox_halt(a->outbox);
	publisher_stop(a->publisher);
	outbox_stop(a->outbox, DRAIN_OUTBOX_MS);
	signups_stop(a->signups);
	schema_check_stop(a->schema);
	topology_file_forget();
	sql_async_close(a->writer);
	for (enum api_lane lane = 0; lane < LANE_COUNT; lane++) {
		struct api_lane_pool *p = &a->lanes[lane];

		while (p->count > 0) /* what one answers may ask another, but none that is freed */
			sql_async_close(p->list[--p->count]);
	}
	cache_free(a->cache);
	http_free(a->http);
	signups_free(a->signups);
	countries_free(a->countries);
	flights_free(a->flights);
	places_free(a->places);
	metrics_free(a->metrics);
}

int
main(int argc, char **argv)
{
	static const struct daemon_flag flags[] = {
		{ "reuse-port", "api", "reuse_port", "true",
			"share the port with other processes" },
		{ 0 },
	};
	static const struct daemon_def def = { .name = "onboard-api",
		.summary = "Users over HTTP: signup, read, change; each change is an event.",
		.admin_port = 9102,
		.flags = flags,
		.state_size = sizeof(struct api),
		.start = start,
		.ready = ready,
		.notice = notice,
		.alive = alive,
		.reload = reload,
		.drain = drain,
		.stop = stop };

	return daemon_main(argc, argv, &def);
}
