/* SPDX-License-Identifier: MIT */
/* HTTP: starting and draining the server, and the way of a request to its handler. */
#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/rnd.h"
#include "base/utf8.h"
#include "http/http_own.h"
#include "http/listen.h"
#include "base/loop.h"

#define ARENA_FIRST 4096
#define ARENA_LIMIT (16u << 20)
#define SPARE_MAX 256
#define ACCEPT_PAUSE_MS 100
#define HOLD_MS 3000
#define HOLD_LOOK_MS 20
#define QUIET_MS 250 /* draining ends after this time without a request */

enum { M_REQUESTS, M_SECONDS, M_OPEN };
static const struct metric_def defs[] = {
	[M_REQUESTS] = { "onboard_http_requests_total", METRIC_COUNTER, "Requests answered.",
		{ "route", "status" } },
	[M_SECONDS] = { "onboard_http_request_seconds", METRIC_HISTOGRAM,
		"From the whole request to its answer.", { "route" } },
	[M_OPEN] = { "onboard_http_requests_open", METRIC_GAUGE, "Requests not answered yet.", {} },
};

static const struct {
	enum evhttp_cmd_type command;
	const char *name;
} methods[] = { { EVHTTP_REQ_GET, "GET" }, { EVHTTP_REQ_HEAD, "GET" }, { EVHTTP_REQ_POST, "POST" },
	{ EVHTTP_REQ_PUT, "PUT" }, { EVHTTP_REQ_PATCH, "PATCH" }, { EVHTTP_REQ_DELETE, "DELETE" } };

/* ---- counting ---- */

static struct metric_cell *
status_cell(struct http *h, struct http_count *c, int status)
{
	char text[16];
	size_t i = 0;

	while (i < HTTP_STATUSES && c->by_status[i].cell && c->by_status[i].status != status)
		i++;
	if (i < HTTP_STATUSES && c->by_status[i].cell)
		return c->by_status[i].cell;
	snprintf(text, sizeof text, "%d", status);
	if (i == HTTP_STATUSES)
		return metrics_cell(h->metrics, M_REQUESTS, c->path, text);
	c->by_status[i].status = status;
	c->by_status[i].cell = metrics_cell(h->metrics, M_REQUESTS, c->path, text);
	return c->by_status[i].cell;
}

/* ---- requests: begin and end ---- */

static struct http_request *
request_new(struct http *h, struct evhttp_request *ev)
{
	struct http_request *r = TAILQ_FIRST(&h->spare);
	struct arena *mem;

	if (r) {
		TAILQ_REMOVE(&h->spare, r, entry);
		h->spare_count--;
	} else {
		r = must_calloc(1, sizeof *r);
		r->mem = arena_new(ARENA_FIRST, ARENA_LIMIT);
	}
	mem = r->mem;
	*r = (struct http_request){ .http = h,
		.ev = ev,
		.mem = mem,
		.count = &h->counts[h->route_count],
		.began_us = clock_mono_us() };
	TAILQ_INSERT_TAIL(&h->open, r, entry);
	h->last_us = r->began_us;
	metric_set(h->open_cell, (int64_t)++h->open_count);
	return r;
}

void
http_request_done(struct http_request *r, int status)
{
	struct http *h = r->http;
	int64_t now = clock_mono_us();

	metric_add(status_cell(h, r->count, status), 1);
	metric_observe_us(r->count->seconds, now - r->began_us);
	log_debug("answered", LOG_S("request_id", r->id), LOG_S("trace_id", r->trace.id),
		LOG_S("route", r->count->path), LOG_I("status", status),
		LOG_I("us", now - r->began_us));
	evhttp_send_reply(r->ev, status, problem_title(status), NULL);
	if (r->has_query)
		evhttp_clear_headers(&r->query);
	h->last_us = now;
	TAILQ_REMOVE(&h->open, r, entry);
	metric_set(h->open_cell, (int64_t)--h->open_count);
	if (h->spare_count >= SPARE_MAX) {
		arena_free(r->mem);
		free(r);
		return;
	}
	arena_reset(r->mem);
	TAILQ_INSERT_HEAD(&h->spare, r, entry);
	h->spare_count++;
}

/* ---- requests that must not reach a handler ---- */

static bool
text_sane(const char *p, size_t n)
{
	for (size_t i = 0; i < n;) {
		size_t c = utf8_length(p + i, n - i);

		if (c == 0 || (unsigned char)p[i] < 0x20 || p[i] == 0x7f)
			return false;
		i += c;
	}
	return true;
}

/* Refuses a body length that is given twice: a proxy may read it differently. */
static const char *
framing_fault(struct evkeyvalq *headers)
{
	unsigned lengths = 0, codings = 0;

	for (struct evkeyval *k = headers->tqh_first; k; k = k->next.tqe_next) {
		if (!text_sane(k->value, strlen(k->value)) && !strchr(k->value, '\t'))
			return "a header holds control bytes or is not UTF-8";
		lengths += strcasecmp(k->key, "Content-Length") == 0;
		if (strcasecmp(k->key, "Transfer-Encoding") == 0) {
			codings++;
			if (strcasecmp(k->value, "chunked") != 0)
				return "Transfer-Encoding may only be chunked";
		}
	}
	return lengths + codings > 1 ? "the body's length is given more than once" : NULL;
}

static bool
id_sane(const char *id)
{
	size_t n = id
		? strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
		: 0;

	return n >= 1 && n <= HTTP_ID_MAX && !id[n];
}

static void
identify(struct http_request *r)
{
	const char *id = http_header(r, "X-Request-Id"), *parent = http_header(r, "traceparent");

	trace_begin(&r->trace, parent, parent ? strlen(parent) : 0);
	if (id_sane(id))
		snprintf(r->id, sizeof r->id, "%s", id);
	else
		snprintf(r->id, sizeof r->id, "%016llx%016llx", (unsigned long long)rnd_u64(),
			(unsigned long long)rnd_u64());
}

/* ---- routes ---- */

/* Does the path match the pattern? Keeps the decoded parts in braces. */
static bool
path_fits(struct http_request *r, const char *pattern, const char *path)
{
	r->part_count = 0;
	while (*pattern) {
		size_t want = strcspn(pattern + 1, "/"), have;

		if (*path != '/')
			return false;
		have = strcspn(path + 1, "/");
		if (pattern[1] == '{') {
			char *raw = arena_strndup(r->mem, path + 1, have), *text;
			size_t n = 0;

			must(r->part_count < HTTP_PARTS_MAX);
			text = raw ? evhttp_uridecode(raw, 0, &n) : NULL;
			if (!text || n == 0 || !text_sane(text, n) ||
				!arena_defer(r->mem, free, text))
				return false;
			r->parts[r->part_count++] = text;
		} else if (want != have || memcmp(pattern + 1, path + 1, have) != 0) {
			return false;
		}
		pattern += 1 + want;
		path += 1 + have;
	}
	return !*path;
}

static const char *
method_name(struct http_request *r)
{
	for (size_t i = 0; i < ARRAY_LEN(methods); i++)
		if (methods[i].command == evhttp_request_get_command(r->ev))
			return methods[i].name;
	return "";
}

/* NULL: no route matches, and the request is answered. */
static const struct http_route *
route_find(struct http_request *r)
{
	const char *path = http_path(r), *method = method_name(r);
	const struct http_route *found = NULL;
	char allow[64] = "";

	for (size_t i = 0; i < r->http->route_count && !found; i++) {
		const struct http_route *t = &r->http->o.routes[i];
		size_t n = strlen(allow);

		if (!path_fits(r, t->path, path))
			continue;
		r->count = &r->http->counts[i];
		if (strcmp(t->method, method) == 0)
			found = t;
		else
			snprintf(allow + n, sizeof allow - n, "%s%s%s", n ? ", " : "", t->method,
				strcmp(t->method, "GET") == 0 ? ", HEAD" : "");
	}
	if (found)
		return found;
	if (*allow) {
		http_answer_header(r, "Allow", allow);
		http_answer_problem(r, 405, NULL, NULL, 0);
	} else {
		http_answer_problem(r, 404, "no such route", NULL, 0);
	}
	return NULL;
}

/* -1: refused and answered. */
static int
query_parse(struct http_request *r)
{
	const char *query = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(r->ev));

	if (!query || !*query)
		return 0;
	/* evhttp would cut a value at a NUL */
	if (strstr(query, "%00") || evhttp_parse_query_str(query, &r->query)) {
		http_answer_problem(r, 400, "the query is not name=value&...", NULL, 0);
		return -1;
	}
	r->has_query = true;
	for (struct evkeyval *k = r->query.tqh_first; k; k = k->next.tqe_next)
		if (!text_sane(k->key, strlen(k->key)) || !text_sane(k->value, strlen(k->value))) {
			http_answer_problem(r, 400, "the query holds control bytes or is not UTF-8",
				NULL, 0);
			return -1;
		}
	return 0;
}

static void
on_request(struct evhttp_request *ev, void *arg)
{
	struct http *h = arg;
	struct http_request *r = request_new(h, ev);
	const struct http_route *route;
	const char *fault;
	size_t length, max;

	identify(r);
	fault = framing_fault(evhttp_request_get_input_headers(ev));
	if (!fault && !text_sane(http_path(r), strlen(http_path(r))))
		fault = "the path holds control bytes or is not UTF-8";
	if (fault) {
		http_answer_header(r, "Connection", "close");
		http_answer_problem(r, 400, fault, NULL, 0);
		return;
	}
	if (h->o.gate && !h->o.gate(h->o.arg, r))
		return;
	route = route_find(r);
	if (!route || query_parse(r))
		return;
	max = route->body_max ? route->body_max : HTTP_BODY_MAX;
	length = evbuffer_get_length(evhttp_request_get_input_buffer(ev));
	if (length > max) {
		char detail[64];

		snprintf(detail, sizeof detail, "the body is over %zu KiB", max >> 10);
		http_answer_problem(r, 413, detail, NULL, 0);
		return;
	}
	route->fn(h->o.arg, r);
}

/* ---- the server ---- */

static void
on_pause_over(void *arg)
{
	struct http *h = arg;

	if (h->held_until_us && !h->o.open(h->o.arg) && clock_mono_us() < h->held_until_us) {
		loop_timer_set(h->pause, HOLD_LOOK_MS);
		return;
	}
	h->held_until_us = 0;
	if (h->bound)
		evconnlistener_enable(evhttp_bound_socket_get_listener(h->bound));
}

/* evhttp uses the listener's argument itself, so we search the servers of this thread. */
static _Thread_local struct http *servers;

/* No free descriptors: connections wait in the kernel. Accepting again at once would only spin. */
static void
on_accept_error(struct evconnlistener *l, void *arg)
{
	struct http *h = servers;

	(void)arg;
	while (h && (!h->bound || evhttp_bound_socket_get_listener(h->bound) != l))
		h = h->next;
	must(h);
	log_warn("cannot accept connections for now", LOG_S("listen", h->listen),
		LOG_S("why", strerror(errno)));
	evconnlistener_disable(l);
	loop_timer_set(h->pause, ACCEPT_PAUSE_MS);
}

static void
counts_new(struct http *h)
{
	while (h->o.routes[h->route_count].method)
		h->route_count++;
	h->counts = must_calloc(h->route_count + 1, sizeof *h->counts);
	for (size_t i = 0; i <= h->route_count; i++) {
		struct http_count *c = &h->counts[i];

		c->path = i < h->route_count ? h->o.routes[i].path : "none";
		c->seconds = metrics_cell(h->metrics, M_SECONDS, c->path);
	}
}

static size_t
body_max(const struct http *h)
{
	size_t max = HTTP_BODY_MAX;

	for (size_t i = 0; i < h->route_count; i++)
		if (h->o.routes[i].body_max > max)
			max = h->o.routes[i].body_max;
	return max;
}

static void
on_quiet(void *arg)
{
	struct http *h = arg;

	if (h->open_count == 0 && clock_mono_us() - h->last_us >= QUIET_MS * 1000)
		h->drained(h->drained_arg);
	else
		loop_timer_set(h->quiet, QUIET_MS / 5);
}

struct http *
http_new(const struct http_options *o, struct err *e)
{
	struct evconnlistener *listener;
	struct http *h;
	int fd;

	if (listen_open(o->name, o->listen, o->reuse_port, &fd, e))
		return NULL;
	h = must_calloc(1, sizeof *h);
	h->o = *o;
	h->o.listen = h->listen = must_strdup(o->listen);
	h->port = listen_port(fd);
	TAILQ_INIT(&h->open);
	TAILQ_INIT(&h->spare);
	h->metrics = metrics_new(defs, ARRAY_LEN(defs));
	h->open_cell = metrics_cell(h->metrics, M_OPEN);
	counts_new(h);
	h->pause = loop_timer_new(o->loop, on_pause_over, h);
	h->quiet = loop_timer_new(o->loop, on_quiet, h);
	h->ev = evhttp_new(loop_base(o->loop));
	must(h->ev);
	/* all methods: we answer 405 ourselves */
	evhttp_set_allowed_methods(h->ev, 0xffff);
	evhttp_set_max_headers_size(h->ev,
		(ev_ssize_t)(o->header_max_bytes ? o->header_max_bytes : 16 << 10));
	/* one byte over the routes' bounds, so that our own 413 names the bound */
	evhttp_set_max_body_size(h->ev, (ev_ssize_t)body_max(h) + (64 << 10));
	evhttp_set_timeout(h->ev, o->idle_s ? o->idle_s : 60);
	evhttp_set_default_content_type(h->ev, NULL);
	evhttp_set_flags(h->ev, EVHTTP_SERVER_LINGERING_CLOSE);
	evhttp_set_gencb(h->ev, on_request, h);
	listener = evconnlistener_new(loop_base(o->loop), NULL, NULL,
		LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
	must(listener);
	evconnlistener_set_error_cb(listener, on_accept_error);
	h->bound = evhttp_bind_listener(h->ev, listener);
	must(h->bound);
	/* a restart should cause no 503: connections wait in the kernel, as during the restart */
	if (o->open && listen_held(o->name)) {
		h->held_until_us = clock_mono_us() + HOLD_MS * 1000;
		evconnlistener_disable(listener);
		loop_timer_set(h->pause, HOLD_LOOK_MS);
	}
	h->next = servers;
	servers = h;
	return h;
}

void
http_drain(struct http *h, void (*done)(void *), void *arg)
{
	must(!h->draining);
	h->draining = true;
	h->drained = done;
	h->drained_arg = arg;
	h->last_us = clock_mono_us();
	evhttp_del_accept_socket(h->ev, h->bound);
	h->bound = NULL;
	loop_timer_set(h->quiet, QUIET_MS / 5);
}

void
http_free(struct http *h)
{
	struct http_request *r;

	if (!h)
		return;
	for (struct http **at = &servers; *at; at = &(*at)->next)
		if (*at == h) {
			*at = h->next;
			break;
		}
	h->draining = true;
	while ((r = TAILQ_FIRST(&h->open)))
		http_answer_problem(r, 503, "the server is stopping", NULL, 0);
	evhttp_free(h->ev);
	while ((r = TAILQ_FIRST(&h->spare))) {
		TAILQ_REMOVE(&h->spare, r, entry);
		arena_free(r->mem);
		free(r);
	}
	loop_timer_free(h->pause);
	loop_timer_free(h->quiet);
	free(h->listen);
	free(h->counts);
	metrics_free(h->metrics);
	free(h);
}

uint16_t
http_port(const struct http *h)
{
	return h->port;
}

struct metrics *
http_metrics(struct http *h)
{
	return h->metrics;
}
