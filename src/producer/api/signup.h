/* SPDX-License-Identifier: MIT */
/* A signup on its way, and what the three files of it share. */
#pragma once

#include <sys/queue.h>

#include "api.h"
#include "base/uuid7.h"
#include "places.h"
#include "user_input.h"

#define SIGNUP_KEY_MAX 255

/* Lives in its request's arena. */
struct signup {
	TAILQ_ENTRY(signup) entry;
	struct signups *all;
	struct http_request *request;
	struct user_input in;
	struct place place; /* city_id 0: no address */
	struct uuid event;
	char event_text[UUID_TEXT_SIZE], day[OUTBOX_DAY_SIZE];
	const char *head, *tail;  /* the event around the user's id */
	const char *key, *normal; /* Idempotency-Key and the body it is for; NULL: none */
	struct sql_params params; /* of the statements that are its own */
	struct loop_timer
		*again; /* another holds the key: asked again; in all->claiming till then */
	int64_t key_until_ms;
	int64_t user_id;
	unsigned turns; /* tries that ended without a verdict */
	bool alone;     /* its batch failed: it gets one of its own */
};
TAILQ_HEAD(signup_list, signup);

struct signup_batch;

struct signups {
	struct api *api;
	struct signup_list queue, claiming;
	size_t queued, queue_max, batch_max;
	bool busy; /* a batch is under way, or waits for its pace (paced) */
	bool paced;
	bool stopping; /* nothing waits any more: it fails instead */
	struct loop_timer *pace;
	int64_t pace_ms;  /* how far the broker may be behind; 0: any */
	size_t last_rows; /* of the last batch */
	struct signup_batch *batch;
	struct buf text; /* of one answer, used again and again */
};

/* signup.c */
void signup_enqueue(struct signup *s);
void signup_fail(struct signup *s, const struct err *e); /* answers, and it is gone */
void signup_created(struct signup *s);
void signup_taken(struct signup *s, bool username, bool email);
void signup_next(struct signups *all); /* a batch has ended: the next, if any waits */

/* signup_batch.c */
struct signup_batch *signup_batch_new(struct signups *all);
void signup_batch_free(struct signup_batch *b);
void signup_batch_run(struct signup_batch *b);    /* takes from the queue */
void signup_batch_cancel(struct signup_batch *b); /* what waits to be asked again fails */

/* signup_key.c */
/* Claims the key, then enqueues; or answers what was answered before. */
void signup_key_claim(struct signup *s);
void signup_key_wait(struct signup *s);    /* another request has taken the key over: asks again */
void signup_key_release(struct signup *s); /* not answered for good: the next try need not wait */
int signup_key_read(struct signup *s);     /* 0: none or sane; -1: it is answered */
