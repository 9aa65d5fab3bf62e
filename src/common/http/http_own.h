/* SPDX-License-Identifier: MIT */
/* Shared by http.c and http_request.c. Other files must not include it. */
#pragma once

#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <sys/queue.h>

#include "http/http.h"

#define HTTP_ID_MAX 128
#define HTTP_STATUSES 12 /* cells kept for each route; further ones are looked up each time */

struct http_count {
	const char *path; /* the label */
	struct metric_cell *seconds;
	struct {
		int status;
		struct metric_cell *cell;
	} by_status[HTTP_STATUSES];
};

struct http_request {
	TAILQ_ENTRY(http_request) entry; /* in http's list of open or spare requests */
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
	char *listen; /* a copy of o.listen: a reload frees the configuration */
	struct evhttp *ev;
	struct evhttp_bound_socket *bound;
	struct loop_timer *pause, *quiet;
	int64_t held_until_us; /* 0: accepting */
	struct metrics *metrics;
	struct metric_cell *open_cell;
	struct http_count *counts; /* one for each route; the last for requests without a route */
	size_t route_count;
	uint16_t port;
	struct http_list open, spare; /* spare: answered requests, kept for reuse */
	size_t open_count, spare_count;
	bool draining;
	int64_t last_us; /* the last time that a request began or ended */
	void (*drained)(void *);
	void *drained_arg;
};

/* http.c */
void http_request_done(struct http_request *r, int status);
