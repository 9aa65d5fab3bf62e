/* SPDX-License-Identifier: MIT */
/*
 * An HTTP server on the loop: a table of routes over evhttp. It gives every
 * request an id and a trace, every error a problem+json, and counts and times
 * every answer.
 *
 * The story of a request: it arrives, the gate may refuse it, its route's handler
 * runs. The handler answers exactly once, now or later, with one of the
 * http_answer functions. It owns the request and its arena until then, even when
 * the client has gone. The server itself refuses requests that evhttp accepts and
 * no handler should see: control bytes, invalid UTF-8, doubled or odd lengths,
 * bodies over the route's bound, unknown methods and paths.
 *
 * Draining: the server accepts no connection, still serves requests on open
 * connections, and closes each after its answer. It calls done once no request
 * has been open for a while.
 *
 * Threads: the loop's thread alone. Ownership: routes and name must outlive the
 * server. Errors: http_new fails as listen_open does.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "http/problem.h"
#include "base/trace.h"

struct http;
struct http_request;
struct json;
struct loop;
struct metrics;

typedef void http_handler_fn(void *arg, struct http_request *r);

#define HTTP_BODY_MAX (64u << 10)
#define HTTP_PARTS_MAX 4

struct http_route {
	const char *method, *path; /* "GET", "/api/users/{id}"; HEAD goes to GET */
	http_handler_fn *fn;
	size_t body_max; /* 0: HTTP_BODY_MAX */
};

struct http_options {
	struct loop *loop;
	const char *name;   /* "api": the configuration's section, systemd's socket */
	const char *listen; /* host:port */
	bool reuse_port;
	const struct http_route *routes; /* a NULL method ends them */
	bool (*gate)(void *arg,
		struct http_request *r); /* false: the gate has answered; may be NULL */
	bool (*open)(
		void *arg); /* with a socket of systemd: early requests wait for it, at most 3 s */
	void *arg;          /* for gate, open and handlers */
	int idle_s;         /* closes a connection that is idle this long; 0: 60 */
	size_t header_max_bytes; /* 0: 16 KiB */
};

struct http *http_new(const struct http_options *o, struct err *e) MUST_CHECK;
void http_free(struct http *h); /* answers open requests with 503; NULL is fine */
void http_drain(struct http *h, void (*done)(void *), void *arg);
uint16_t http_port(const struct http *h);
struct metrics *http_metrics(struct http *h);

/* ---- the request: texts end with a NUL and live until the answer ---- */

struct arena *http_mem(struct http_request *r);
const struct trace *http_trace(const struct http_request *r);
const char *http_path(const struct http_request *r);           /* as the client sent it */
const char *http_part(const struct http_request *r, size_t i); /* the i-th {...}, decoded */
bool http_part_id(const struct http_request *r, size_t i, int64_t *out); /* 1 to 2^53 */
const char *http_query(struct http_request *r, const char *name);        /* decoded; NULL: absent */
const char *http_header(const struct http_request *r, const char *name); /* NULL: absent */
const char *http_body(struct http_request *r, size_t *length);
bool http_from_loopback(const struct http_request *r);
/* The body as JSON; NULL: it is no JSON, and http_json has answered (415, 400). */
const struct json *http_json(struct http_request *r) MUST_CHECK;

/* ---- the answer: http_answer_header adds to it, each other function sends it and ends r ---- */

void http_answer_header(struct http_request *r, const char *name, const char *value);
void http_answer(struct http_request *r, int status, const char *type, const void *body,
	size_t length);
void http_answer_json(struct http_request *r, int status, const struct buf *body);
/* detail may be NULL. 503 and 429 get Retry-After: 1 unless the handler has set it. */
void http_answer_problem(struct http_request *r, int status, const char *detail,
	const struct problem_field *errors, size_t count);
/* Answers by the error's kind. Internal reasons go to the log and not to the client. */
void http_answer_error(struct http_request *r, const struct err *e);
