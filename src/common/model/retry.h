/* SPDX-License-Identifier: MIT */
/*
 * Where a message goes that a consumer could not finish, and with which
 * headers: the next retry queue, or the dead-letter exchange. Pure: it fills in
 * a struct broker_publish, and publishing is the consumer's.
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
	enum retry_class class;        /* AGAIN, or why it is dead */
	int64_t count;                 /* x-retry-count as it goes out */
	struct broker_field headers[RETRY_HEADERS_MAX];
	char queue[256], dead_id[40], failed_at[32], first_failed_at[32],
		error[RETRY_ERROR_MAX + 1];
	char original_key[256];
};

/*
 * class AGAIN is EXHAUSTED where no retry is left. m must live until it is
 * published, and out stay where it is. now_us: wall clock.
 */
void retry_make(struct retry *out, const struct broker_message *m, const char *consumer,
	const char *queue, enum retry_class class, const char *error, int64_t now_us);
int64_t retry_count(const struct broker_message *m); /* missing or no number: 0 */
const char *retry_class_name(enum retry_class c);
