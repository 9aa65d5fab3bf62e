/* SPDX-License-Identifier: MIT */
/*
 * The replay's state. A pass is one look at the queue that publishes what is
 * chosen and acks it once it is confirmed; after a lost connection, and between
 * the steps of a canary, there is another. Confirmed entries are remembered by
 * key, so that no later pass publishes them again, and by event and consumer, so
 * that an entry that comes back dead is known.
 */
#pragma once

#include "ctl/dlq/dlq.h"

#define REPLAY_WINDOW 1024
#define REPLAY_REASONS 8

struct replay_slot {
	uint64_t deliver_tag;
	bool returned;
	struct dlq_hash body;
	char id[DLQ_ID_SIZE], key[DLQ_KEY_SIZE];
	char queue[256], event[256];
};

struct replay_pending {
	struct replay_pending *next;
	struct arena *mem;
	struct broker_message *m;
};

struct replay {
	struct dlq *d;
	struct dlq_selection s;
	struct dlq_reader reader;
	struct dlq_set done;          /* keys: confirmed by earlier passes */
	struct dlq_set fresh;         /* keys: confirmed by this pass */
	struct dlq_set ids;           /* of all that were confirmed */
	struct dlq_set events;        /* of all that were confirmed: consumer and event */
	struct dlq_set refused;       /* keys: they stay */
	uint64_t tags[REPLAY_WINDOW]; /* of the publish in each slot; 0: free */
	struct replay_slot slots[REPLAY_WINDOW];
	size_t in_flight, window; /* at most so many; a power of two, REPLAY_WINDOW at most */
	bool alone;               /* what is in flight is so large that it goes by itself */
	struct replay_pending *first, **last;
	size_t pending, pending_bytes;
	bool full;                       /* the pass ended early: memory holds no more of them */
	uint64_t pass_max, pass_started; /* of this pass; max 0: no bound */
	int64_t pass_ms, moved_ms, start_us;
	uint64_t replayed, stayed, homeless, old, chosen;
	struct {
		char text[200];
		uint64_t count;
	} reasons[REPLAY_REASONS];
	size_t reason_count;
};

/* One pass; ERR_AWAY and a channel that was closed are mended by another. */
int replay_pass(struct replay *r, uint64_t max, struct err *e) MUST_CHECK;
/* It was replayed by this command and is dead again. */
bool replay_came_back(struct replay *r, const struct dlq_entry *entry,
	const struct broker_message *m);
void replay_stays(struct replay *r, const char *key, const char *format, ...) PRINTF_LIKE(3, 4);
/* False: it stays, which is counted with its reason. */
bool replay_may_go(struct replay *r, const struct dlq_entry *entry, const char *key);
