/* SPDX-License-Identifier: MIT */
/*
 * An HTTP server on the loop: a table of routes over evhttp, with what every
 * answer of ours has: a request id, a trace, problem+json, a count and a time.
 *
 * A handler answers now or later, exactly once, with one of the http_answer
 * functions; until then the request and its arena are the handler's, also when
 * the client has gone. What evhttp lets through and must not reach a handler
 * is refused here: control bytes, bad UTF-8, doubled or odd lengths, bodies
 * over the route's bound, methods and paths that no route has.
 *
 * Draining: nothing new is accepted, what comes on open connections is still
 * served and then closed; done is called once nothing has been open for a while.
 *
 * Threads: the loop's.
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
	const struct http_route *routes;                 /* ends with a NULL method; static */
	bool (*gate)(void *arg, struct http_request *r); /* false: it has answered; may be NULL */
	bool (*open)(
		void *arg); /* a socket of systemd's: who comes early waits for it, 3 s at most */
	void *arg;          /* of gate, open and handlers */
	int idle_s;         /* without a byte; 0: 60 */
	size_t header_max_bytes; /* 0: 16 KiB */
};

struct http *http_new(const struct http_options *o, struct err *e) MUST_CHECK;
void http_free(struct http *h); /* answers what is open with 503; NULL is fine */
void http_drain(struct http *h, void (*done)(void *), void *arg);
uint16_t http_port(const struct http *h);
struct metrics *http_metrics(struct http *h);

/* ---- the request: all texts are NUL-ended and live until it is answered ---- */

struct arena *http_mem(struct http_request *r);
const struct trace *http_trace(const struct http_request *r);
const char *http_path(const struct http_request *r);           /* as it came */
const char *http_part(const struct http_request *r, size_t i); /* the i-th {...}, decoded */
bool http_part_id(const struct http_request *r, size_t i, int64_t *out); /* 1 to 2^53 */
const char *http_query(struct http_request *r, const char *name);        /* decoded; NULL: absent */
const char *http_header(const struct http_request *r, const char *name); /* NULL: absent */
const char *http_body(struct http_request *r, size_t *length);
bool http_from_loopback(const struct http_request *r);
/* The body as JSON; NULL: it was not, and is answered (415, 400). */
const struct json *http_json(struct http_request *r) MUST_CHECK;

/* ---- the answer: r is gone after any of the four ---- */

void http_answer_header(struct http_request *r, const char *name, const char *value);
void http_answer(struct http_request *r, int status, const char *type, const void *body,
	size_t length);
void http_answer_json(struct http_request *r, int status, const struct buf *body);
/* detail may be NULL. 503 and 429 bring Retry-After: 1 unless it is set. */
void http_answer_problem(struct http_request *r, int status, const char *detail,
	const struct problem_field *errors, size_t count);
/* By the error's kind; what is not the client's to know is logged and not told. */
void http_answer_error(struct http_request *r, const struct err *e);
