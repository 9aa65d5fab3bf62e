/* SPDX-License-Identifier: MIT */
/*
 * The options of a verb, as one table:
 *
 *	const struct ctl_option options[] = {
 *		{ "--state", .text = &w.state },
 *		{ "--limit", .number = &w.limit, .min = 1, .max = 1000 },
 *		{ "--dry-run", .flag = &w.dry_run },
 *		{ 0 },
 *	};
 *
 * An option may stand anywhere among the words, as "--limit 5", "--limit=5" or by
 * the beginning of its name where no other option begins so. "--" ends the options.
 * What the command line does not give keeps the value that it had.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "ctl/kit/ctl.h"
#include "model/consumers.h"

#define OPTION_RATE_MAX 10000000

struct ctl_option {
	const char *name; /* "--limit"; NULL ends the table */
	/* Where the value goes. One of these is set, and says what the value may be. */
	bool *flag;        /* takes no value */
	const char **text; /* any; points into argv */
	int64_t *number;   /* a whole number from min to max */
	int64_t *rate;     /* per second, "100/s" or "100", from 1 to OPTION_RATE_MAX */
	const char **day;  /* "2026-11-20" */
	int64_t *time_us;  /* see option_time */
	int64_t min, max;
	/* For everything else; to is handed on. */
	int (*parse)(void *to, const char *value, struct err *e);
	void *to;
};

/*
 * Takes the options out of argv: argv[0] stays, and the verb's own words follow it,
 * at most max of them, NULL behind the last. Answers how many words follow argv[0],
 * or -1 after a message to stderr: the exit code is CTL_USAGE.
 */
int options_take(const struct ctl *c, const struct ctl_option *options, int max, int argc,
	char **argv) MUST_CHECK;

/* The consumer of this name; NULL after a message that lists the names: CTL_USAGE. */
const struct consumer_row *option_consumer(const struct ctl *c, const char *name);

/* Digits alone, and from min to max. */
bool option_number(const char *text, int64_t min, int64_t max, int64_t *out);
bool option_rate(const char *text, int64_t *out);
bool option_day(const char *text);
/* "90s", "5m", "2h", "3d", "1w" ago, or a day, or RFC 3339. */
int option_time(const char *text, int64_t now_us, int64_t *out, struct err *e) MUST_CHECK;
