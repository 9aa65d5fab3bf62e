/* SPDX-License-Identifier: MIT */
/*
 * A user's profile in Redis, shared by the API and onboard-cache: the keys and
 * the one script that writes them. It never puts an older version over a newer
 * one: the version stays behind when the profile goes.
 */
#pragma once

#include <stdint.h>

#include "link/kv.h"

#define PROFILE_KEY_SIZE 48
#define PROFILE_VERSION_TTL_S (7 * 24 * 3600)
#define CACHE_INVALIDATE "cache:invalidate" /* channel; message: the key whose copies must go */

void profile_key(int64_t user_id, char out[static PROFILE_KEY_SIZE]); /* user:{id}:profile */
void profile_version_key(int64_t user_id,
	char out[static PROFILE_KEY_SIZE]); /* user:{id}:version */
void profile_country_key(const char *code,
	char out[static PROFILE_KEY_SIZE]); /* users:country:{code} */

/*
 * KEYS: profile, version. ARGV: version, text ("" deletes the profile), its TTL
 * in seconds, the version's. Answers 1 written, 0 what is there is newer.
 */
const struct kv_script *profile_script(void);
