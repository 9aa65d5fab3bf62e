/* SPDX-License-Identifier: MIT */
/*
 * A user's profile in Redis, shared by the API and onboard-cache: the keys and
 * the one script that writes them. It never puts an older version over a newer
 * one: the version stays behind when the profile goes.
 */
#pragma once

#include <stdint.h>

#include "base/text.h"
#include "link/kv.h"

#define PROFILE_KEY_SIZE 48
#define PROFILE_VERSION_TTL_S (7 * 24 * 3600)
#define CACHE_INVALIDATE "cache:invalidate" /* channel; message: the key whose copies must go */

/* user:{id}:profile and user:{id}:version; both answer the key's length */
size_t profile_key(int64_t user_id, char out[static PROFILE_KEY_SIZE]);
size_t profile_version_key(int64_t user_id, char out[static PROFILE_KEY_SIZE]);
void profile_country_key(const char *code,
	char out[static PROFILE_KEY_SIZE]); /* users:country:{code} */

/*
 * KEYS: profile, version. ARGV: version, text ("" deletes the profile), its TTL
 * in seconds, the version's, the channel that tells of the profile's key ("":
 * nobody). Answers 1 written, 0 a newer version is there.
 *
 * One script, so that a process that drops its copy reads no older one from
 * Redis. A deletion deletes first: Redis whose memory is full refuses only a
 * script's first write.
 */
const struct kv_script *profile_script(void);

/* The script's words: 2 keys, 7 in all. Points into itself and to text. */
#define PROFILE_WORDS 7
struct profile_write {
	const char *argv[PROFILE_WORDS];
	size_t lengths[PROFILE_WORDS];
	char profile[PROFILE_KEY_SIZE], guard[PROFILE_KEY_SIZE], version[TEXT_I64_SIZE],
		ttl[TEXT_I64_SIZE], guard_ttl[TEXT_I64_SIZE];
};
void profile_write_make(struct profile_write *w, int64_t user_id, int64_t version, const char *text,
	size_t length, int64_t ttl_s, bool tell);
