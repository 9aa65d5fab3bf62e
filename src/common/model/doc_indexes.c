/* SPDX-License-Identifier: MIT */
#include "model/doc_indexes.h"

#include <inttypes.h>
#include <string.h>

#include "base/log.h"

enum { SPHERE = 1, UNIQUE = 2 }; /* UNIQUE: among the documents that have the field */

static const struct row {
	const char *collection, *name, *first, *second; /* second: descending, NULL: none */
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

/* An index with the right name that is not unique, but should be, counts as missing. */
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

int
doc_indexes_duplicates(struct doc *d, struct arena *mem, const char *collection, const char **text,
	struct err *e)
{
	/* email is the only unique field; ids are enough, so e-mails stay out of logs */
	static const char pipeline[] =
		"[{\"$match\": {\"email\": {\"$exists\": true}}},"
		" {\"$group\": {\"_id\": \"$email\", \"one\": {\"$min\": \"$_id\"},"
		" \"other\": {\"$max\": \"$_id\"}, \"n\": {\"$sum\": 1}}},"
		" {\"$match\": {\"n\": {\"$gt\": 1}}}, {\"$limit\": 3}]";
	struct doc_list found = { 0 };
	int64_t one, other;
	const char *list = "";

	*text = "";
	if (strcmp(collection, USER_COLLECTION) != 0)
		return 0;
	if (doc_aggregate_whole(d, mem, collection, pipeline, doc_new(mem), &found, e))
		return -1;
	for (size_t i = 0; i < found.count && list; i++)
		if (doc_get_i64(&found.at[i], "one", &one) &&
			doc_get_i64(&found.at[i], "other", &other))
			list = arena_printf(mem, "%s%s%" PRId64 " and %" PRId64, list,
				*list ? ", " : "", one, other);
	*text = list;
	return list ? 0 : err_set(e, ERR_LIMIT, "no room");
}

/* Adds to *why the reason: the users with one e-mail, or the server's own words. */
static int
reason(struct doc *d, struct arena *mem, const struct row *r, const struct err *failed,
	const char **why, struct err *e)
{
	struct err look = ERR_INIT;
	const char *same = "";

	if (r->flags & UNIQUE && doc_indexes_duplicates(d, mem, r->collection, &same, &look)) {
		if (look.kind == ERR_AWAY)
			return err_set(e, ERR_AWAY, "%s", look.text);
		same = "";
	}
	*why = arena_printf(mem, "%s%s%s cannot be made: %s%s", *why, **why ? "; " : "", r->name,
		*same ? "these users have one e-mail: " : failed->text, same);
	return *why ? 0 : err_set(e, ERR_LIMIT, "no room");
}

int
doc_indexes_mend(struct doc *d, struct arena *mem, const char *collection,
	bool (*goes_on)(void *arg), void *arg, const char **why, struct err *e)
{
	struct doc_list have;

	*why = "";
	if (doc_list_indexes(d, mem, collection, &have, e))
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct err failed = ERR_INIT;

		if (strcmp(rows[i].collection, collection) != 0 || there(&have, &rows[i]))
			continue;
		if (goes_on && !goes_on(arg))
			return err_set(e, ERR_AWAY, "the end has come");
		if (make(d, mem, &rows[i], &failed) == 0)
			log_info("an index was missing and is made",
				LOG_S("collection", collection), LOG_S("index", rows[i].name));
		else if (failed.kind == ERR_AWAY)
			return err_set(e, ERR_AWAY, "%s", failed.text);
		else if (reason(d, mem, &rows[i], &failed, why, e))
			return -1;
	}
	return 0;
}
