/* SPDX-License-Identifier: MIT */
/* Shared by the files of conf. Other files must not include it. */
#pragma once

#include "base/arena.h"
#include "base/conf.h"
#include "base/url.h"

struct conf_value {
	const char *text; /* NULL: unset; lives in the arena or in the table */
	int64_t number;   /* of the types int, bool, duration and size */
	const char *origin;
};

struct conf {
	struct arena *mem;
	const struct conf_key *keys;
	size_t count;
	struct conf_value *values; /* values[i] belongs to keys[i] */
	const char *path;
};

/* Checks text against the key's type and bounds, and sets number. */
int conf_value_parse(const struct conf_key *k, const char *text, struct arena *mem,
	struct conf_value *out, struct err *e) MUST_CHECK;
/* "URL of PostgreSQL", "whole number from 1 to 512", "duration …": for manual and sample. */
void conf_type_describe(const struct conf_key *k, char *out, size_t size);
enum url_kind conf_url_kind(enum conf_type t);
bool conf_is_url(enum conf_type t);
