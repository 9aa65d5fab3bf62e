/* SPDX-License-Identifier: MIT */
/* counts: how many events of a type came from a country on a day. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "ctl/kit/ctl.h"
#include "link/sql.h"
#include "model/event.h"

#define LIMIT 200
#define LIMIT_MAX 100000
#define ARENA_MAX (64u << 20)

static const struct sql_statement select_counts = { "counts",
	"SELECT to_char(day, 'YYYY-MM-DD'), type, country, count FROM event_counts"
	" WHERE ($1::date IS NULL OR day = $1::date) AND ($2::text IS NULL OR type = $2::text)"
	" AND ($3::text IS NULL OR country = upper($3::text))"
	" ORDER BY day DESC, count DESC, type, country LIMIT $4::integer" };

struct wanted {
	const char *day, *type, *country; /* NULL: all */
	char type_full[80];
	int64_t limit;
};

static bool
day_is(const char *text)
{
	char whole[CLOCK_RFC3339_SIZE], back[CLOCK_RFC3339_SIZE];
	int64_t us;

	if (strlen(text) != 10)
		return false;
	snprintf(whole, sizeof whole, "%.10sT00:00:00Z", text);
	if (clock_parse_rfc3339(whole, strlen(whole), &us, NULL))
		return false;
	clock_format_rfc3339(us, back);
	return memcmp(back, text, 10) == 0;
}

static int
words_parse(struct ctl *c, int argc, char **argv, struct wanted *w)
{
	*w = (struct wanted){ .limit = LIMIT };
	for (int i = 1; i < argc; i++) {
		const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
		char *end;

		if (strcmp(name, "--day") != 0 && strcmp(name, "--type") != 0 &&
			strcmp(name, "--country") != 0 && strcmp(name, "--limit") != 0)
			return ctl_fail(c, CTL_USAGE,
				"what is \"%s\"? `onboardctl counts --help` has examples", name);
		if (!value)
			return ctl_fail(c, CTL_USAGE, "%s wants a value", name);
		i++;
		if (strcmp(name, "--day") == 0) {
			if (!day_is(value))
				return ctl_fail(c, CTL_USAGE,
					"--day wants a day like 2026-11-20, not \"%s\"", value);
			w->day = value;
		} else if (strcmp(name, "--type") == 0) {
			snprintf(w->type_full, sizeof w->type_full, EVENT_TYPE_BEGIN "%s",
				event_name(value));
			w->type = w->type_full;
		} else if (strcmp(name, "--country") == 0) {
			w->country = value;
		} else {
			w->limit = strtol(value, &end, 10);
			if (!isdigit((unsigned char)*value) || *end || w->limit < 1 ||
				w->limit > LIMIT_MAX)
				return ctl_fail(c, CTL_USAGE,
					"--limit wants a number from 1 to %d, not \"%s\"",
					LIMIT_MAX, value);
		}
	}
	return CTL_DONE;
}

/* Type and country hold no byte that JSON would escape: the counter took only such. */
static void
print(const struct ctl *c, const struct sql_result *r, size_t rows)
{
	if (!c->json)
		printf("%-10s  %-40s %-7s %15s\n", "DAY", "TYPE", "COUNTRY", "COUNT");
	for (size_t i = 0; i < rows; i++)
		printf(c->json ? "{\"day\":\"%s\",\"type\":\"%s\",\"country\":\"%s\",\"count\":%s}\n"
			       : "%-10s  %-40s %-7s %15s\n",
			sql_text(r, i, 0), sql_text(r, i, 1), sql_text(r, i, 2), sql_text(r, i, 3));
}

int
ctl_counts(struct ctl *c, int argc, char **argv)
{
	struct sql_params p;
	struct sql_result r;
	struct err e = ERR_INIT;
	struct wanted w;
	struct arena *mem;
	struct sql *s;
	size_t rows;
	int code = words_parse(c, argc, argv, &w);

	if (code != CTL_DONE)
		return code;
	sql_params_init(&p);
	sql_add_text(&p, w.day);
	sql_add_text(&p, w.type);
	sql_add_text(&p, w.country);
	sql_add_i64(&p, w.limit + 1);
	mem = arena_new(1 << 14, ARENA_MAX);
	s = sql_open(&(struct sql_options){ .url = conf_string(c->conf, "postgres", "url"),
			     .application = "onboardctl" },
		&e);
	if (!s || sql_run(s, mem, &select_counts, &p, &r, &e)) {
		code = ctl_fail_err(c, &e);
	} else if (r.rows == 0) {
		code = ctl_fail(c, CTL_NOTHING, "nothing is counted%s",
			w.day || w.type || w.country ? " that matches" : " yet");
	} else {
		rows = r.rows < (size_t)w.limit ? r.rows : (size_t)w.limit;
		print(c, &r, rows);
		if (rows < r.rows)
			fprintf(stderr, "the newest %zu; there are more: --limit, --day\n", rows);
	}
	sql_close(s);
	arena_free(mem);
	return code;
}
