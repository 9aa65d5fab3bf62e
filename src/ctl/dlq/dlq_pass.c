/* SPDX-License-Identifier: MIT */
/* One pass of a replay: each entry is published, then confirmed, then acked. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "ctl/dlq/dlq_replay.h"
#include "model/consumers.h"
#include "model/dead_letter.h"

#define PREFETCH 2000             /* messages that wait in memory at most, */
#define PENDING_BYTES (64u << 20) /* and about as many bytes */
#define ALONE_BYTES (1u << 20)
#define STALL_MS 30000
#define US_A_DAY 86400000000LL
#define CLOCKS_US 2000000 /* how far two hosts' clocks may differ */

/* Consumer and event id; without an id, a hash of the body. */
static void
event_of(const struct dlq_entry *entry, const struct broker_message *m, char out[static 256])
{
	struct dlq_hash h;

	dlq_hash_begin(&h);
	dlq_hash_add(&h, m->body, m->length);
	if (entry->event_id)
		snprintf(out, 256, "%.120s %.120s", entry->consumer ? entry->consumer : "",
			entry->event_id);
	else
		snprintf(out, 256, "%.120s %016" PRIx64 "%016" PRIx64,
			entry->consumer ? entry->consumer : "", h.half[0], h.half[1]);
}

bool
replay_came_back(struct replay *r, const struct dlq_entry *entry, const struct broker_message *m)
{
	char event[256];

	/* the same event may have an older entry, too; two hosts' clocks tell them apart */
	if (entry->failed_us >= 0 && entry->failed_us < r->start_us - CLOCKS_US)
		return false;
	event_of(entry, m, event);
	/* a consumer gives a new id each time: a known one is another copy of a replayed entry */
	return dlq_set_has(&r->events, event, NULL) && !dlq_set_has(&r->ids, entry->id, NULL);
}

void
replay_stays(struct replay *r, const char *key, const char *format, ...)
{
	char text[sizeof r->reasons->text];
	size_t i = 0;
	va_list args;

	if (!dlq_set_add(&r->refused, key, NULL))
		return;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	r->stayed++;
	while (i < r->reason_count && strcmp(r->reasons[i].text, text) != 0)
		i++;
	if (i == REPLAY_REASONS)
		i--; /* the last stands for all further ones */
	else if (i == r->reason_count)
		memcpy(r->reasons[r->reason_count++].text, text, sizeof text);
	r->reasons[i].count++;
}

/* The consumer, if its inbox has forgotten the event by now; else NULL. */
static const struct consumer_row *
forgotten_by(const struct dlq_entry *entry)
{
	const struct consumer_row *c = entry->consumer ? consumer_row_find(entry->consumer) : NULL;
	int64_t us = entry->failed_us;

	if (!c || c->inbox_days == 0)
		return NULL;
	if (entry->first_failed_at &&
		clock_parse_rfc3339(entry->first_failed_at, strlen(entry->first_failed_at), &us,
			NULL))
		us = entry->failed_us;
	return us >= 0 && us < clock_wall_us() - c->inbox_days * US_A_DAY ? c : NULL;
}

bool
replay_may_go(struct replay *r, const struct dlq_entry *entry, const char *key)
{
	const struct consumer_row *c;
	struct err why = ERR_INIT;

	if (dlq_return_check(entry, &why)) {
		replay_stays(r, key, "%s", why.text);
		return false;
	}
	c = r->d->o.force ? NULL : forgotten_by(entry);
	if (c) {
		replay_stays(r, key,
			"of %s and over %d days old: its inbox has forgotten them, they might "
			"count twice; --force replays them",
			c->name, c->inbox_days);
		return false;
	}
	return true;
}

/* The slot with this tag; 0: a free one. */
static struct replay_slot *
slot_find(struct replay *r, uint64_t tag)
{
	for (size_t i = 0; i < REPLAY_WINDOW; i++)
		if (r->tags[i] == tag)
			return &r->slots[i];
	return NULL;
}

static bool
rate_allows(const struct replay *r)
{
	int64_t rate = r->d->o.rate;

	return !rate || r->pass_started <= (uint64_t)((clock_mono_ms() - r->pass_ms) * rate / 1000);
}

static bool
has_room(const struct replay *r, const struct broker_message *m)
{
	return r->in_flight < r->window &&
		!((m->length >= ALONE_BYTES || r->alone) && r->in_flight) && rate_allows(r);
}

/* 0: sent, or it stays; 1: not now. */
static int
entry_publish(struct replay *r, const struct dlq_entry *entry, const char *key,
	const struct broker_message *m, struct err *e)
{
	struct replay_slot *slot;
	uint64_t tag = 0;
	struct err why = ERR_INIT;
	struct dead_letter_return back;

	if (!has_room(r, m))
		return 1;
	slot = slot_find(r, 0);
	must(slot);
	dead_letter_return(&back, m, entry->queue, NULL);
	if (broker_publish(r->d->b, &back.publish, &tag, &why)) {
		if (broker_fd(r->d->b) < 0)
			return err_set(e, ERR_AWAY, "%s", why.text);
		if (why.kind == ERR_AWAY || why.kind == ERR_LIMIT)
			return 1;
		replay_stays(r, key, "%s", why.text);
		return 0;
	}
	r->tags[slot - r->slots] = tag;
	r->alone = m->length >= ALONE_BYTES;
	r->in_flight++;
	r->pass_started++;
	slot->deliver_tag = m->tag;
	slot->returned = false;
	dlq_hash_begin(&slot->body);
	dlq_hash_add(&slot->body, m->body, m->length);
	snprintf(slot->id, sizeof slot->id, "%s", entry->id);
	snprintf(slot->queue, sizeof slot->queue, "%s", entry->queue);
	snprintf(slot->key, sizeof slot->key, "%s", key);
	event_of(entry, m, slot->event);
	return 0;
}

static void
pass_confirmed(void *arg, uint64_t tag, bool nacked)
{
	struct replay *r = arg;
	struct replay_slot *slot = slot_find(r, tag);

	if (!slot)
		return;
	r->moved_ms = clock_mono_ms();
	r->in_flight--;
	if (r->window < REPLAY_WINDOW)
		r->window *= 2;
	r->tags[slot - r->slots] = 0;
	if (slot->returned) {
		replay_stays(r, slot->key,
			"there is no queue %s; `onboardctl topology declare` makes our own",
			slot->queue);
	} else if (nacked) {
		replay_stays(r, slot->key, "the broker refused them (is %s full?)", slot->queue);
	} else {
		dlq_set_add(&r->fresh, slot->key, NULL);
		dlq_set_add(&r->ids, slot->id, NULL);
		dlq_set_add(&r->events, slot->event, NULL);
		r->replayed++;
		/* if the ack gets lost, the entry comes again and is known by its key */
		if (broker_ack(r->d->b, slot->deliver_tag, false, NULL) == 0)
			r->reader.acked++;
	}
}

/* Comes before its confirm. */
static void
pass_returned(void *arg, const struct broker_message *m, int code, const char *why)
{
	struct replay *r = arg;
	struct dlq_hash body;

	(void)code;
	(void)why;
	dlq_hash_begin(&body);
	dlq_hash_add(&body, m->body, m->length);
	for (size_t i = 0; i < REPLAY_WINDOW; i++) {
		struct replay_slot *s = &r->slots[i];

		if (r->tags[i] && !s->returned && strcmp(s->queue, m->routing_key) == 0 &&
			memcmp(&s->body, &body, sizeof body) == 0) {
			s->returned = true;
			return;
		}
	}
}

static int
pending_keep(struct replay *r, const struct broker_message *m, struct err *e)
{
	struct replay_pending *p = must_calloc(1, sizeof *p);

	p->mem = arena_new(1024, BROKER_BODY_MAX + 2 * BROKER_HEAD_MAX);
	p->m = broker_message_copy(m, p->mem);
	if (!p->m) {
		arena_free(p->mem);
		free(p);
		return err_set(e, ERR_LIMIT, "no room for a message of %zu bytes", m->length);
	}
	*r->last = p;
	r->last = &p->next;
	r->pending++;
	r->pending_bytes += m->length;
	if (r->pending_bytes > PENDING_BYTES)
		r->full = r->reader.stop = true;
	return 0;
}

static void
pending_drop(struct replay *r)
{
	struct replay_pending *p = r->first;

	r->first = p->next;
	if (!r->first)
		r->last = &r->first;
	r->pending--;
	r->pending_bytes -= p->m->length;
	arena_free(p->mem);
	free(p);
}

static int
pass_message(void *arg, const struct broker_message *m, struct err *e)
{
	struct replay *r = arg;
	struct dlq_entry entry;
	char key[DLQ_KEY_SIZE];
	int rc;

	dlq_entry_read(&entry, m, r->d->mem);
	dlq_entry_key(&entry, m, key);
	/*
	 * Confirmed in an earlier pass, its ack lost on the way. Within one pass no
	 * delivery comes twice, so an equal one is a message of its own.
	 */
	if (dlq_set_has(&r->done, key, NULL)) {
		if (broker_ack(r->d->b, m->tag, false, e))
			return -1;
		r->reader.acked++;
		return 0;
	}
	if (!dlq_selected(&r->s, &entry, m) || dlq_set_has(&r->refused, key, NULL) ||
		replay_came_back(r, &entry, m) || !replay_may_go(r, &entry, key))
		return 0;
	rc = r->pending ? 1 : entry_publish(r, &entry, key, m, e);
	if (rc == 1)
		rc = pending_keep(r, m, e);
	if (r->pass_max && r->pass_started + r->pending >= r->pass_max)
		r->reader.stop = true;
	return rc;
}

static int
pass_turn(void *arg, struct err *e)
{
	struct replay *r = arg;
	struct dlq_entry entry;
	char key[DLQ_KEY_SIZE];

	while (r->first) {
		int rc;

		if (!has_room(r, r->first->m))
			break;
		arena_reset(r->d->mem);
		dlq_entry_read(&entry, r->first->m, r->d->mem);
		dlq_entry_key(&entry, r->first->m, key);
		rc = entry_publish(r, &entry, key, r->first->m, e);
		if (rc < 0)
			return -1;
		if (rc == 1)
			break;
		pending_drop(r);
		r->moved_ms = clock_mono_ms();
	}
	if (!r->in_flight && (!r->first || r->d->o.rate))
		r->moved_ms = clock_mono_ms();
	if (clock_mono_ms() - r->moved_ms > STALL_MS)
		return err_set(e, ERR_CONFLICT,
			"the broker has confirmed nothing for %d s; `onboardctl doctor` says why",
			STALL_MS / 1000);
	return 0;
}

static bool
pass_busy(void *arg)
{
	const struct replay *r = arg;

	return r->first || r->in_flight;
}

int
replay_pass(struct replay *r, uint64_t max, struct err *e)
{
	int rc;

	r->reader = (struct dlq_reader){ .what = "replaying",
		.message = pass_message,
		.turn = pass_turn,
		.busy = pass_busy,
		.confirmed = pass_confirmed,
		.returned = pass_returned,
		.arg = r,
		.done = &r->fresh,
		.prefetch = PREFETCH };
	r->pass_max = max;
	r->pass_started = 0;
	r->full = false;
	r->pass_ms = r->moved_ms = clock_mono_ms();
	r->last = &r->first;
	rc = dlq_read(r->d, &r->reader, e);
	/* a channel is closed over one message: when that went alone, it is known which */
	if (rc && e->kind != ERR_AWAY && e->kind != ERR_INTERNAL && r->alone && r->in_flight == 1)
		for (size_t i = 0; i < REPLAY_WINDOW; i++)
			if (r->tags[i])
				replay_stays(r, r->slots[i].key, "%.150s", e->text);
	dlq_set_merge(&r->done, &r->fresh);
	while (r->first)
		pending_drop(r);
	memset(r->tags, 0, sizeof r->tags);
	r->in_flight = 0;
	r->alone = false;
	return rc;
}
