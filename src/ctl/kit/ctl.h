/* SPDX-License-Identifier: MIT */
/*
 * onboardctl: one table of verbs, one handler each, one file a family.
 * A handler parses its own words, prints to stdout, and answers an exit code.
 * Its faults go to stderr as one line that says what to do next.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/conf.h"
#include "base/err.h"

struct broker;

enum ctl_exit {
	CTL_DONE = 0,
	CTL_FAILED = 1,
	CTL_USAGE = 2,
	CTL_NOTHING = 3, /* nothing matched */
	CTL_AWAY = 69,   /* a server cannot be reached */
	CTL_CONF = 78,
};

struct ctl {
	const struct conf *conf;
	bool json;        /* one JSON object a line instead of the table */
	bool colour;      /* a terminal, and NO_COLOR is not set */
	const char *verb; /* for messages: "db migrate" */
};

struct ctl_verb {
	const char *name, *arguments, *summary;
	int (*run)(struct ctl *, int argc, char **argv); /* argv[0] is the verb */
	const char *help;                                /* more lines and examples */
};

/* One line to stderr, "onboardctl VERB: ..."; answers code. */
int ctl_fail(const struct ctl *c, int code, const char *format, ...) PRINTF_LIKE(3, 4);
/* The same with an error: its kind gives the code (AWAY 69, MISSING 3, else 1). */
int ctl_fail_err(const struct ctl *c, const struct err *e);
/* ok, warn or bad, coloured on a terminal. */
enum ctl_mark { CTL_MARK_OK, CTL_MARK_WARN, CTL_MARK_BAD };
const char *ctl_mark(const struct ctl *c, enum ctl_mark m);

/*
 * One finding: "ok   rabbitmq   4.3.0" and, on a line of its own, the way out
 * (fix may be NULL). With --json an object of state, subject, text and fix.
 */
void ctl_finding(const struct ctl *c, enum ctl_mark m, const char *subject, const char *text,
	const char *fix);

/* How many migrations wait; -1: away, or the schema is not what the files say. */
int ctl_schema_check(struct ctl *c, size_t *pending, struct err *e) MUST_CHECK;
/* An answer of the broker: a queue of a million messages may be busy with itself for many seconds. */
#define CTL_BROKER_MS 60000

/* A connection to the broker, or NULL. */
struct broker *ctl_broker(const struct ctl *c, struct err *e) MUST_CHECK;
/* Tells each fault of the topology; counts those that want mending. */
int ctl_topology_check(struct ctl *c, struct broker *b, size_t *faults, struct err *e) MUST_CHECK;
/* How many exchanges and queues of the topology are not there. */
int ctl_topology_missing(struct ctl *c, struct broker *b, size_t *missing, struct err *e)
	MUST_CHECK;

/* --describe: for manuals and completion, not for people; words ends with NULL. */
int ctl_describe(const struct ctl *c, const struct ctl_verb *verbs, size_t n, const char *what,
	char **words);

/* How many mails may have arrived or not. */
int ctl_mail_unknown(struct ctl *c, int64_t *count, struct err *e) MUST_CHECK;

int ctl_counts(struct ctl *c, int argc, char **argv);
/* A whole number from min to max; a rate as "100/s" or "100". */
bool ctl_number(const char *text, int64_t min, int64_t max, int64_t *out);
bool ctl_rate(const char *text, int64_t *out);

int ctl_db(struct ctl *c, int argc, char **argv);
int ctl_dlq(struct ctl *c, int argc, char **argv);
int ctl_maintain(struct ctl *c, int argc);
int ctl_doctor(struct ctl *c, int argc, char **argv);
int ctl_mail(struct ctl *c, int argc, char **argv);
int ctl_pause(struct ctl *c, int argc, char **argv);
int ctl_queues(struct ctl *c, int argc, char **argv);
int ctl_rebuild(struct ctl *c, int argc, char **argv);
int ctl_resume(struct ctl *c, int argc, char **argv);
int ctl_top(struct ctl *c, int argc, char **argv);
int ctl_trace(struct ctl *c, int argc, char **argv);
extern const char dlq_help[], publish_help[];
int ctl_publish(struct ctl *c, int argc, char **argv);
int ctl_topology(struct ctl *c, int argc, char **argv);
