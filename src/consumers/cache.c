/* SPDX-License-Identifier: MIT */
/*
 * onboard-cache writes users' profiles to Redis, as GET /api/users/{id} answers
 * them. An older version never replaces a newer one. It deletes the lists of the
 * countries concerned, and tells other processes to drop their copies.
 *
 * It reads the user back from PostgreSQL, because an event carries no address.
 * A user of another publisher, or of a test, has no row there, so the profile is
 * made from the event. If an event of onboard-api has no row, the user has been
 * deleted since, and gets no profile.
 */
#include "cache_users.h"

#include <stdatomic.h>
#include <string.h>

#include "link/kv.h"
#include "run/consumer.h"
#include "model/redis_keys.h"
#include "model/user_json.h"

#define PROFILE_MAX (64u << 10)

struct cache {
	_Atomic int64_t ttl_s;
};

static int
country_forget(struct consumer *c, const char *code, struct err *e)
{
	char key[REDIS_KEY_SIZE];
	const char *const forget[2] = { "DEL", key },
			  *const tell[3] = { "PUBLISH", CACHE_INVALIDATE, key };

	if (!code)
		return 0;
	redis_key_country(code, key);
	return kv_add(consumer_kv(c), 2, forget, NULL, e) ||
			kv_add(consumer_kv(c), 3, tell, NULL, e)
		? -1
		: 0;
}

static int
profile_add(struct consumer *c, const struct event *ev, const struct sql_result *r, bool gone,
	struct buf *text, int64_t ttl_s, struct err *e)
{
	size_t row = cache_users_find(r, ev->user_id);
	int64_t version = ev->version;
	struct guarded_write w;

	buf_clear(text);
	if (ev->kind != EVENT_DELETED && row < r->rows) {
		user_json(text, r, row);
		if (sql_i64(r, row, USER_VERSION, &version, e))
			return -1;
	} else if (ev->kind != EVENT_DELETED && !gone) {
		user_json_of_event(text, ev);
	}
	/* nobody has a copy of a new user */
	profile_write_make(&w, ev->user_id, version, buf_text(text), text->length, ttl_s,
		ev->kind != EVENT_CREATED || gone);
	if (kv_add_script(consumer_kv(c), guarded_script(), 2, GUARDED_WORDS, w.argv, w.lengths, e))
		return -1;
	return country_forget(c, ev->country, e) || country_forget(c, ev->previous_country, e) ? -1
											       : 0;
}

static void
cache_reload(void *state, const struct conf *now)
{
	struct cache *s = state;

	s->ttl_s = conf_int(now, "api", "cache_ttl") / 1000;
}

static int
cache_open(struct consumer *c, void *state, struct err *e)
{
	(void)e;
	cache_reload(state, consumer_conf(c));
	return 0;
}

static int
cache_handle(struct consumer *c, void *state, struct batch *b, struct err *e)
{
	int64_t ttl_s = ((struct cache *)state)->ttl_s;
	struct kv *kv = consumer_kv(c);
	struct sql_result r;
	const bool *gone = NULL;
	struct buf text;
	int rc;

	buf_init(&text, PROFILE_MAX);
	rc = cache_users_read(c, b, &r, e) || !(gone = cache_users_gone(c, b, &r, e));
	for (size_t i = 0; i < b->n && rc == 0; i++)
		if (b->d[i].ev->kind != EVENT_ACTIVITY)
			rc = profile_add(c, b->d[i].ev, &r, gone[i], &text, ttl_s, e);
	buf_fini(&text);
	if (rc || kv_flush_all(kv, b->mem, NULL, e)) {
		kv_forget(kv);
		return -1;
	}
	for (size_t i = 0; i < b->n; i++)
		b->d[i].out = OUT_DONE;
	return 0;
}

int
main(int argc, char **argv)
{
	static const struct handler cache = { .name = "cache",
		.summary = "Keeps the profiles in Redis fresh.",
		.needs = NEED_KV | NEED_SQL_READ,
		.state_size = sizeof(struct cache),
		.open = cache_open,
		.reload = cache_reload,
		.handle = cache_handle };

	return consumer_main(argc, argv, &cache);
}
