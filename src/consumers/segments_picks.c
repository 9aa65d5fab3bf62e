/* SPDX-License-Identifier: MIT */
#include "segments_picks.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/json_out.h"
#include "base/log.h"
#include "link/kv.h"

#define KEY_SIZE 48
#define TTL_S "3600"
#define ITEMS_LAST "9" /* of ten */
#define TEXT_MAX (64u << 10)
#define MEMBER_MAX 128 /* a longer member is no product's id */

/* Redis writes a score as JSON does, except "inf" and "nan", which are no numbers in JSON. */
static bool
score_is_number(const char *text)
{
	return *text && strspn(text, "+-.0123456789e") == strlen(text);
}

/* The list of popular products as JSON: every new user gets the same one. */
static void
items_write(struct buf *out, const struct kv_reply *popular)
{
	struct json_out o;

	json_out_init(&o, out);
	json_out_list(&o, NULL);
	for (size_t i = 0; popular->type == KV_ARRAY && i + 1 < popular->count; i += 2) {
		struct kv_reply id = kv_reply_at(popular, i), score = kv_reply_at(popular, i + 1);

		if (id.type != KV_TEXT || score.type != KV_TEXT || id.length > MEMBER_MAX ||
			!score_is_number(score.text))
			continue;
		json_out_object(&o, NULL);
		json_out_bytes(&o, "product_id", id.text, id.length);
		json_out_null(&o, "name");
		json_out_number(&o, "score", score.text);
		json_out_text(&o, "reason", "popular");
		json_out_end(&o);
	}
	json_out_end(&o);
}

static int
popular_read(struct consumer *c, struct batch *b, struct buf *items, struct err *e)
{
	const char *const argv[] = { "ZREVRANGE", "trending:products", "0", ITEMS_LAST,
		"WITHSCORES" };
	struct kv_reply popular = { .type = KV_NIL };

	if (kv_run(consumer_kv(c), b->mem, ARRAY_LEN(argv), argv, NULL, &popular, e)) {
		if (e->kind == ERR_AWAY)
			return -1;
		log_warn("no popular products", LOG_E(e)); /* a new user does without them */
		*e = ERR_INIT;
		popular = (struct kv_reply){ .type = KV_NIL };
	}
	items_write(items, &popular);
	return buf_failed(items) ? err_set(e, ERR_LIMIT, "the popular products are too long") : 0;
}

static struct kv_script unless_there;

/* KEYS: picks. ARGV: text, TTL. Picks that were computed for this user meanwhile stay. */
static void
script_make(void)
{
	kv_script_init(&unless_there,
		KV_LUA_OF_TYPE "if of_type(KEYS[1], 'string') == 'string' then return 0 end\n"
			       "redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])\n"
			       "return 1\n");
}

static int
first_picks_add(struct kv *kv, int64_t user_id, const struct buf *items, struct buf *text,
	struct err *e)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	char key[KEY_SIZE];
	struct json_out o;

	must(pthread_once(&once, script_make) == 0);
	snprintf(key, sizeof key, "recommendations:user:%" PRId64, user_id);
	buf_clear(text);
	json_out_init(&o, text);
	json_out_object(&o, NULL);
	json_out_i64(&o, "user_id", user_id);
	json_out_raw(&o, "items", buf_text(items), items->length);
	json_out_bool(&o, "cached", true);
	json_out_end(&o);
	return kv_add_script(kv, &unless_there, 1, 3,
		(const char *const[]){ key, buf_text(text), TTL_S },
		(const size_t[]){ strlen(key), text->length, strlen(TTL_S) }, e);
}

static int
picks_delete(struct kv *kv, int64_t user_id, struct err *e)
{
	char picks[KEY_SIZE], personal[KEY_SIZE];
	const char *const argv[] = { "DEL", picks, personal };

	snprintf(picks, sizeof picks, "recommendations:user:%" PRId64, user_id);
	snprintf(personal, sizeof personal, "personalized:user:%" PRId64, user_id);
	return kv_add(kv, ARRAY_LEN(argv), argv, NULL, e);
}

int
segments_picks_write(struct consumer *c, struct batch *b, const struct user *users, size_t n,
	struct err *e)
{
	struct kv *kv = consumer_kv(c);
	struct buf items, text;
	bool any = false;
	int rc = 0;

	buf_init(&items, TEXT_MAX);
	buf_init(&text, TEXT_MAX + 64);
	for (size_t i = 0; i < n && !any; i++)
		any = users[i].created;
	if (any)
		rc = popular_read(c, b, &items, e);
	for (size_t i = 0; i < n && rc == 0; i++) {
		const struct user *u = &users[i];

		if (u->out != OUT_DONE)
			continue;
		if (u->gone || u->newest->kind == EVENT_DELETED)
			rc = picks_delete(kv, u->id, e);
		else if (u->created)
			rc = first_picks_add(kv, u->id, &items, &text, e);
	}
	if (rc == 0)
		rc = kv_flush_all(kv, b->mem, NULL, e);
	if (rc)
		kv_forget(kv);
	buf_fini(&items);
	buf_fini(&text);
	return rc;
}
