/* SPDX-License-Identifier: MIT */
/* A signup under way; shared by signup.c, signup_batch.c and signup_key.c. */
#pragma once

#include <sys/queue.h>

#include "api.h"
#include "base/uuid7.h"
#include "model/event.h"
#include "model/outbox_sql.h"
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
	const char *head, *tail;  /* the event's text before and after the user's id */
	const char *key, *normal; /* Idempotency-Key and its normalised body; NULL: none */
	struct sql_params params; /* of the statements about its key */
	/* Another request holds the key: when to ask again. Until then s is in all->claiming. */
	struct loop_timer *again;
	int64_t key_until_ms;
	int64_t user_id;
	unsigned turns; /* tries that ended without a verdict */
	bool alone;     /* its batch failed: it gets a batch of its own */
};
TAILQ_HEAD(signup_list, signup);

struct signup_batch;

struct signups {
	struct api *api;
	struct signup_list queue, claiming;
	size_t queued, queue_max, batch_max;
	bool busy;     /* a batch is under way, or paced */
	bool paced;    /* the next batch waits for the timer pace */
	bool stopping; /* signups that would wait fail instead */
	struct loop_timer *pace;
	int64_t pace_ms;  /* how far the broker may fall behind; 0: any */
	size_t last_rows; /* of the last batch */
	struct signup_batch *batch;
	struct buf text; /* scratch: of one answer or event */
};

/* signup.c */
void signup_enqueue(struct signup *s);
void signup_fail(struct signup *s, const struct err *e); /* answers; s is gone after it */
void signup_created(struct signup *s);
void signup_taken(struct signup *s, bool username, bool email);
void signup_next(struct signups *all); /* begins the next batch if any signup waits */

/* signup_batch.c */
struct signup_batch *signup_batch_new(struct signups *all);
void signup_batch_free(struct signup_batch *b);
void signup_batch_run(struct signup_batch *b);    /* takes signups from the queue */
void signup_batch_cancel(struct signup_batch *b); /* fails a batch that waits for the database */

/* signup_key.c */
/* Claims the key, then enqueues s; or gives the answer that the key's first request got. */
void signup_key_claim(struct signup *s);
void signup_key_wait(struct signup *s); /* another request holds the key: asks again later */
/* The signup has failed: the client's next try need not wait for the claim to grow old. */
void signup_key_release(struct signup *s);
int signup_key_read(struct signup *s); /* 0: no key, or a valid one; -1: answered */
