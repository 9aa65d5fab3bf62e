/* SPDX-License-Identifier: MIT */
#include "run/doc_indexes.h"

#include <string.h>

enum { SPHERE = 1, UNIQUE = 2 }; /* unique: where the field is there */

static const struct row {
	const char *collection, *name, *first, *second; /* second descending; NULL: none */
	unsigned flags;
} rows[] = {
	{ EVENT_COLLECTION, "user_id_1", "user_id", NULL, 0 },
	{ EVENT_COLLECTION, "event_type_1", "event_type", NULL, 0 },
	{ EVENT_COLLECTION, "user_id_1_timestamp_-1", "user_id", "timestamp", 0 },
	{ EVENT_COLLECTION, "geo.coordinates_2dsphere", "geo.coordinates", NULL, SPHERE },
	{ USER_COLLECTION, "email_1", "email", NULL, UNIQUE },
};

static int
make(struct doc *d, struct arena *mem, const struct row *r, struct err *e)
{
	struct doc_body *keys = doc_new(mem);

	if (r->flags & SPHERE)
		doc_add_string(keys, r->first, "2dsphere");
	else
		doc_add_i64(keys, r->first, 1);
	if (r->second)
		doc_add_i64(keys, r->second, -1);
	return doc_create_index(d, r->collection,
		&(struct doc_index){ .name = r->name,
			.keys = keys,
			.unique = r->flags & UNIQUE,
			.sparse = r->flags & UNIQUE },
		e);
}

int
doc_indexes_make(struct doc *d, const char *collection, struct err *e)
{
	struct arena *mem = arena_new(4096, 1 << 20);
	int rc = 0;

	for (size_t i = 0; i < ARRAY_LEN(rows) && rc == 0; i++)
		if (strcmp(rows[i].collection, collection) == 0)
			rc = make(d, mem, &rows[i], e);
	arena_free(mem);
	return rc;
}

/* One that only has the name is as bad as none. */
static bool
there(const struct doc_list *have, const struct row *r)
{
	for (size_t i = 0; i < have->count; i++) {
		const char *name = doc_get_text(&have->at[i], "name", NULL);
		bool unique = false;

		(void)doc_get_bool(&have->at[i], "unique", &unique);
		if (name && strcmp(name, r->name) == 0)
			return unique || !(r->flags & UNIQUE);
	}
	return false;
}

int
doc_indexes_missing(struct doc *d, struct arena *mem, const char *collection, const char **names,
	struct err *e)
{
	struct doc_list have;
	const char *list = "";

	if (doc_list_indexes(d, mem, collection, &have, e))
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(rows) && list; i++)
		if (strcmp(rows[i].collection, collection) == 0 && !there(&have, &rows[i]))
			list = arena_printf(mem, "%s%s%s", list, *list ? ", " : "", rows[i].name);
	*names = list;
	return list ? 0 : err_set(e, ERR_LIMIT, "no room");
}
