/* SPDX-License-Identifier: MIT */
/*
 * Users in the cache's tiers (run/tiers): profiles, which their versions guard,
 * and the first pages of the countries' lists.
 */
#pragma once

#include <stdint.h>

#include "base/conf.h"
#include "base/err.h"
#include "run/tiers.h"

struct loop;

extern const struct tiers_kind user_profile_kind, user_country_kind;

struct tiers *user_cache_new(struct loop *loop, const struct conf *c, struct err *e) MUST_CHECK;
/* Nobody shows a profile older than version once done was called without an error. */
void user_cache_changed(struct tiers *t, int64_t user_id, int64_t version, tiers_done_fn *done,
	void *arg);
/* A country's list has changed; nobody waits for it. code may be NULL or "". */
void user_cache_country_changed(struct tiers *t, const char *code);
