/* SPDX-License-Identifier: MIT */
#include "event_forget.h"

#include "base/clock.h"
#include "link/doc_bulk.h"
#include "run/doc_indexes.h"

void
event_users_init(struct event_users *u, struct arena *mem, size_t room)
{
	*u = (struct event_users){ .at = arena_alloc(mem, (room + 1) * sizeof *u->at) };
	must(u->at);
}

/* {name: {$in: [ids]}} */
static struct doc_body *
one_of(struct arena *mem, const char *name, const struct event_users *ids)
{
	struct doc_body *b = doc_new(mem);

	doc_begin(b, name);
	doc_begin_array(b, "$in");
	for (size_t i = 0; i < ids->n; i++)
		doc_add_i64(b, NULL, ids->at[i]);
	doc_end(b);
	doc_end(b);
	return b;
}

int
event_forget_remember(struct doc *d, struct arena *mem, const struct event_users *ids,
	struct err *e)
{
	struct doc_bulk *bulk = doc_bulk_new(mem, FORGOTTEN_COLLECTION);
	struct doc_body *who = doc_new(mem), *what = doc_new(mem);
	const struct doc_item *items;

	if (ids->n == 0)
		return 0;
	doc_begin(what, "$setOnInsert");
	doc_add_date_us(what, "at", clock_wall_us());
	doc_end(what);
	for (size_t i = 0; i < ids->n; i++) {
		doc_clear(who);
		doc_add_i64(who, "_id", ids->at[i]);
		if (doc_bulk_update_one(bulk, who, what, true, e))
			return -1;
	}
	if (doc_bulk_run(d, bulk, &items, e))
		return -1;
	for (size_t i = 0; i < ids->n; i++) /* a duplicate: another has just remembered it */
		if (items[i].fate == DOC_FAILED)
			return err_set(e, items[i].kind, "%s", items[i].why);
	return 0;
}

int
event_forget_look(struct doc *d, struct arena *mem, const struct event_users *named,
	struct event_users *gone, struct err *e)
{
	struct doc_list found;

	if (named->n == 0)
		return 0;
	if (doc_find(d, mem, FORGOTTEN_COLLECTION, one_of(mem, "_id", named),
		    &(struct doc_find){ 0 }, &found, e))
		return -1;
	for (size_t i = 0; i < found.count; i++)
		if (doc_get_i64(&found.at[i], "_id", &gone->at[gone->n]))
			gone->n++;
	return 0;
}

int
event_forget_strip(struct doc *d, struct arena *mem, const struct event_users *gone, struct err *e)
{
	static const char *const names[] = { "payload.username", "payload.name", "payload.email" };
	struct doc_body *what = doc_new(mem);
	struct doc_wrote wrote;

	if (gone->n == 0)
		return 0;
	doc_begin(what, "$unset");
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		doc_add_string(what, names[i], "");
	doc_end(what);
	return doc_update_many(d, EVENT_COLLECTION, one_of(mem, "user_id", gone), what, &wrote, e);
}
