/* SPDX-License-Identifier: MIT */
/*
 * Keys in Redis that several programs share, and the one script that writes a
 * text which a version guards. The script never puts an older version over a
 * newer one; the version stays in Redis when the text goes.
 */
#pragma once

#include <stdint.h>

#include "base/text.h"
#include "link/kv.h"

#define REDIS_KEY_SIZE 64                   /* enough for every key of ours */
#define CACHE_INVALIDATE "cache:invalidate" /* channel; message: the key whose copies must go */

/* ---- users ---- */

#define PROFILE_BEGIN "user:"
#define PROFILE_END ":profile"
#define PROFILE_GUARD_END ":version"
#define REDIS_KEY_COUNTRY "users:country:"

/* user:{id}:profile and user:{id}:version; both answer the key's length */
size_t redis_key_profile(int64_t user_id, char out[static REDIS_KEY_SIZE]);
size_t redis_key_version(int64_t user_id, char out[static REDIS_KEY_SIZE]);
/* users:country:{code} */
void redis_key_country(const char *code, char out[static REDIS_KEY_SIZE]);

/* ---- a text that a version guards ---- */

#define GUARD_TTL_S (7 * 24 * 3600)

/*
 * KEYS: text, version. ARGV: version, text ("" deletes it), its TTL in seconds,
 * the version's TTL, the channel that tells the text's key ("": none). Answers
 * 1 when it has written, 0 when a newer version is there.
 *
 * It is one script, so that a process that drops its copy reads no older text
 * from Redis. A deletion deletes first, since a Redis whose memory is full
 * refuses only a script's first write.
 */
const struct kv_script *guarded_script(void);

/* The script's words: 2 keys, 7 in all. Points into itself and to text. */
#define GUARDED_WORDS 7
struct guarded_write {
	const char *argv[GUARDED_WORDS];
	size_t lengths[GUARDED_WORDS];
	char key[REDIS_KEY_SIZE], guard[REDIS_KEY_SIZE], version[TEXT_I64_SIZE], ttl[TEXT_I64_SIZE],
		guard_ttl[TEXT_I64_SIZE];
};
/* The caller has set key and guard. tell: other processes must drop their copies. */
void guarded_write_make(struct guarded_write *w, int64_t version, const char *text, size_t length,
	int64_t ttl_s, bool tell);
/* The same for a user's profile; sets key and guard, too. */
void profile_write_make(struct guarded_write *w, int64_t user_id, int64_t version, const char *text,
	size_t length, int64_t ttl_s, bool tell);
