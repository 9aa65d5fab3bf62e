/* SPDX-License-Identifier: MIT */
#include "cache.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "api.h"
#include "base/clock.h"
#include "base/lru.h"
#include "cache_owed.h"
#include "model/redis_keys.h"
#include "run/flight.h"

#define JUST_MS 1000
#define COUNTRY_KEY "users:country:"

struct cache {
	struct api *api;
	struct lru *lru;
	struct kv_async *kv, *listener;
	struct owed *owed;
	int64_t ttl_s;
	uint64_t list_changes;
	int64_t list_put_ms;
};

/* Without the channel we would not hear of changes; while something is owed, others' are not told. */
bool
cache_usable(const struct cache *c)
{
	return owed_none(c->owed) && link_usable(kv_async_link(c->listener)) &&
		link_usable(kv_async_link(c->kv));
}

/* What is held, or being read, may be older than what was said meanwhile. */
static void
copies_renew(void *arg)
{
	struct cache *c = arg;

	lru_clear(c->lru);
	c->list_changes++;
	flights_forget_all(c->api->flights);
}

/* ---- what other processes changed ---- */

static void
on_sent(void *arg, const struct kv_reply *r, const struct err *e)
{
	(void)arg;
	(void)r;
	(void)e; /* only a copy that was not put */
}

/* A list that we wrote just before we heard may stand in Redis since after its deletion. */
static void
list_forget(struct cache *c, const char *key)
{
	const char *argv[2] = { "DEL", key };

	c->list_changes++;
	if (clock_mono_ms() - c->list_put_ms < JUST_MS)
		(void)!kv_async_run(c->kv, 2, argv, NULL, on_sent, NULL, NULL);
}

static void
on_invalidate(void *arg, const struct kv_reply *r)
{
	struct cache *c = arg;

	if (!r) { /* just begun to listen, perhaps again: who knows what was said meanwhile */
		copies_renew(c);
		return;
	}
	if (r->type != KV_TEXT)
		return;
	if (strncmp(r->text, COUNTRY_KEY, strlen(COUNTRY_KEY)) == 0)
		list_forget(c, r->text);
	lru_drop(c->lru, r->text);
	flights_forget(c->api->flights, r->text);
}

/* ---- telling others ---- */

/* One invalidation on its way to Redis. */
struct telling {
	struct cache *cache;
	struct owed_item item;
	bool paying;        /* it stands in PostgreSQL already */
	bool failed, plain; /* plain: without the script, which was refused */
	bool asked;         /* whether the others have been written to */
	unsigned left;      /* replies to come */
	char why[128];
	owed_done_fn *done;
	void *arg;
};

static void on_told(void *arg, const struct kv_reply *r, const struct err *e);

static void
telling_failed(struct telling *t, const char *why)
{
	if (!t->failed)
		snprintf(t->why, sizeof t->why, "%.*s", (int)sizeof t->why - 1, why);
	t->failed = true;
}

static void
telling_ask(struct telling *t, size_t argc, const char *const *argv)
{
	struct err e = ERR_INIT;

	if (kv_async_run(t->cache->kv, argc, argv, NULL, on_told, t, &e))
		telling_failed(t, e.text);
	else
		t->left++;
}

static void
telling_send_plain(struct telling *t, const char *key)
{
	telling_ask(t, 2, (const char *const[]){ "DEL", key });
	telling_ask(t, 3, (const char *const[]){ "PUBLISH", CACHE_INVALIDATE, key });
}

static void
telling_send(struct telling *t)
{
	struct cache *c = t->cache;
	struct profile_write w;
	struct err e = ERR_INIT;

	t->failed = false;
	if (t->item.user_id == 0) {
		profile_country_key(t->item.country, w.profile);
		telling_send_plain(t, w.profile);
		return;
	}
	profile_write_make(&w, t->item.user_id, t->item.version, "", 0, 0, true);
	if (t->plain) { /* the version first: then nobody puts an older profile back */
		(void)!kv_async_run(c->kv, 5,
			(const char *const[]){ "SET", w.guard, w.version, "EX", w.guard_ttl }, NULL,
			on_sent, NULL, NULL);
		telling_send_plain(t, w.profile);
	} else if (kv_async_script(c->kv, profile_script(), 2, PROFILE_WORDS, w.argv, w.lengths,
			   on_told, t, &e)) {
		telling_failed(t, e.text);
	} else {
		t->left++;
	}
}

/* One that is not told to others yet may be of the same change: then its client waits for both. */
static void
telling_end(struct telling *t)
{
	struct owed *o = t->cache->owed;

	if (t->paying)
		owed_paid(o, &t->item, !t->failed);
	else if (t->failed || (t->done && owed_pending(o)))
		owed_add(o, &t->item, t->failed ? t->why : "one before it", t->done, t->arg);
	else if (t->done)
		t->done(t->arg, NULL);
	free(t);
}

static void
on_told(void *arg, const struct kv_reply *r, const struct err *e)
{
	struct telling *t = arg;
	struct err why = ERR_INIT;

	if (e)
		telling_failed(t, e->text);
	else if (kv_check(r, &why))
		telling_failed(t, why.text);
	if (--t->left > 0)
		return;
	if (t->failed && !e && t->item.user_id && !t->plain) {
		t->plain = true;
		telling_send(t);
	} else if (!t->failed && !t->asked && (t->done || t->paying)) {
		/* Redis answers the clients of one round in any order, and then takes commands again */
		t->asked = true;
		telling_ask(t, 1, (const char *const[]){ "PING" });
	}
	if (t->left == 0)
		telling_end(t);
}

static void
invalidate(struct cache *c, const struct owed_item *item, bool paying, owed_done_fn *done,
	void *arg)
{
	struct telling *t = must_calloc(1, sizeof *t);

	t->cache = c;
	t->item = *item;
	t->paying = paying;
	t->done = done;
	t->arg = arg;
	telling_send(t);
	if (t->left == 0)
		telling_end(t);
}

static bool
can_pay(void *arg)
{
	struct cache *c = arg;

	return link_usable(kv_async_link(c->kv));
}

static void
debts_pay(void *arg, const struct owed_item *items, size_t n)
{
	for (size_t i = 0; i < n; i++)
		invalidate(arg, &items[i], true, NULL, NULL);
}

void
cache_user_changed(struct cache *c, int64_t user_id, int64_t version, owed_done_fn *done, void *arg)
{
	const struct owed_item item = { .user_id = user_id, .version = version };
	char key[PROFILE_KEY_SIZE];

	profile_key(user_id, key);
	lru_floor(c->lru, key, version);
	flights_forget(c->api->flights, key);
	invalidate(c, &item, false, done, arg);
}

void
cache_country_changed(struct cache *c, const char *code)
{
	struct owed_item item = { 0 };
	char key[PROFILE_KEY_SIZE];

	if (!code || !*code)
		return;
	snprintf(item.country, sizeof item.country, "%.3s", code);
	profile_country_key(code, key);
	c->list_changes++;
	lru_drop(c->lru, key);
	flights_forget(c->api->flights, key);
	invalidate(c, &item, false, NULL, NULL);
}

/* ---- reading and filling ---- */

const char *
cache_memory_get(struct cache *c, const char *key, size_t *length, int64_t *version)
{
	const char *text = NULL;

	if (cache_usable(c))
		text = lru_get(c->lru, key, length, version);
	metric_add(c->api->cells[text ? M_MEMORY_HITS : M_MEMORY_MISSES], 1);
	return text;
}

void
cache_memory_put(struct cache *c, const char *key, const char *text, size_t length, int64_t version)
{
	lru_put(c->lru, key, text, length, version);
	metric_set(c->api->cells[M_MEMORY_ENTRIES], (int64_t)lru_entries(c->lru));
}

int
cache_redis_get(struct cache *c, const char *key, kv_done_fn *done, void *arg)
{
	const char *argv[2] = { "GET", key };

	return cache_usable(c) ? kv_async_run(c->kv, 2, argv, NULL, done, arg, NULL) : -1;
}

void
cache_profile_put(struct cache *c, int64_t user_id, int64_t version, const char *text,
	size_t length)
{
	struct profile_write w;

	if (!cache_usable(c))
		return;
	profile_write_make(&w, user_id, version, text, length, c->ttl_s, false);
	(void)!kv_async_script(c->kv, profile_script(), 2, PROFILE_WORDS, w.argv, w.lengths,
		on_sent, NULL, NULL);
}

uint64_t
cache_list_changes(const struct cache *c)
{
	return c->list_changes;
}

void
cache_list_put(struct cache *c, const char *key, const char *text, size_t length, uint64_t changes)
{
	char ttl[24];
	const char *argv[5] = { "SET", key, text, "EX", ttl };
	size_t lengths[5];

	if (changes != c->list_changes || !cache_usable(c))
		return;
	c->list_put_ms = clock_mono_ms();
	cache_memory_put(c, key, text, length, 0);
	snprintf(ttl, sizeof ttl, "%" PRId64, c->ttl_s);
	for (size_t i = 0; i < ARRAY_LEN(argv); i++)
		lengths[i] = i == 2 ? length : strlen(argv[i]);
	(void)!kv_async_run(c->kv, 5, argv, lengths, on_sent, NULL, NULL);
}

/* ---- its life ---- */

struct cache *
cache_new(struct api *a, const struct conf *conf, struct err *e)
{
	const char *url = conf_string(conf, "redis", "url");
	struct cache *c = must_calloc(1, sizeof *c);

	c->api = a;
	c->list_put_ms = INT64_MIN / 2;
	c->ttl_s = conf_int(conf, "api", "cache_ttl") / 1000;
	c->lru = lru_new((size_t)conf_int(conf, "api", "lru_entries"),
		(size_t)conf_int(conf, "api", "lru_bytes"), conf_int(conf, "api", "lru_ttl"));
	c->kv = kv_async_open(loop_base(a->loop), &(struct kv_options){ .url = url }, e);
	if (c->kv)
		c->listener = kv_async_open(loop_base(a->loop),
			&(struct kv_options){ .url = url,
				.link_name = "redis-channel",
				.channel = CACHE_INVALIDATE,
				.message = on_invalidate,
				.message_arg = c },
			e);
	if (c->listener)
		c->owed = owed_new(&(struct owed_options){ .loop = a->loop,
					   .url = conf_string(conf, "postgres", "url"),
					   .can_pay = can_pay,
					   .pay = debts_pay,
					   .renew = copies_renew,
					   .arg = c },
			e);
	if (c->owed)
		return c;
	cache_free(c);
	return NULL;
}

void
cache_free(struct cache *c)
{
	if (!c)
		return;
	kv_async_close(c->listener);
	kv_async_close(c->kv);
	owed_free(c->owed);
	lru_free(c->lru);
	free(c);
}

struct link *
cache_link(struct cache *c)
{
	return kv_async_link(c->kv);
}

struct link *
cache_channel_link(struct cache *c)
{
	return kv_async_link(c->listener);
}

struct link *
cache_writes_link(struct cache *c)
{
	return owed_link(c->owed);
}
