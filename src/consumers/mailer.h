/* SPDX-License-Identifier: MIT */
/* What onboard-mailer remembers; its files share it. */
#pragma once

#include <pthread.h>

#include "base/bucket.h"
#include "base/buf.h"
#include "base/metrics.h"
#include "link/smtp.h"
#include "mailer_letter.h"
#include "mailer_log.h"
#include "run/consumer.h"

#define GROUP_MAX 8 /* claimed at once: what a kill leaves in doubt at most */

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
	int owner; /* of claims: this process */
	struct metrics *metrics;
	struct metric_cell *cells[MAIL_RESULTS], *seconds;

	pthread_mutex_t lock; /* of the next two, which a reload brings */
	struct letters *next;
	int64_t next_rate;

	/* the worker's */
	struct letters *letters;
	struct bucket bucket;
	struct buf message;
	struct mail_result results[GROUP_MAX]; /* not in the log yet */
	size_t result_count;
	int64_t end_ms; /* 0: no end was told */
	bool faulty;
};

struct mail_item {
	struct delivery *d;
	bool busy; /* another mailer had it a moment ago */
};

/* mailer_send.c */
int mailer_handle(struct consumer *c, void *state, struct batch *b, struct err *e) MUST_CHECK;
