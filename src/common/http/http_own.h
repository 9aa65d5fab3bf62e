/* SPDX-License-Identifier: MIT */
/* What http.c and http_request.c share; nobody else includes it. */
#pragma once

#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <sys/queue.h>

#include "http/http.h"

#define HTTP_ID_MAX 128
#define HTTP_STATUSES 12 /* kept cells a route; more are looked up each time */

struct http_count {
	const char *path; /* the label */
	struct metric_cell *seconds;
	struct {
		int status;
		struct metric_cell *cell;
	} by_status[HTTP_STATUSES];
};

struct http_request {
	TAILQ_ENTRY(http_request) entry; /* of http's open or idle list */
	struct http *http;
	struct evhttp_request *ev;
	struct http_count *count;
	struct arena *mem;
	int64_t began_us;
	char id[HTTP_ID_MAX + 1];
	struct trace trace;
	const char *parts[HTTP_PARTS_MAX];
	size_t part_count;
	struct evkeyvalq query;
	bool has_query, retry_after;
};
TAILQ_HEAD(http_list, http_request);

struct http {
	struct http *next;
	struct http_options o;
	char *listen; /* o.listen's own copy: a reload frees the configuration */
	struct evhttp *ev;
	struct evhttp_bound_socket *bound;
	struct loop_timer *pause, *quiet;
	int64_t held_until_us; /* 0: accepting */
	struct metrics *metrics;
	struct metric_cell *open_cell;
	struct http_count *counts; /* one a route, the last for what has none */
	size_t route_count;
	uint16_t port;
	struct http_list open, spare; /* spare: answered, kept for the next */
	size_t open_count, spare_count;
	bool draining;
	int64_t last_us; /* a request came or was answered */
	void (*drained)(void *);
	void *drained_arg;
};

/* http.c */
void http_request_done(struct http_request *r, int status);
