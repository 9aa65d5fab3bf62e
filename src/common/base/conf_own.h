/* SPDX-License-Identifier: MIT */
/* What the files of conf share; nobody else includes it. */
#pragma once

#include "base/arena.h"
#include "base/conf.h"
#include "base/url.h"

#define CONF_LIST_MAX 16

struct conf_value {
	const char *text; /* NULL: unset; arena's or the table's */
	int64_t number;   /* of int, bool, duration, size */
	int64_t list[CONF_LIST_MAX];
	size_t list_length;
	const char *origin;
};

struct conf {
	struct arena *mem;
	const struct conf_key *keys;
	size_t count;
	struct conf_value *values; /* beside keys */
	const char *path;
};

/* Checks text against the key's type and bounds and fills in number and list. */
int conf_value_parse(const struct conf_key *k, const char *text, struct arena *mem,
	struct conf_value *out, struct err *e) MUST_CHECK;
/* "URL of PostgreSQL", "whole number from 1 to 512", "duration …": for manual and sample. */
void conf_type_describe(const struct conf_key *k, char *out, size_t size);
enum url_kind conf_url_kind(enum conf_type t);
bool conf_is_url(enum conf_type t);
