/* SPDX-License-Identifier: MIT */
/*
 * The consumers, one row each. A row is all that the rest of the system has to
 * know of a consumer: the runtime, onboardctl, the Makefile and tools/stack read
 * this table and nothing else. docs/adding-a-consumer.md says how to add one.
 */
#pragma once

/*
 * X(name, admin port, queue, routing keys, more members of struct consumer_row)
 *
 * Every row begins with a tab, X( and the name: the Makefile and tools/stacklib read
 * it by that. The admin port is that of instance 1; instance N listens 10·(N−1)
 * higher. So no two daemons may have the same last digit within a hundred: the ports
 * from 9101 to 9110 are taken, a new consumer takes 9201 or higher.
 */
#define CONSUMERS(X) \
	X(eventlog, 9105, "user_data_queue", KEYS("user.*"), .trace = TRACE_EVENT_DOCUMENT, \
		.collection = EVENT_COLLECTION, .rebuild = "events") \
	X(cache, 9106, "user_cache_queue", KEYS("user.created", "user.updated", "user.deleted"), \
		.trace = TRACE_PROFILE, .rebuild = "cache") \
	X(segments, 9107, "user_segment_queue", KEYS("user.*"), .trace = TRACE_USER_DOCUMENT, \
		.collection = USER_COLLECTION, .rebuild = "segments") \
	X(mailer, 9108, "user_mail_queue", KEYS("user.created"), .trace = TRACE_MAIL) \
	X(analytics, 9109, "user_analytics_queue", KEYS("user.*"), .trace = TRACE_INBOX, \
		.inbox_days = INBOX_DAYS) \
	/* the next row stands above this line */

/* What `onboardctl trace` looks for, to tell whether an event has had its effect. */
enum consumer_trace {
	TRACE_NONE,           /* it cannot tell: it shows the queue alone, and says so */
	TRACE_EVENT_DOCUMENT, /* a document of `collection` that has the event's id */
	TRACE_USER_DOCUMENT,  /* a document of `collection` that has the user's id */
	TRACE_PROFILE,        /* the user's profile in Redis */
	TRACE_MAIL,           /* the user's rows in mail_log */
	TRACE_INBOX,          /* the event's row in analytics_inbox */
};

struct consumer_row {
	const char *name;          /* the daemon is onboard-NAME */
	unsigned short admin_port; /* of instance 1 */
	const char *queue;
	const char *const *keys; /* routing keys that it binds on user_events; NULL-ended */
	enum consumer_trace trace;
	/* Of MongoDB. The runtime keeps its indexes (model/doc_indexes.h), doctor checks them. */
	const char *collection; /* NULL: none */
	/* `onboardctl rebuild WORD` makes the consumer's data again. */
	const char *rebuild; /* NULL: nothing does */
	/*
	 * The consumer knows for so long which events it has handled. An older event that is
	 * replayed may have its effect twice. 0: no event ever has its effect twice.
	 */
	int inbox_days;
};

/* Ends with a NULL name. */
extern const struct consumer_row consumer_rows[];
const struct consumer_row *consumer_row_find(const char *name); /* NULL: none of that name */

enum {
	CONSUMER_COUNT = 0
#define CONSUMER_ONE(...) +1
	CONSUMERS(CONSUMER_ONE)
};
/* " eventlog cache …": a constant, for help and messages. */
#define CONSUMER_NAME(name, ...) " " #name
#define CONSUMER_NAMES CONSUMERS(CONSUMER_NAME)
