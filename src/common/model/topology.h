/* SPDX-License-Identifier: MIT */
/*
 * The exchanges, queues and bindings. Every daemon declares them before it says
 * READY, and checks them from time to time. The consumers' queues follow from
 * model/consumers.h; nothing but topology.c knows a queue's arguments.
 *
 * A queue that exists with other arguments is never touched: the error says
 * what differs and how to mend it. user.dlq alone is used as it is.
 *
 * Threads: the connection's. Time: each question's deadline is the connection's
 * call_ms; a whole declaration is about forty of them.
 */
#pragma once

#include "base/err.h"
#include "link/broker.h"
#include "model/consumers.h"

#define TOPOLOGY_RETRIES 3

#define TOPOLOGY_EVENTS "user_events"
#define TOPOLOGY_DEAD "dlx"
#define TOPOLOGY_DEAD_KEY "user.failed"
#define TOPOLOGY_DEAD_QUEUE "user.dlq"

/* "<queue>.retry.<n>", n from 1 to TOPOLOGY_RETRIES. */
void topology_retry_name(const char *queue, unsigned n, char out[static 256]);
int64_t topology_retry_ms(unsigned n);

/*
 * Exchanges, queues and bindings of one's own beside the table's: topology.file,
 * or NULL for /etc/onboard/topology.conf where it is there. Once, before any
 * thread. ERR_INVALID names file and line. topology_file.c tells its form.
 */
int topology_file_load(const char *path, struct err *e) MUST_CHECK;
void topology_file_forget(void);
bool topology_file_queue(const char *name); /* the file has a queue of this name */

/* 0 when each name in the list (commas, blanks; "" or NULL: all) is a consumer's; ERR_INVALID. */
int topology_list_check(const char *only_consumers, struct err *e) MUST_CHECK;

/*
 * Declares what is missing. A queue that differs does not keep the others from
 * being declared; the first fault is the error (ERR_CONFLICT: the difference).
 */
int topology_declare(struct broker *b, const char *only_consumers, struct err *e) MUST_CHECK;

enum topology_fault {
	TOPOLOGY_MISSING, /* not there: to be declared */
	TOPOLOGY_DIFFERS, /* there with other arguments: `onboardctl topology mend` */
	TOPOLOGY_AS_IS,   /* user.dlq with other arguments: used as it is */
	TOPOLOGY_UNKNOWN, /* could not be looked at */
};
typedef void topology_fault_fn(void *arg, enum topology_fault fault, const char *object,
	const char *text);

/*
 * Compares and changes nothing, but for bindings: AMQP cannot ask for one, so
 * each is made again, which is harmless where it is there. faults (may be NULL)
 * counts those told, AS_IS left out. -1: the comparison could not be finished.
 */
int topology_check(struct broker *b, const char *only_consumers, topology_fault_fn *tell, void *arg,
	size_t *faults, struct err *e) MUST_CHECK;

#define TOPOLOGY_ARGS_MAX 8
enum topology_step { STEP_EXCHANGE, STEP_QUEUE, STEP_BINDING };

/* One thing to declare, of topology.c's tables or of the file. */
struct topology_object {
	enum topology_step step;
	const char *name;           /* of a binding: the queue */
	const char *exchange, *key; /* of a binding */
	const char *type;           /* of an exchange; NULL: "topic" */
	struct broker_field args[TOPOLOGY_ARGS_MAX];
	size_t arg_count;
	bool as_is; /* user.dlq: one with other arguments is used */
};
typedef int topology_object_fn(struct broker *b, const struct topology_object *o, void *arg,
	struct err *e);

/* Each in an order that works, until fn answers -1. The object lives as long as the call. */
int topology_each(struct broker *b, const char *only_consumers, topology_object_fn *fn, void *arg,
	struct err *e) MUST_CHECK;
/* What topology_declare does with one. */
int topology_declare_object(struct broker *b, const struct topology_object *o, bool passive,
	struct err *e) MUST_CHECK;

/* The broker's words of a 406 as a sentence with the way out; false: not of that form. */
bool topology_explain(const char *words, char *out, size_t size);
