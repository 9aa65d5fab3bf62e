/* SPDX-License-Identifier: MIT */
/* HTTP: how a handler reads a request and answers it. */
#include <arpa/inet.h>
#include <event2/buffer.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/json.h"
#include "base/log.h"
#include "http/http_own.h"

struct arena *
http_mem(struct http_request *r)
{
	return r->mem;
}

const struct trace *
http_trace(const struct http_request *r)
{
	return &r->trace;
}

const char *
http_path(const struct http_request *r)
{
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(r->ev);
	const char *path = uri ? evhttp_uri_get_path(uri) : NULL;

	return path ? path : "";
}

const char *
http_part(const struct http_request *r, size_t i)
{
	must(i < r->part_count);
	return r->parts[i];
}

bool
http_part_id(const struct http_request *r, size_t i, int64_t *out)
{
	const char *p = http_part(r, i);
	int64_t n = 0;

	if (!*p || strlen(p) > 16 || *p == '0')
		return false;
	for (; *p; p++) {
		if (*p < '0' || *p > '9')
			return false;
		n = n * 10 + (*p - '0');
	}
	*out = n;
	return n <= JSON_INTEGER_MAX;
}

const char *
http_query(struct http_request *r, const char *name)
{
	return r->has_query ? evhttp_find_header(&r->query, name) : NULL;
}

const char *
http_header(const struct http_request *r, const char *name)
{
	return evhttp_find_header(evhttp_request_get_input_headers(r->ev), name);
}

const char *
http_body(struct http_request *r, size_t *length)
{
	struct evbuffer *in = evhttp_request_get_input_buffer(r->ev);

	*length = evbuffer_get_length(in);
	return *length ? (const char *)evbuffer_pullup(in, -1) : "";
}

bool
http_from_loopback(const struct http_request *r)
{
	struct evhttp_connection *c = evhttp_request_get_connection(r->ev);
	struct in6_addr v6;
	struct in_addr v4;
	char *text = NULL;
	ev_uint16_t port;

	if (!c)
		return false;
	evhttp_connection_get_peer(c, &text, &port);
	if (!text)
		return false;
	if (inet_pton(AF_INET, text, &v4) == 1)
		return ntohl(v4.s_addr) >> 24 == 127;
	return inet_pton(AF_INET6, text, &v6) == 1 &&
		(IN6_IS_ADDR_LOOPBACK(&v6) || (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127));
}

static bool
type_is_json(const char *type)
{
	static const char *const known[] = { "application/json", "application/merge-patch+json" };
	size_t n = type ? strcspn(type, "; \t") : 0;

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (n == strlen(known[i]) && strncasecmp(type, known[i], n) == 0)
			return true;
	return false;
}

const struct json *
http_json(struct http_request *r)
{
	const struct json *v;
	struct err e = ERR_INIT;
	const char *body;
	size_t length;

	if (!type_is_json(http_header(r, "Content-Type"))) {
		http_answer_problem(r, 415, "send Content-Type: application/json", NULL, 0);
		return NULL;
	}
	body = http_body(r, &length);
	if (json_parse(r->mem, body, length, &v, &e) == 0)
		return v;
	http_answer_problem(r, e.kind == ERR_LIMIT ? 413 : 400, e.text, NULL, 0);
	return NULL;
}

void
http_answer_header(struct http_request *r, const char *name, const char *value)
{
	must(!strpbrk(value, "\r\n"));
	r->retry_after |= strcmp(name, "Retry-After") == 0;
	must(evhttp_add_header(evhttp_request_get_output_headers(r->ev), name, value) == 0);
}

void
http_answer(struct http_request *r, int status, const char *type, const void *body, size_t length)
{
	if ((status == 503 || status == 429) && !r->retry_after)
		http_answer_header(r, "Retry-After", "1");
	if (type)
		http_answer_header(r, "Content-Type", type);
	http_answer_header(r, "X-Request-Id", r->id);
	if (r->http->draining)
		http_answer_header(r, "Connection", "close");
	if (length)
		must(evbuffer_add(evhttp_request_get_output_buffer(r->ev), body, length) == 0);
	http_request_done(r, status);
}

void
http_answer_json(struct http_request *r, int status, const struct buf *body)
{
	if (buf_failed(body)) {
		log_error("an answer is over its bound", LOG_S("request_id", r->id),
			LOG_S("route", r->count->path));
		http_answer_problem(r, 500, "the answer is too large", NULL, 0);
		return;
	}
	http_answer(r, status, "application/json", buf_text(body), body->length);
}

void
http_answer_problem(struct http_request *r, int status, const char *detail,
	const struct problem_field *errors, size_t count)
{
	struct buf b;

	buf_init(&b, 64 << 10);
	problem_write(&b, status, detail, http_path(r), errors, count);
	if (buf_failed(&b)) { /* a path of 16 KiB may take six times as much when escaped */
		buf_clear(&b);
		problem_write(&b, status, detail, NULL, NULL, 0);
	}
	http_answer(r, status, PROBLEM_TYPE, buf_text(&b), b.length);
	buf_fini(&b);
}

void
http_answer_error(struct http_request *r, const struct err *e)
{
	int status = problem_status(e->kind);

	if (status < 500) {
		http_answer_problem(r, status, e->text, NULL, 0);
		return;
	}
	log_warn("request failed", LOG_S("request_id", r->id), LOG_S("trace_id", r->trace.id),
		LOG_S("route", r->count->path), LOG_I("status", status), LOG_E(e));
	http_answer_problem(r, status,
		e->kind == ERR_AWAY            ? "a store is away, try again"
			: e->kind == ERR_LIMIT ? "too much is waiting, try again"
					       : NULL,
		NULL, 0);
}
