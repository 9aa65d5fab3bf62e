/* SPDX-License-Identifier: MIT */
#include "run/event_indexes.h"

#include <string.h>

static const struct {
	const char *name, *first, *second; /* second descending; NULL: none */
	bool sphere;
} indexes[] = {
	{ "user_id_1", "user_id", NULL, false },
	{ "event_type_1", "event_type", NULL, false },
	{ "user_id_1_timestamp_-1", "user_id", "timestamp", false },
	{ "geo.coordinates_2dsphere", "geo.coordinates", NULL, true },
};

int
event_indexes_make(struct doc *d, struct err *e)
{
	struct arena *mem = arena_new(4096, 1 << 20);
	int rc = 0;

	for (size_t i = 0; i < ARRAY_LEN(indexes) && rc == 0; i++) {
		struct doc_body *keys = doc_new(mem);

		if (indexes[i].sphere)
			doc_add_string(keys, indexes[i].first, "2dsphere");
		else
			doc_add_i64(keys, indexes[i].first, 1);
		if (indexes[i].second)
			doc_add_i64(keys, indexes[i].second, -1);
		rc = doc_create_index(d, EVENT_COLLECTION,
			&(struct doc_index){ .name = indexes[i].name, .keys = keys }, e);
	}
	arena_free(mem);
	return rc;
}

int
event_indexes_missing(struct doc *d, struct arena *mem, const char **names, struct err *e)
{
	struct doc_list have;
	const char *list = "";

	if (doc_list_indexes(d, mem, EVENT_COLLECTION, &have, e))
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(indexes) && list; i++) {
		bool there = false;

		for (size_t k = 0; k < have.count; k++) {
			const char *name = doc_get_text(&have.at[k], "name", NULL);

			there |= name && strcmp(name, indexes[i].name) == 0;
		}
		if (!there)
			list = arena_printf(mem, "%s%s%s", list, *list ? ", " : "",
				indexes[i].name);
	}
	*names = list;
	return list ? 0 : err_set(e, ERR_LIMIT, "no room");
}
