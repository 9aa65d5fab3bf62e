/* SPDX-License-Identifier: MIT */
/* A user as GET shows it, and the one joined select that it comes from. */
#pragma once

#include "base/buf.h"
#include "model/event.h"
#include "link/sql.h"

#define USER_TIME(column) \
	"to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
/* SELECT ... FROM users and what hangs on them; a WHERE may follow. No N+1: one statement. */
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
/* What an event alone tells of a user, in the same shape: for one that the database does not have. */
void user_json_of_event(struct buf *out, const struct event *ev);
/* A string or null. */
void user_json_text(struct buf *out, const char *name, const struct sql_result *r, size_t row,
	size_t column);
/* ,"name":number as PostgreSQL writes it; NaN and Infinity, which JSON lacks, become null. */
void user_json_number(struct buf *out, const char *name, const struct sql_result *r, size_t row,
	size_t column);
