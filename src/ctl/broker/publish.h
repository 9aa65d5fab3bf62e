/* SPDX-License-Identifier: MIT */
/* publish: test events. Its words say what is sent; publish_send.c sends it. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "ctl/broker/publish_event.h"
#include "ctl/kit/ctl.h"
#include "link/broker.h"

#define PUBLISH_WINDOW 1024
#define PUBLISH_INPUT_MAX (16u << 20)

struct publish {
	struct ctl *ctl;
	struct publish_event event;
	const char *payload_text, *raw_file, *exchange, *key;
	struct buf raw;
	bool has_raw;
	int64_t count, rate, priority; /* priority -1: none */
	struct arena *mem;
	struct broker *b;
	struct {
		uint64_t tag; /* 0: free */
		char id[256];
		int64_t user_id;
		bool returned;
	} slots[PUBLISH_WINDOW];
	size_t in_flight;
	int64_t sent, confirmed, unroutable, refused, moved_ms;
};

/*
 * Sends count events, mandatory, at most PUBLISH_WINDOW of them unconfirmed, and
 * prints each id once the broker has confirmed it. ERR_CONFLICT: some were not taken.
 */
int publish_send(struct publish *p, struct err *e) MUST_CHECK;
