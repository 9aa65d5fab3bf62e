/* SPDX-License-Identifier: MIT */
#include "cache_users.h"

#include <string.h>

#include "model/outbox_sql.h"
#include "model/user_json.h"

#define ARRAY_BYTES (1u << 20)

static const struct sql_statement by_ids = { "cache_users",
	USER_SELECT " WHERE u.id = ANY ($1::bigint[]) ORDER BY u.id" };

int
cache_users_read(struct consumer *c, struct batch *b, struct sql_result *r, struct err *e)
{
	struct sql_array ids;
	struct sql_params p;
	int rc;

	sql_array_init(&ids, ARRAY_BYTES);
	sql_params_init(&p);
	for (size_t i = 0; i < b->n; i++)
		if (b->d[i].ev->kind != EVENT_DELETED)
			sql_array_i64(&ids, b->d[i].ev->user_id);
	rc = sql_add_array(&p, &ids, e) || sql_run(consumer_sql(c), b->mem, &by_ids, &p, r, e);
	sql_array_fini(&ids);
	return rc ? -1 : 0;
}

size_t
cache_users_find(const struct sql_result *r, int64_t user_id)
{
	size_t low = 0, high = r->rows;
	int64_t id;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		must(sql_i64(r, middle, USER_ID, &id, NULL) == 0);
		if (id < user_id)
			low = middle + 1;
		else
			high = middle;
	}
	return low < r->rows && sql_i64(r, low, USER_ID, &id, NULL) == 0 && id == user_id ? low
											  : r->rows;
}

/*
 * A replayed event may lack the mark of onboard-api, but the archive has its id.
 * The statement looks up each event by its primary key.
 */
static const struct sql_statement in_archive = { "cache_archived",
	"SELECT t.n, EXISTS (SELECT FROM outbox o WHERE o.day = date '1970-01-01' + t.day"
	" AND o.event_id = t.event_id AND o.user_id = t.user_id)"
	" FROM unnest($1::integer[], $2::uuid[], $3::bigint[], $4::bigint[])"
	" AS t (day, event_id, user_id, n)" };

static bool
archive_add(struct sql_array *a, const struct event *ev, size_t i)
{
	struct uuid id;

	must(uuid_parse(ev->id, strlen(ev->id), &id));
	if (!uuid_is_v7(&id) || ev->user_id >= EVENT_USER_MADE_UP)
		return false;
	sql_array_i64(&a[0], outbox_day_number(&id));
	sql_array_text(&a[1], ev->id);
	sql_array_i64(&a[2], ev->user_id);
	sql_array_i64(&a[3], (int64_t)i);
	return true;
}

static int
archive_ask(struct consumer *c, struct batch *b, struct sql_array *a, bool *gone, struct err *e)
{
	struct sql_params p;
	struct sql_result r;
	int64_t i;

	sql_params_init(&p);
	if (sql_add_arrays(&p, a, 4, e) || sql_run(consumer_sql(c), b->mem, &in_archive, &p, &r, e))
		return -1;
	for (size_t row = 0; row < r.rows; row++) {
		if (sql_i64(&r, row, 0, &i, e) || sql_bool(&r, row, 1, &gone[i], e))
			return -1;
	}
	return 0;
}

const bool *
cache_users_gone(struct consumer *c, struct batch *b, const struct sql_result *r, struct err *e)
{
	bool *gone = arena_alloc(b->mem, b->n * sizeof *gone);
	struct sql_array a[4];
	size_t asked = 0;
	int rc = 0;

	must(gone);
	sql_arrays_init(a, ARRAY_LEN(a), ARRAY_BYTES);
	for (size_t i = 0; i < b->n; i++) {
		const struct event *ev = b->d[i].ev;
		bool known = ev->kind == EVENT_DELETED || ev->kind == EVENT_ACTIVITY ||
			cache_users_find(r, ev->user_id) < r->rows;

		gone[i] = !known && b->d[i].own;
		if (!known && !gone[i])
			asked += archive_add(a, ev, i);
	}
	if (asked > 0)
		rc = archive_ask(c, b, a, gone, e);
	sql_arrays_fini(a, ARRAY_LEN(a));
	return rc ? NULL : gone;
}
