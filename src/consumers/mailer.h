/* SPDX-License-Identifier: MIT */
/* The state of onboard-mailer, shared by its files. */
#pragma once

#include <pthread.h>

#include "base/bucket.h"
#include "base/buf.h"
#include "base/metrics.h"
#include "link/smtp.h"
#include "mailer_letter.h"
#include "mailer_log.h"
#include "run/consumer.h"

#define GROUP_MAX 8 /* mails claimed at once: a kill leaves at most so many in doubt */

enum mail_count {
	MAIL_COUNT_SENT,
	MAIL_COUNT_AGAIN,
	MAIL_COUNT_FAILED,
	MAIL_COUNT_UNKNOWN,
	MAIL_COUNT_ALREADY,
	MAIL_COUNT_GONE,
	MAIL_COUNT_TEST,
	MAIL_RESULTS
};

struct mailer {
	struct smtp *smtp;
	int owner; /* this process, in its claims */
	struct metrics *metrics;
	struct metric_cell *cells[MAIL_RESULTS], *seconds;

	pthread_mutex_t lock; /* guards the next two, which a reload sets */
	struct letters *next;
	int64_t next_rate;

	/* only the worker uses these */
	struct letters *letters;
	struct bucket bucket;
	struct buf message;
	struct mail_result results[GROUP_MAX]; /* not written to mail_log yet */
	size_t result_count;
	int64_t end_ms; /* when to stop working; 0: nobody told us to stop */
	bool faulty;
};

struct mail_item {
	struct delivery *d;
	bool busy; /* another mailer held it a moment ago */
};

/* mailer_send.c */
int mailer_handle(struct consumer *c, void *state, struct batch *b, struct err *e) MUST_CHECK;
