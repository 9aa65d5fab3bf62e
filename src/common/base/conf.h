/* SPDX-License-Identifier: MIT */
/*
 * Configuration: each key declared once in a table, from which come parser,
 * default, environment name, sample file, manual and --print-config.
 *
 *	static const struct conf_key keys[] = {
 *		{ "api", "batch", CONF_INT, "512", 1, 512, "Most signups in one transaction." },
 *		{ "postgres", "url", CONF_URL_POSTGRES, "postgresql://...", .flags = CONF_SECRET, ... },
 *	};
 *
 * File: INI, "key = value" to the end of the line; lines that begin
 * with # or ; are comments, nothing within a value is. Precedence: flag,
 * environment (ONBOARD_SECTION_KEY), credential, file, default.
 * "X_FILE" (environment), key_file (file) or a credential gives a secret by
 * file; one trailing line end is cut. A credential is systemd's
 * onboard_SECTION.KEY, or credentials/SECTION.KEY beside the file, where readable.
 * Every fault is one line with file and line number, and ERR_INVALID: exit 78.
 * Unknown sections and keys are faults. All programs share one file, so all
 * their keys stand in one table, conf_keys (conf_keys.c).
 *
 * Threads: read-only after conf_load; a reload makes a new struct conf.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

enum conf_type {
	CONF_STRING,
	CONF_INT,         /* min..max */
	CONF_BOOL,        /* true/false, yes/no, on/off, 1/0 */
	CONF_DURATION_MS, /* 250ms, 5s, 2m, 1h, 7d; a bare number is seconds; min..max in ms */
	CONF_SIZE_BYTES,  /* 64KiB, 1MiB, bare bytes; min..max in bytes */
	CONF_ENUM,        /* choices: "text|json|journal" */
	CONF_LISTEN,      /* host:port or [v6]:port or :port or port 0 */
	CONF_URL_POSTGRES,
	CONF_URL_AMQP, /* comma list */
	CONF_URL_MONGO,
	CONF_URL_REDIS,
	CONF_URL_SMTP,
	CONF_PATH,
	CONF_INT_LIST_MS, /* comma list of durations: 1s,2s,4s */
};

enum conf_flag {
	CONF_SECRET = 1, /* may be given as _FILE; shown as *** (a URL: only its password) */
	CONF_RELOAD = 2, /* SIGHUP takes a new value */
	CONF_FALLBACK =
		4, /* an empty default means: see the key named by choices, as "postgres.url" */
};

struct conf_key {
	const char *section, *key;
	enum conf_type type;
	const char *fallback; /* the default, as text; NULL: unset */
	int64_t min, max;     /* of numbers; both 0: no bound */
	const char *help;     /* one or two sentences, with the unit */
	const char *choices;
	unsigned flags;
};

struct conf;

struct conf_override {
	const char *section, *key, *value; /* from a flag */
};

/* "section.key=value", cut in place; false: it is none. */
bool conf_override_parse(char *text, struct conf_override *out);

/*
 * keys ends with a row whose section is NULL.
 * path NULL: ONBOARD_CONFIG, else /etc/onboard/onboard.conf if it is there
 * (one that was named must be). overrides end with a NULL section.
 */
int conf_load(const struct conf_key *keys, const char *path, const struct conf_override *overrides,
	struct conf **out, struct err *e) MUST_CHECK;
void conf_free(struct conf *c);
const char *conf_path(const struct conf *c); /* NULL: no file */

/* A key that no table has is a bug (must). Texts live as long as c: a daemon frees it at SIGHUP. */
const char *conf_string(const struct conf *c, const char *section,
	const char *key); /* NULL: unset */
int64_t conf_int(const struct conf *c, const char *section,
	const char *key); /* also bool, duration, size */
bool conf_bool(const struct conf *c, const char *section, const char *key);
size_t conf_int_list(const struct conf *c, const char *section, const char *key, int64_t *out,
	size_t max);
const char *conf_origin(const struct conf *c, const char *section,
	const char *key); /* "default", "file FILE:12", "environment ONBOARD_X", "flag" */

void conf_print(const struct conf *c,
	FILE *out); /* --print-config: a valid file, secrets hidden, origins as comments */
void conf_print_sample(const struct conf_key *keys, FILE *out); /* config/onboard.conf */
void conf_print_manual(const struct conf_key *keys,
	FILE *out); /* mdoc list items for onboard.conf(5) */

/* Every key of every program. */
extern const struct conf_key conf_keys[];
