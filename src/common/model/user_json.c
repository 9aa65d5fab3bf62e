/* SPDX-License-Identifier: MIT */
#include "model/user_json.h"

#include <string.h>

#include "base/clock.h"

void
user_json_text(struct json_out *o, const char *name, const struct sql_result *r, size_t row,
	size_t column)
{
	if (sql_null(r, row, column))
		json_out_null(o, name);
	else
		json_out_bytes(o, name, sql_text(r, row, column), sql_length(r, row, column));
}

void
user_json(struct buf *out, const struct sql_result *r, size_t row)
{
	static const char *const address[] = { "street", "postal_code", "city", "region", "country",
		"country_name" };
	struct json_out o;

	json_out_init(&o, out);
	json_out_object(&o, NULL);
	json_out_number(&o, "id", sql_text(r, row, USER_ID));
	user_json_text(&o, "username", r, row, 1);
	user_json_text(&o, "email", r, row, 2);
	user_json_text(&o, "name", r, row, 3);
	json_out_number(&o, "profile_score", sql_text(r, row, 4));
	json_out_bool(&o, "is_verified", strcmp(sql_text(r, row, 5), "0") != 0);
	json_out_number(&o, "version", sql_text(r, row, USER_VERSION));
	user_json_text(&o, "created_at", r, row, 7);
	user_json_text(&o, "updated_at", r, row, 8);
	if (sql_null(r, row, 9)) {
		json_out_null(&o, "address");
	} else {
		json_out_object(&o, "address");
		for (size_t i = 0; i < ARRAY_LEN(address); i++)
			user_json_text(&o, address[i], r, row, 9 + i);
		json_out_end(&o);
	}
	json_out_end(&o);
}

void
user_json_of_event(struct buf *out, const struct event *ev)
{
	char when[CLOCK_RFC3339_SIZE];
	struct json_out o;

	clock_format_rfc3339(ev->time_us, when);
	json_out_init(&o, out);
	json_out_object(&o, NULL);
	json_out_i64(&o, "id", ev->user_id);
	json_out_text(&o, "username", ev->username);
	json_out_text(&o, "email", ev->email);
	json_out_text(&o, "name", ev->display_name);
	json_out_i64(&o, "profile_score", 0);
	json_out_bool(&o, "is_verified", false);
	json_out_i64(&o, "version", ev->version);
	json_out_text(&o, "created_at", when);
	json_out_text(&o, "updated_at", when);
	if (!ev->country && !ev->city) {
		json_out_null(&o, "address");
	} else {
		json_out_object(&o, "address");
		json_out_null(&o, "street");
		json_out_null(&o, "postal_code");
		json_out_text(&o, "city", ev->city);
		json_out_null(&o, "region");
		json_out_text(&o, "country", ev->country);
		json_out_null(&o, "country_name");
		json_out_end(&o);
	}
	json_out_end(&o);
}
