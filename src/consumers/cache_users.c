/* SPDX-License-Identifier: MIT */
#include "cache_users.h"

#include "run/user_json.h"

static const struct sql_statement by_ids = { "cache_users",
	USER_SELECT " WHERE u.id = ANY ($1::bigint[]) ORDER BY u.id" };

int
cache_users_read(struct consumer *c, struct batch *b, struct sql_result *r, struct err *e)
{
	struct sql_array ids;
	struct sql_params p;
	int rc;

	sql_array_init(&ids, 1 << 20);
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
