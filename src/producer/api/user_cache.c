/* SPDX-License-Identifier: MIT */
#include "user_cache.h"

#include "model/redis_keys.h"

#define JOIN_MS 1000 /* less than a client waits whose change this process was not told of */

const struct tiers_kind user_profile_kind = { .begin = PROFILE_BEGIN,
	.end = PROFILE_END,
	.guard = PROFILE_GUARD_END,
	.join_ms = JOIN_MS };
const struct tiers_kind user_country_kind = { .begin = REDIS_KEY_COUNTRY, .end = "" };

struct tiers *
user_cache_new(struct loop *loop, const struct conf *c, struct err *e)
{
	static const struct tiers_kind *const kinds[] = { &user_profile_kind, &user_country_kind,
		NULL };
	const struct tiers_options o = { .loop = loop,
		.redis_url = conf_string(c, "redis", "url"),
		.postgres_url = conf_string(c, "postgres", "url"),
		.application = "onboard-api cache",
		.kinds = kinds,
		.ttl_s = conf_int(c, "api", "cache_ttl") / 1000,
		.lru_entries = (size_t)conf_int(c, "api", "lru_entries"),
		.lru_bytes = (size_t)conf_int(c, "api", "lru_bytes"),
		.lru_ms = conf_int(c, "api", "lru_ttl"),
		.local_ms = conf_int(c, "api", "stats_ttl") };

	return tiers_new(&o, e);
}

void
user_cache_changed(struct tiers *t, int64_t user_id, int64_t version, tiers_done_fn *done,
	void *arg)
{
	char key[REDIS_KEY_SIZE];

	redis_key_profile(user_id, key);
	tiers_changed(t, key, version, done, arg);
}

void
user_cache_country_changed(struct tiers *t, const char *code)
{
	char key[REDIS_KEY_SIZE];

	if (!code || !*code)
		return;
	redis_key_country(code, key);
	tiers_changed(t, key, 0, NULL, NULL);
}
