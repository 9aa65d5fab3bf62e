/* SPDX-License-Identifier: MIT */
/*
 * Configuration. A table declares each key once; parser, default, environment
 * name, sample file, manual and --print-config all come from the table.
 *
 *	static const struct conf_key keys[] = {
 *		{ "api", "batch", CONF_INT, "512", 1, 512, "Most signups in one transaction." },
 *		{ "postgres", "url", CONF_URL_POSTGRES, "postgresql://...", .flags = CONF_SECRET, ... },
 *	};
 *
 * File: INI. A value goes to the end of its line. Lines that begin with # or ;
 * are comments; a # inside a value is part of the value.
 * Precedence: flag, environment (ONBOARD_SECTION_KEY), credential, file, default.
 * A secret can come from a file of its own: through X_FILE in the environment,
 * key_file in the configuration file, or a credential. One line end at the end of
 * that file is cut. A credential is systemd's onboard_SECTION.KEY or, if the
 * user can read it, credentials/SECTION.KEY beside the configuration file.
 * Every fault is one line with file and line number, and ERR_INVALID: exit 78.
 * Unknown sections and keys are faults. All programs share one file, so one
 * table, conf_keys (conf_keys.c), holds the keys of all programs.
 *
 * Threads: a struct conf never changes after conf_load; a reload makes a new one.
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
};

enum conf_flag {
	CONF_SECRET = 1, /* may come from a file; shown as *** (a URL hides only its password) */
	CONF_RELOAD = 2, /* SIGHUP takes a new value */
	CONF_FALLBACK =
		4, /* when unset, takes the value of the key that choices names: "postgres.url" */
};

struct conf_key {
	const char *section, *key;
	enum conf_type type;
	const char *fallback; /* the default, as text; NULL: unset */
	int64_t min, max;     /* bounds of a number; both 0: no bounds */
	const char *help;     /* one or two sentences that name the unit */
	const char *choices;
	unsigned flags;
};

struct conf;

struct conf_override {
	const char *section, *key, *value; /* given by a flag */
};

/* Cuts "section.key=value" in place; false: text has another form. */
bool conf_override_parse(char *text, struct conf_override *out);

/*
 * A row whose section is NULL ends keys; the same holds for overrides.
 * path NULL: reads the file that ONBOARD_CONFIG names, otherwise
 * /etc/onboard/onboard.conf. Only the latter may be missing.
 */
int conf_load(const struct conf_key *keys, const char *path, const struct conf_override *overrides,
	struct conf **out, struct err *e) MUST_CHECK;
void conf_free(struct conf *c);
const char *conf_path(const struct conf *c); /* NULL: no file */

/*
 * Asking for an unknown key is a bug (must). Texts live as long as c, which a daemon
 * frees at SIGHUP.
 */
const char *conf_string(const struct conf *c, const char *section,
	const char *key); /* NULL: unset */
int64_t conf_int(const struct conf *c, const char *section,
	const char *key); /* also bool, duration, size */
bool conf_bool(const struct conf *c, const char *section, const char *key);
const char *conf_origin(const struct conf *c, const char *section,
	const char *key); /* "default", "file FILE:12", "environment ONBOARD_X", "flag" */

void conf_print(const struct conf *c,
	FILE *out); /* --print-config: a valid file, secrets hidden, origins as comments */
void conf_print_sample(const struct conf_key *keys, FILE *out); /* config/onboard.conf */
void conf_print_manual(const struct conf_key *keys,
	FILE *out); /* mdoc list items for onboard.conf(5) */

/* Every key of every program. */
extern const struct conf_key conf_keys[];
