/* SPDX-License-Identifier: MIT */
#include "model/user_json.h"

#include <string.h>

#include "base/clock.h"

static void
name_add(struct buf *out, const char *name)
{
	buf_add_char(out, '"');
	buf_add_text(out, name);
	buf_add(out, "\":", 2);
}

void
user_json_text(struct buf *out, const char *name, const struct sql_result *r, size_t row,
	size_t column)
{
	name_add(out, name);
	if (sql_null(r, row, column))
		buf_add_text(out, "null");
	else
		buf_add_json_string(out, sql_text(r, row, column), sql_length(r, row, column));
}

void
user_json_number(struct buf *out, const char *name, const struct sql_result *r, size_t row,
	size_t column)
{
	const char *text = sql_text(r, row, column);

	buf_add_char(out, ',');
	name_add(out, name);
	buf_add_text(out, text && !strpbrk(text, "NaIi") ? text : "null");
}

void
user_json(struct buf *out, const struct sql_result *r, size_t row)
{
	static const char *const address[] = { "street", "postal_code", "city", "region", "country",
		"country_name" };

	buf_add_text(out, "{\"id\":");
	buf_add_text(out, sql_text(r, row, USER_ID));
	buf_add_char(out, ',');
	user_json_text(out, "username", r, row, 1);
	buf_add_char(out, ',');
	user_json_text(out, "email", r, row, 2);
	buf_add_char(out, ',');
	user_json_text(out, "name", r, row, 3);
	user_json_number(out, "profile_score", r, row, 4);
	buf_add_text(out,
		strcmp(sql_text(r, row, 5), "0") == 0 ? ",\"is_verified\":false"
						      : ",\"is_verified\":true");
	user_json_number(out, "version", r, row, USER_VERSION);
	buf_add_char(out, ',');
	user_json_text(out, "created_at", r, row, 7);
	buf_add_char(out, ',');
	user_json_text(out, "updated_at", r, row, 8);
	buf_add_text(out, ",\"address\":");
	if (sql_null(r, row, 9)) {
		buf_add_text(out, "null}");
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(address); i++) {
		buf_add_char(out, i ? ',' : '{');
		user_json_text(out, address[i], r, row, 9 + i);
	}
	buf_add_text(out, "}}");
}

static void
member(struct buf *out, const char *name, const char *text)
{
	buf_add_char(out, ',');
	name_add(out, name);
	if (text)
		buf_add_json_string(out, text, strlen(text));
	else
		buf_add_text(out, "null");
}

void
user_json_of_event(struct buf *out, const struct event *ev)
{
	char when[CLOCK_RFC3339_SIZE];

	clock_format_rfc3339(ev->time_us, when);
	buf_add_text(out, "{\"id\":");
	buf_add_i64(out, ev->user_id);
	member(out, "username", ev->username);
	member(out, "email", ev->email);
	member(out, "name", ev->display_name);
	buf_add_text(out, ",\"profile_score\":0,\"is_verified\":false,\"version\":");
	buf_add_i64(out, ev->version);
	member(out, "created_at", when);
	member(out, "updated_at", when);
	if (!ev->country && !ev->city) {
		buf_add_text(out, ",\"address\":null}");
		return;
	}
	buf_add_text(out, ",\"address\":{\"street\":null,\"postal_code\":null");
	member(out, "city", ev->city);
	member(out, "region", NULL);
	member(out, "country", ev->country);
	member(out, "country_name", NULL);
	buf_add_text(out, "}}");
}
