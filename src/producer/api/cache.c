/* SPDX-License-Identifier: MIT */
#include "cache.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "api.h"
#include "base/clock.h"
#include "base/lru.h"
#include "run/profile.h"
#include "user_get.h"

#define OWED_MAX 4096 /* past it Redis is not trusted until all it holds has aged out */
#define OWED_EVERY_MS 500
/* Others may still owe Redis what we read there: their links are back within 5 s, and a connect. */
#define OTHERS_OWE_MS 8000
#define JUST_MS 1000
#define COUNTRY_KEY "users:country:"

/* What Redis must still be told: it was away when it should have been. */
struct owed {
	int64_t user_id, version; /* user_id 0: a country */
	char country[4];
};

struct cache {
	struct api *api;
	struct lru *lru;
	struct kv_async *kv, *listener;
	struct loop_timer *timer;
	int64_t ttl_s;
	struct owed *owed;
	size_t owed_count;
	int64_t distrust_until_ms;
	bool heard; /* the channel has been listened to before */
	uint64_t list_changes;
	int64_t list_put_ms;
};

static void
distrust(struct cache *c, int64_t ms)
{
	int64_t until = clock_mono_ms() + ms;

	if (until > c->distrust_until_ms)
		c->distrust_until_ms = until;
}

/* ---- what other processes changed ---- */

static void
on_sent(void *arg, const struct kv_reply *r, const struct err *e)
{
	(void)arg;
	(void)r;
	(void)e; /* it may be lost: who does not hear us loses his connection, too, and forgets all */
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
		lru_clear(c->lru);
		c->list_changes++;
		if (c->heard)
			distrust(c, OTHERS_OWE_MS);
		c->heard = true;
		return;
	}
	if (r->type != KV_TEXT)
		return;
	if (strncmp(r->text, COUNTRY_KEY, strlen(COUNTRY_KEY)) == 0)
		list_forget(c, r->text);
	lru_drop(c->lru, r->text);
	user_loads_forget(c->api->loads, r->text);
}

/* ---- what Redis is owed ---- */

static void
owe(struct cache *c, int64_t user_id, int64_t version, const char *country)
{
	struct owed *o;

	if (c->owed_count == OWED_MAX) {
		distrust(c, c->ttl_s * 1000);
		return;
	}
	o = &c->owed[c->owed_count++];
	*o = (struct owed){ user_id, version, "" };
	if (country)
		snprintf(o->country, sizeof o->country, "%s", country);
	loop_timer_set(c->timer, OWED_EVERY_MS);
}

static bool
trusted(const struct cache *c)
{
	return c->owed_count == 0 && link_usable(kv_async_link(c->listener)) &&
		clock_mono_ms() >= c->distrust_until_ms;
}

/* ---- telling it ---- */

struct telling {
	struct cache *cache;
	int64_t user_id, version;
	char country[4];
	void (*done)(void *);
	void *arg;
};

static int publish(struct cache *c, const char *key);

static void
on_told(void *arg, const struct kv_reply *r, const struct err *e)
{
	struct telling *t = arg;
	struct err why = ERR_INIT;

	if (e || kv_check(r, &why))
		owe(t->cache, t->user_id, t->version, *t->country ? t->country : NULL);
	if (t->done)
		t->done(t->arg);
	free(t);
}

static int
send_user(struct cache *c, int64_t user_id, int64_t version, struct telling *t)
{
	struct profile_write w;

	profile_write_make(&w, user_id, version, "", 0, 0);
	if (kv_async_script(c->kv, profile_script(), 2, PROFILE_WORDS, w.argv, w.lengths, on_told,
		    t, NULL))
		return -1;
	return publish(c, w.profile);
}

static int
send_country(struct cache *c, const char *code, struct telling *t)
{
	char key[PROFILE_KEY_SIZE];
	const char *argv[2] = { "DEL", key };

	profile_country_key(code, key);
	if (kv_async_run(c->kv, 2, argv, NULL, on_told, t, NULL))
		return -1;
	return publish(c, key);
}

static int
publish(struct cache *c, const char *key)
{
	const char *argv[3] = { "PUBLISH", CACHE_INVALIDATE, key };

	(void)!kv_async_run(c->kv, 3, argv, NULL, on_sent, NULL, NULL);
	return 0;
}

static struct telling *
telling_new(struct cache *c, int64_t user_id, int64_t version, const char *country)
{
	struct telling *t = must_calloc(1, sizeof *t);

	t->cache = c;
	t->user_id = user_id;
	t->version = version;
	if (country)
		snprintf(t->country, sizeof t->country, "%.3s", country);
	return t;
}

static void
tell(struct cache *c, int64_t user_id, int64_t version, const char *country, void (*done)(void *),
	void *arg)
{
	struct telling *t = telling_new(c, user_id, version, country);
	int rc;

	t->done = done;
	t->arg = arg;
	rc = user_id ? send_user(c, user_id, version, t) : send_country(c, country, t);
	if (rc == 0)
		return;
	free(t);
	owe(c, user_id, version, country);
	if (done)
		done(arg);
}

/* Pays all at once; what fails is owed again. */
static void
on_timer(void *arg)
{
	struct cache *c = arg;
	size_t n = c->owed_count;
	struct owed *all;

	if (n == 0)
		return;
	if (!link_usable(kv_async_link(c->kv))) {
		loop_timer_set(c->timer, OWED_EVERY_MS);
		return;
	}
	/* what is read from now on goes behind these on the same connection */
	all = must_malloc(n * sizeof *all);
	memcpy(all, c->owed, n * sizeof *all);
	c->owed_count = 0;
	for (size_t i = 0; i < n; i++)
		tell(c, all[i].user_id, all[i].version, *all[i].country ? all[i].country : NULL,
			NULL, NULL);
	free(all);
}

void
cache_user_changed(struct cache *c, int64_t user_id, int64_t version, void (*done)(void *),
	void *arg)
{
	char key[PROFILE_KEY_SIZE];

	profile_key(user_id, key);
	lru_floor(c->lru, key, version);
	user_loads_forget(c->api->loads, key);
	tell(c, user_id, version, NULL, done, arg);
}

void
cache_country_changed(struct cache *c, const char *code)
{
	char key[PROFILE_KEY_SIZE];

	if (!code || !*code)
		return;
	profile_country_key(code, key);
	c->list_changes++;
	lru_drop(c->lru, key);
	user_loads_forget(c->api->loads, key);
	tell(c, 0, 0, code, NULL, NULL);
}

/* ---- reading and filling ---- */

const char *
cache_memory_get(struct cache *c, const char *key, size_t *length, int64_t *version)
{
	const char *text = NULL;

	if (link_usable(kv_async_link(c->listener)))
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

	return trusted(c) ? kv_async_run(c->kv, 2, argv, NULL, done, arg, NULL) : -1;
}

void
cache_profile_put(struct cache *c, int64_t user_id, int64_t version, const char *text,
	size_t length)
{
	struct profile_write w;

	profile_write_make(&w, user_id, version, text, length, c->ttl_s);
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

	if (changes != c->list_changes)
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
	c->owed = must_calloc(OWED_MAX, sizeof *c->owed);
	c->lru = lru_new((size_t)conf_int(conf, "api", "lru_entries"),
		(size_t)conf_int(conf, "api", "lru_bytes"), conf_int(conf, "api", "lru_ttl"));
	c->timer = loop_timer_new(a->loop, on_timer, c);
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
	loop_timer_free(c->timer);
	lru_free(c->lru);
	free(c->owed);
	free(c);
}

struct link *
cache_link(struct cache *c)
{
	return kv_async_link(c->kv);
}
