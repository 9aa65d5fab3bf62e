/* SPDX-License-Identifier: MIT */
/*
 * The inbox: the ids of the events that a consumer has counted, so that a copy
 * counts once. Only onboard-analytics has one. It forgets an event after
 * INBOX_DAYS days, as its row in model/consumers.h says; a copy that comes later
 * counts again, so `dlq replay` asks before it returns an older entry.
 */
#pragma once

#define INBOX_TABLE "analytics_inbox" /* partitioned by day, see model/days.h */
#define INBOX_DAYS 90
