/* SPDX-License-Identifier: MIT */
/* counts: how many events of a type came from a country on a day. */
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "ctl/kit/json.h"
#include "ctl/kit/options.h"
#include "ctl/kit/servers.h"
#include "ctl/verbs.h"
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

static int
counts_words_read(struct ctl *c, int argc, char **argv, struct wanted *w)
{
	const char *type = NULL;
	const struct ctl_option options[] = { { "--day", .day = &w->day },
		{ "--type", .text = &type }, { "--country", .text = &w->country },
		{ "--limit", .number = &w->limit, .min = 1, .max = LIMIT_MAX }, { 0 } };

	*w = (struct wanted){ .limit = LIMIT };
	if (options_take(c, options, 0, argc, argv) < 0)
		return CTL_USAGE;
	if (type) {
		snprintf(w->type_full, sizeof w->type_full, EVENT_TYPE_BEGIN "%s",
			event_name(type));
		w->type = w->type_full;
	}
	return CTL_DONE;
}

static void
row_json(const struct sql_result *r, size_t row)
{
	struct ctl_line line;
	struct json_out *o = ctl_line_begin(&line);

	ctl_json_text(o, "day", sql_text(r, row, 0));
	ctl_json_text(o, "type", sql_text(r, row, 1));
	ctl_json_text(o, "country", sql_text(r, row, 2));
	json_out_number(o, "count", sql_text(r, row, 3));
	ctl_line_print(&line);
}

static void
counts_print(const struct ctl *c, const struct sql_result *r, size_t rows)
{
	static const char format[] = "%-10s  %-40s %-7s %15s\n";

	if (!c->json)
		printf(format, "DAY", "TYPE", "COUNTRY", "COUNT");
	for (size_t i = 0; i < rows; i++)
		if (c->json)
			row_json(r, i);
		else
			printf(format, sql_text(r, i, 0), sql_text(r, i, 1), sql_text(r, i, 2),
				sql_text(r, i, 3));
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
	int code = counts_words_read(c, argc, argv, &w);

	if (code != CTL_DONE)
		return code;
	sql_params_init(&p);
	sql_add_text(&p, w.day);
	sql_add_text(&p, w.type);
	sql_add_text(&p, w.country);
	sql_add_i64(&p, w.limit + 1);
	mem = arena_new(1 << 14, ARENA_MAX);
	s = ctl_sql(c, &e);
	if (!s || sql_run(s, mem, &select_counts, &p, &r, &e)) {
		code = ctl_fail_err(c, &e);
	} else if (r.rows == 0) {
		code = ctl_fail(c, CTL_NOTHING, "nothing is counted%s",
			w.day || w.type || w.country ? " that matches" : " yet");
	} else {
		rows = r.rows < (size_t)w.limit ? r.rows : (size_t)w.limit;
		counts_print(c, &r, rows);
		if (rows < r.rows)
			fprintf(stderr, "the newest %zu; there are more: --limit, --day\n", rows);
	}
	sql_close(s);
	arena_free(mem);
	return code;
}
