/* SPDX-License-Identifier: MIT */
#include "model/redis_keys.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

static struct kv_script script;

static void
script_make(void)
{
	kv_script_init(&script,
		KV_LUA_OF_TYPE
		"local have = of_type(KEYS[2], 'string') == 'string' and redis.call('GET', KEYS[2])\n"
		"have = have and tonumber(string.match(have, '^%d+$') or '')\n"
		"local write = not have or have <= tonumber(ARGV[1])\n"
		"if write and ARGV[2] == '' then redis.call('DEL', KEYS[1]) end\n"
		"if write then redis.call('SET', KEYS[2], ARGV[1], 'EX', ARGV[4]) end\n"
		"if write and ARGV[2] ~= '' then\n"
		" redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])\n"
		"end\n"
		"if ARGV[5] ~= '' then redis.call('PUBLISH', ARGV[5], KEYS[1]) end\n"
		"return write and 1 or 0\n");
}

const struct kv_script *
guarded_script(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	must(pthread_once(&once, script_make) == 0);
	return &script;
}

static size_t
user_key(int64_t user_id, const char *end, char out[static REDIS_KEY_SIZE])
{
	static const char begin[] = PROFILE_BEGIN;
	size_t n = sizeof begin - 1, length = strlen(end);

	memcpy(out, begin, n);
	n += text_i64(user_id, out + n);
	memcpy(out + n, end, length + 1);
	return n + length;
}

size_t
redis_key_profile(int64_t user_id, char out[static REDIS_KEY_SIZE])
{
	return user_key(user_id, PROFILE_END, out);
}

size_t
redis_key_version(int64_t user_id, char out[static REDIS_KEY_SIZE])
{
	return user_key(user_id, PROFILE_GUARD_END, out);
}

void
redis_key_country(const char *code, char out[static REDIS_KEY_SIZE])
{
	snprintf(out, REDIS_KEY_SIZE, REDIS_KEY_COUNTRY "%.3s", code);
}

void
guarded_write_make(struct guarded_write *w, int64_t version, const char *text, size_t length,
	int64_t ttl_s, bool tell)
{
	const char *channel = tell ? CACHE_INVALIDATE : "";
	const char *const argv[GUARDED_WORDS] = { w->key, w->guard, w->version, text, w->ttl,
		w->guard_ttl, channel };
	const size_t lengths[GUARDED_WORDS] = { strlen(w->key), strlen(w->guard),
		text_i64(version, w->version), length, text_i64(ttl_s, w->ttl),
		text_i64(GUARD_TTL_S, w->guard_ttl), strlen(channel) };

	memcpy(w->argv, argv, sizeof w->argv);
	memcpy(w->lengths, lengths, sizeof w->lengths);
}

void
profile_write_make(struct guarded_write *w, int64_t user_id, int64_t version, const char *text,
	size_t length, int64_t ttl_s, bool tell)
{
	redis_key_profile(user_id, w->key);
	redis_key_version(user_id, w->guard);
	guarded_write_make(w, version, text, length, ttl_s, tell);
}
