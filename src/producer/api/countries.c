/* SPDX-License-Identifier: MIT */
/* GET /api/countries and /api/countries/stats. */
#include <string.h>

#include "api.h"
#include "run/user_json.h"

#define ANSWER_MAX (1u << 20)

static const struct sql_statement names = { "country_names",
	"SELECT code, name FROM countries ORDER BY name" };
/* Those where nobody lives have no average to show, and are left out. */
static const struct sql_statement stats = { "country_stats",
	"SELECT co.code, co.name, count(*), round(avg(u.profile_score)::numeric, 2)"
	" FROM users u JOIN addresses a ON a.id = u.address_id JOIN cities ci ON ci.id = a.city_id"
	" JOIN countries co ON co.id = ci.country_id GROUP BY co.code, co.name"
	" ORDER BY count(*) DESC, co.code" };

static void
on_rows(void *arg, const struct sql_result *r, const struct err *e)
{
	struct http_request *q = arg;
	struct buf b;

	if (e) {
		http_answer_error(q, e);
		return;
	}
	buf_init(&b, ANSWER_MAX);
	buf_add_text(&b, "{\"items\":[");
	for (size_t row = 0; row < r->rows; row++) {
		buf_add_text(&b, row ? ",{" : "{");
		user_json_text(&b, "code", r, row, 0);
		buf_add_char(&b, ',');
		user_json_text(&b, "name", r, row, 1);
		if (r->columns > 2)
			buf_printf(&b, ",\"users\":%s,\"avg_score\":%s", sql_text(r, row, 2),
				sql_text(r, row, 3));
		buf_add_char(&b, '}');
	}
	buf_add_text(&b, "],\"next_cursor\":null}");
	http_answer_json(q, 200, &b);
	buf_fini(&b);
}

static void
ask(struct api *a, struct http_request *r, const struct sql_statement *st)
{
	struct err e = ERR_INIT;

	if (api_read(a, NULL, st, NULL, on_rows, r, &e))
		http_answer_error(r, &e);
}

void
countries_get(void *arg, struct http_request *r)
{
	ask(arg, r, &names);
}

void
countries_stats(void *arg, struct http_request *r)
{
	ask(arg, r, &stats);
}
