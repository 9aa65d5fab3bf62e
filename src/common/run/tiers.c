/* SPDX-License-Identifier: MIT */
/* The life of the tiers, their kinds, and what other processes say on the channel. */
#include "run/tiers.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/loop.h"
#include "run/daemon.h"
#include "run/tiers_own.h"

#define JUST_MS 1000
#define LOCAL_ENTRIES 64
#define LOCAL_BYTES (4u << 20)

static const struct metric_def defs[M_COUNT] = {
	[M_MEMORY_HITS] = { "onboard_cache_memory_hits_total", METRIC_COUNTER,
		"Reads answered from the process.", {} },
	[M_MEMORY_MISSES] = { "onboard_cache_memory_misses_total", METRIC_COUNTER,
		"Reads that the process did not have.", {} },
	[M_MEMORY_ENTRIES] = { "onboard_cache_memory_entries", METRIC_GAUGE,
		"Answers kept in the process.", {} },
	[M_REDIS_HITS] = { "onboard_cache_redis_hits_total", METRIC_COUNTER,
		"Reads answered from Redis.", {} },
	[M_REDIS_MISSES] = { "onboard_cache_redis_misses_total", METRIC_COUNTER,
		"Reads that went to the database.", {} },
};

/* ---- kinds ---- */

const struct tiers_kind *
tiers_kind_of(const struct tiers_kind *const *kinds, const char *key)
{
	size_t length = strlen(key);

	for (; *kinds; kinds++) {
		size_t begin = strlen((*kinds)->begin), end = strlen((*kinds)->end);

		if (length >= begin + end && memcmp(key, (*kinds)->begin, begin) == 0 &&
			memcmp(key + length - end, (*kinds)->end, end) == 0)
			return *kinds;
	}
	return NULL;
}

void
tiers_guard_key(const struct tiers_kind *kind, const char *key, char out[static REDIS_KEY_SIZE])
{
	size_t kept = strlen(key) - strlen(kind->end), guard = strlen(kind->guard);

	must(kept + guard < REDIS_KEY_SIZE);
	memcpy(out, key, kept);
	memcpy(out + kept, kind->guard, guard + 1);
}

/* ---- whether copies may be used ---- */

/*
 * Without the channel this process does not hear of changes. While a process owes an
 * invalidation, some changes have been told to nobody.
 */
bool
tiers_usable(const struct tiers *t)
{
	return owed_none(t->owed) && link_usable(kv_async_link(t->listener)) &&
		link_usable(kv_async_link(t->kv));
}

/* Copies, and answers that are being made, may be older than what we did not hear. */
static void
copies_renew(void *arg)
{
	struct tiers *t = arg;

	lru_clear(t->shared);
	flights_forget_all(t->flights);
}

static bool
redis_reached(void *arg)
{
	struct tiers *t = arg;

	return link_usable(kv_async_link(t->kv));
}

/* ---- what other processes changed ---- */

void
tiers_ignore(void *arg, const struct kv_reply *r, const struct err *e)
{
	(void)arg;
	(void)r;
	(void)e;
}

static void
on_invalidate(void *arg, const struct kv_reply *r)
{
	struct tiers *t = arg;
	const struct tiers_kind *kind;

	if (!r) { /* The subscription has begun, perhaps again: messages may have been missed. */
		copies_renew(t);
		return;
	}
	if (r->type != KV_TEXT)
		return;
	kind = tiers_kind_of(t->kinds, r->text);
	/* No version guards it: our text may have reached Redis after the other process' DEL. */
	if (kind && !kind->guard && clock_mono_ms() - t->plain_put_ms < JUST_MS)
		(void)!kv_async_run(t->kv, 2, (const char *const[]){ "DEL", r->text }, NULL,
			tiers_ignore, NULL, NULL);
	lru_drop(t->shared, r->text);
	flights_forget(t->flights, r->text);
}

/* ---- what this process changed ---- */

void
tiers_changed(struct tiers *t, const char *key, int64_t version, tiers_done_fn *done, void *arg)
{
	const struct tiers_kind *kind = tiers_kind_of(t->kinds, key);
	struct owed_item item = { .version = version };

	must(kind && strlen(key) < sizeof item.key);
	memcpy(item.key, key, strlen(key) + 1);
	if (kind->guard)
		lru_floor(t->shared, key, version);
	else
		lru_drop(t->shared, key);
	flights_forget(t->flights, key);
	tiers_tell(t, &item, done, arg);
}

/* ---- their life ---- */

static int
links_open(struct tiers *t, const struct tiers_options *o, struct err *e)
{
	const struct kv_options commands = { .url = o->redis_url };
	const struct kv_options channel = { .url = o->redis_url,
		.link_name = "redis-channel",
		.channel = CACHE_INVALIDATE,
		.message = on_invalidate,
		.message_arg = t };
	const struct owed_options owed = { .loop = o->loop,
		.url = o->postgres_url,
		.application = o->application,
		.can_pay = redis_reached,
		.pay = tiers_pay,
		.renew = copies_renew,
		.arg = t };

	t->kv = kv_async_open(loop_base(o->loop), &commands, e);
	if (!t->kv)
		return -1;
	t->listener = kv_async_open(loop_base(o->loop), &channel, e);
	if (!t->listener)
		return -1;
	t->owed = owed_new(&owed, e);
	return t->owed ? 0 : -1;
}

struct tiers *
tiers_new(const struct tiers_options *o, struct err *e)
{
	struct tiers *t = must_calloc(1, sizeof *t);

	t->kinds = o->kinds;
	t->ttl_s = o->ttl_s;
	t->plain_put_ms = INT64_MIN / 2;
	t->shared = lru_new(o->lru_entries, o->lru_bytes, o->lru_ms);
	t->local = lru_new(LOCAL_ENTRIES, LOCAL_BYTES, o->local_ms);
	t->flights = flights_new();
	t->metrics = metrics_new(defs, ARRAY_LEN(defs));
	for (size_t i = 0; i < M_COUNT; i++)
		t->cells[i] = metrics_cell(t->metrics, i);
	if (links_open(t, o, e) == 0)
		return t;
	tiers_free(t);
	return NULL;
}

void
tiers_free(struct tiers *t)
{
	if (!t)
		return;
	kv_async_close(t->listener);
	kv_async_close(t->kv);
	owed_free(t->owed);
	flights_free(t->flights);
	lru_free(t->shared);
	lru_free(t->local);
	metrics_free(t->metrics);
	free(t);
}

void
tiers_attach(struct tiers *t, struct daemon *d)
{
	daemon_depends(d, kv_async_link(t->kv), false);
	daemon_depends(d, kv_async_link(t->listener), false);
	daemon_depends(d, owed_link(t->owed), false);
	daemon_metrics(d, t->metrics);
}
