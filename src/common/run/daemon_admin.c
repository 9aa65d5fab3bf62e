/* SPDX-License-Identifier: MIT */
/* What a daemon tells of itself: /health, /ready, /metrics. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json_out.h"
#include "base/log.h"
#include "base/metrics.h"
#include "link/link.h"
#include "run/daemon_own.h"
#include "http/http.h"
#include "run/process.h"
#include "version.h"

#define ANSWER_MAX (4u << 20)

enum { M_INFO, M_LINK_UP, M_RECONNECTS };
static const struct metric_def defs[] = {
	[M_INFO] = { "onboard_build_info", METRIC_GAUGE, "Always 1.", { "daemon", "version" } },
	[M_LINK_UP] = { "onboard_link_up", METRIC_GAUGE, "1 while the server can be used.",
		{ "server" } },
	[M_RECONNECTS] = { "onboard_link_reconnects_total", METRIC_COUNTER,
		"Times it came back after it had been up.", { "server" } },
};

static const char *
state_name(enum daemon_state s)
{
	static const char *const names[] = { [DAEMON_WAITING] = "waiting",
		[DAEMON_DEGRADED] = "degraded",
		[DAEMON_READY] = "ready",
		[DAEMON_DRAINING] = "draining" };

	return names[s];
}

static void
dependencies_write(struct daemon *d, struct json_out *o)
{
	char since[CLOCK_RFC3339_SIZE];
	struct link_view v;

	json_out_object(o, "dependencies");
	for (size_t i = 0; i < d->link_count; i++) {
		link_look(d->links[i].link, &v);
		clock_format_rfc3339(v.since_us, since);
		json_out_object(o, v.name);
		json_out_text(o, "state", link_state_name(v.state));
		json_out_bool(o, "required", d->links[i].required);
		json_out_text(o, "since", since);
		json_out_i64(o, "reconnects", (int64_t)v.reconnects);
		if (*v.why)
			json_out_text(o, "why", v.why);
		json_out_end(o);
	}
	json_out_end(o);
}

static void
status_answer(struct daemon *d, struct http_request *r, int status)
{
	struct json_out o;
	struct buf b;

	buf_init(&b, ANSWER_MAX);
	json_out_init(&o, &b);
	json_out_object(&o, NULL);
	json_out_text(&o, "status", state_name(daemon_look(d)));
	json_out_text(&o, "daemon", d->def->name);
	json_out_text(&o, "version", ONBOARD_VERSION);
	json_out_i64(&o, "instance", d->args.instance);
	json_out_i64(&o, "uptime_seconds", (clock_wall_us() - d->started_us) / 1000000);
	if (daemon_notice(d))
		json_out_text(&o, "notice", daemon_notice(d));
	dependencies_write(d, &o);
	json_out_end(&o);
	http_answer_json(r, status, &b);
	buf_fini(&b);
}

static void
on_health(void *arg, struct http_request *r)
{
	status_answer(arg, r, 200);
}

static void
on_ready(void *arg, struct http_request *r)
{
	enum daemon_state s = daemon_look(arg);

	status_answer(arg, r, s == DAEMON_READY || s == DAEMON_DEGRADED ? 200 : 503);
}

/* What stands elsewhere is read when it is asked for. */
static void
own_metrics_set(struct daemon *d, struct metrics *m)
{
	struct metric_cell *c;
	struct link_view v;

	metric_set(metrics_cell(m, M_INFO, d->def->name, ONBOARD_VERSION), 1);
	for (size_t i = 0; i < d->link_count; i++) {
		link_look(d->links[i].link, &v);
		metric_set(metrics_cell(m, M_LINK_UP, v.name), v.state == LINK_UP);
		c = metrics_cell(m, M_RECONNECTS, v.name);
		metric_add(c, v.reconnects - metric_value(c));
	}
}

static void
on_metrics(void *arg, struct http_request *r)
{
	struct daemon *d = arg;
	struct buf b;

	buf_init(&b, ANSWER_MAX);
	own_metrics_set(d, d->own_metrics);
	process_metrics_write(d->process_metrics, &b);
	metrics_write(d->own_metrics, &b);
	for (size_t i = 0; i < d->metrics_count; i++)
		metrics_write(d->metrics[i], &b);
	if (buf_failed(&b))
		http_answer_problem(r, 500, "too many metrics", NULL, 0);
	else
		http_answer(r, 200, "text/plain; version=0.0.4; charset=utf-8", buf_text(&b),
			b.length);
	buf_fini(&b);
}

static const struct http_route routes[] = {
	{ "GET", "/health", on_health, 0 },
	{ "GET", "/ready", on_ready, 0 },
	{ "GET", "/metrics", on_metrics, 0 },
	{ 0 },
};

/* Takes as long for a wrong token as for the right one. */
static bool
token_fits(const char *want, const char *header)
{
	size_t n = strlen(want);
	unsigned char differs = 0;

	if (!header || strncmp(header, "Bearer ", 7) != 0 || strlen(header + 7) != n)
		return false;
	for (size_t i = 0; i < n; i++)
		differs |= (unsigned char)(want[i] ^ header[7 + i]);
	return differs == 0;
}

static bool
gate(void *arg, struct http_request *r)
{
	struct daemon *d = arg;
	const char *token = conf_string(d->conf, "admin", "token");

	if (http_from_loopback(r) ||
		(token && *token && token_fits(token, http_header(r, "Authorization"))))
		return true;
	if (token && *token) {
		http_answer_header(r, "WWW-Authenticate", "Bearer");
		http_answer_problem(r, 401, "send admin.token as a bearer token", NULL, 0);
	} else {
		http_answer_problem(r, 403, "only from loopback, unless admin.token is set", NULL,
			0);
	}
	return false;
}

int
daemon_admin_start(struct daemon *d, struct err *e)
{
	const char *listen = conf_string(d->conf, "admin", "listen");
	char own[32];

	if (!listen && d->def->admin_port == 0) {
		log_info("no admin listener: admin.listen is not set");
		return 0;
	}
	snprintf(own, sizeof own, "127.0.0.1:%u", d->def->admin_port + 10 * (d->args.instance - 1));
	d->started_us = clock_wall_us();
	d->own_metrics = metrics_new(defs, ARRAY_LEN(defs));
	d->process_metrics = process_metrics_new(d->started_us);
	d->admin = http_new(&(struct http_options){ .loop = d->loop,
				    .name = "admin",
				    .listen = listen ? listen : own,
				    .routes = routes,
				    .gate = gate,
				    .arg = d },
		e);
	if (!d->admin)
		return -1;
	log_info("admin listener", LOG_I("port", http_port(d->admin)));
	return 0;
}

void
daemon_admin_stop(struct daemon *d)
{
	http_free(d->admin);
	d->admin = NULL;
	metrics_free(d->own_metrics);
	metrics_free(d->process_metrics);
	d->own_metrics = d->process_metrics = NULL;
}
