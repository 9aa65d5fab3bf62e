/* SPDX-License-Identifier: MIT */
/* onboard-api: users, and the events that tell of them. See api.h for what is where. */
#include "api.h"
#include "places.h"
#include "user_cache.h"

#define LIST_QUERY_MS 5000 /* statistics read all users; only lists wait for them */

static const struct service_pool pools[] = {
	[POOL_SIGNUP] = { "postgres", NULL, SQL_WANT_WRITABLE, 0 },
	[POOL_READ] = { "postgres-reader", "readers", SQL_WANT_PRIMARY, 0 },
	[POOL_LIST] = { "postgres-lister", "listers", SQL_WANT_PRIMARY, LIST_QUERY_MS },
	[POOL_CHANGE] = { "postgres-changer", "changers", SQL_WANT_WRITABLE, 0 },
	{ 0 },
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

static int
pool_ask(struct api *a, enum api_pool pool, struct arena *mem, const struct sql_part *parts,
	size_t count, sql_done_fn *done, void *arg, struct err *e)
{
	metric_add(a->cells[M_STATEMENTS], count);
	return sql_pool_transact(service_pool(a->service, pool), mem, parts, count, done, arg, e);
}

int
api_read(struct api *a, struct arena *mem, const struct sql_statement *st,
	const struct sql_params *p, sql_done_fn *done, void *arg, struct err *e)
{
	return pool_ask(a, POOL_READ, mem, &(struct sql_part){ st, p }, 1, done, arg, e);
}

int
api_list(struct api *a, struct arena *mem, const struct sql_statement *st,
	const struct sql_params *p, sql_done_fn *done, void *arg, struct err *e)
{
	return pool_ask(a, POOL_LIST, mem, &(struct sql_part){ st, p }, 1, done, arg, e);
}

int
api_change(struct api *a, struct arena *mem, const struct sql_part *parts, size_t count,
	sql_done_fn *done, void *arg, struct err *e)
{
	return pool_ask(a, POOL_CHANGE, mem, parts, count, done, arg, e);
}

static int
api_start(struct service *s, void *state, struct err *e)
{
	struct api *a = state;
	struct daemon *d = service_daemon(s);

	a->service = s;
	a->daemon = d;
	a->loop = daemon_loop(d);
	a->publisher = service_publisher(s);
	a->metrics = metrics_new(defs, ARRAY_LEN(defs));
	for (size_t i = 0; i < M_COUNT; i++)
		a->cells[i] = metrics_cell(a->metrics, i);
	daemon_metrics(d, a->metrics);
	a->cache = user_cache_new(a->loop, daemon_conf(d), e);
	if (!a->cache)
		return -1;
	tiers_attach(a->cache, d);
	a->places = places_new(a);
	a->signups = signups_new(a);
	return 0;
}

static void
api_reload(void *state, const struct conf *now)
{
	struct api *a = state;

	signups_reload(a->signups, now);
}

static void
api_halt(void *state)
{
	struct api *a = state;

	signups_stop(a->signups);
}

/* Requests that wait for Redis ask a closed pool then, and get their 503. */
static void
api_close(void *state)
{
	struct api *a = state;

	tiers_free(a->cache);
}

static void
api_stop(void *state)
{
	struct api *a = state;

	signups_free(a->signups);
	places_free(a->places);
	metrics_free(a->metrics);
}

int
main(int argc, char **argv)
{
	static const struct service_def def = { .name = "api",
		.summary = "Users over HTTP: signup, read, change; each change is an event.",
		.admin_port = 9102,
		.routes = routes,
		.database = "onboard",
		.pools = pools,
		.publishes = true,
		.state_size = sizeof(struct api),
		.start = api_start,
		.reload = api_reload,
		.halt = api_halt,
		.close = api_close,
		.stop = api_stop };

	return service_main(argc, argv, &def);
}
