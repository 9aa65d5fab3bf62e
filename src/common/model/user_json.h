/* SPDX-License-Identifier: MIT */
/* A user as GET shows it, and the one joined select that reads it. */
#pragma once

#include "base/buf.h"
#include "base/json_out.h"
#include "model/event.h"
#include "link/sql.h"

#define USER_TIME(column) \
	"to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
/* SELECT ... FROM users with their addresses; a WHERE may follow. No N+1: one statement. */
#define USER_SELECT USER_SELECT_FROM("users")
/* The same from a subquery that has the columns of users. */
#define USER_SELECT_FROM(from) \
	"SELECT u.id, u.username, u.email, u.name, u.profile_score, u.is_verified, u.version," \
	" " USER_TIME("u.created_at") ", " USER_TIME( \
		"u.updated_at") "," \
				" a.street, a.postal_code, ci.name, ci.region, co.code, co.name FROM " from \
				" u" \
				" LEFT JOIN addresses a ON a.id = u.address_id LEFT JOIN cities ci ON ci.id = a.city_id" \
				" LEFT JOIN countries co ON co.id = ci.country_id"
enum { USER_ID = 0, USER_VERSION = 6, USER_COUNTRY = 13, USER_COLUMNS = 15 };

void user_json(struct buf *out, const struct sql_result *r, size_t row);
/* A user in the same shape, from an event alone: for a user who is not in the database. */
void user_json_of_event(struct buf *out, const struct event *ev);
/* Writes a text column as a string, or as null. */
void user_json_text(struct json_out *o, const char *name, const struct sql_result *r, size_t row,
	size_t column);
