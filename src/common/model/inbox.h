/* SPDX-License-Identifier: MIT */
/*
 * The inbox: the ids of the events that a consumer has counted, so that a copy
 * counts once. Only onboard-analytics has one. It forgets an event after
 * INBOX_DAYS days; a copy that comes later counts again, so `dlq replay` asks
 * before it returns an older entry.
 *
 * Threads: any.
 */
#pragma once

#include <stdint.h>

#define INBOX_TABLE "analytics_inbox" /* partitioned by day, see model/days.h */
#define INBOX_DAYS 90

/* How many days this consumer's inbox remembers an event; 0: it has none. NULL is fine. */
int64_t inbox_days(const char *consumer);
