/* SPDX-License-Identifier: MIT */
/*
 * Decides where a message goes that a consumer could not finish, and with which
 * headers: to the next retry queue, or to the dead-letter exchange. It is pure:
 * it fills in a struct broker_publish, and the consumer publishes.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "link/broker.h"
#include "model/topology.h"

enum retry_class { RETRY_AGAIN, RETRY_PERMANENT, RETRY_EXHAUSTED, RETRY_POISON };

#define RETRY_ERROR_MAX 1024 /* bytes of x-error */
#define RETRY_HEADERS_MAX 10

struct retry {
	struct broker_publish publish; /* points into this struct and the message */
	enum retry_class class;        /* AGAIN, or the reason for the dead letter */
	int64_t count;                 /* the new x-retry-count */
	struct broker_field headers[RETRY_HEADERS_MAX];
	char queue[256], dead_id[40], failed_at[32], first_failed_at[32],
		error[RETRY_ERROR_MAX + 1];
	char original_key[256];
};

/*
 * AGAIN becomes EXHAUSTED when no retry is left. Until the message is published,
 * m must live, and out must not move. now_us: wall clock.
 */
void retry_make(struct retry *out, const struct broker_message *m, const char *consumer,
	const char *queue, enum retry_class class, const char *error, int64_t now_us);
int64_t retry_count(const struct broker_message *m); /* 0 if the header is missing or no number */
const char *retry_class_name(enum retry_class c);
