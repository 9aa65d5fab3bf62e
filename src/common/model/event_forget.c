/* SPDX-License-Identifier: MIT */
#include "model/event_forget.h"

#include "base/clock.h"
#include "link/doc_bulk.h"
#include "model/doc_indexes.h"
#include "model/event_document.h"

/*
 * So many events are stripped in one call, which may take 2 s. FerretDB changes
 * 2,000 to 7,000 documents a second. It finds them by the index of user_id and
 * reads each of the user's events: that takes 1 s for 100,000 events on a machine
 * with ten times too much work.
 */
#define PAGE 1000
#define PAGE_BYTES (4u << 20)

static const char *const names[] = EVENT_NAMES("payload.");

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
	/* a duplicate is no failure: another process has just remembered the user */
	for (size_t i = 0; i < ids->n; i++)
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

/* Finds a page of these users' events that still hold a name. */
static int
page_find(struct doc *d, struct arena *mem, const struct event_users *gone, struct doc_list *found,
	struct err *e)
{
	struct doc_body *which = one_of(mem, "user_id", gone), *only = doc_new(mem);

	doc_begin_array(which, "$or");
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		doc_begin(which, NULL);
		doc_begin(which, names[i]);
		doc_add_bool(which, "$exists", true);
		doc_end(which);
		doc_end(which);
	}
	doc_end(which);
	doc_add_i64(only, "_id", 1);
	return doc_find(d, mem, EVENT_COLLECTION, which,
		&(struct doc_find){ .projection = only, .limit = PAGE }, found, e);
}

static int
page_strip(struct doc *d, struct arena *mem, const struct doc_list *found, struct err *e)
{
	struct doc_body *which = doc_new(mem), *what = doc_new(mem);
	struct doc_wrote wrote;
	const char *id;
	size_t n = 0;

	doc_begin(which, "_id");
	doc_begin_array(which, "$in");
	for (size_t i = 0; i < found->count; i++)
		if ((id = doc_get_text(&found->at[i], "_id", NULL))) {
			doc_add_string(which, NULL, id);
			n++;
		}
	doc_end(which);
	doc_end(which);
	/* we write no such events, and the same page would be found for ever */
	if (n == 0)
		return err_set(e, ERR_INVALID, "events whose _id is no text hold a deleted name");
	doc_begin(what, "$unset");
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		doc_add_string(what, names[i], "");
	doc_end(what);
	return doc_update_many(d, EVENT_COLLECTION, which, what, &wrote, e);
}

int
event_forget_strip(struct doc *d, const struct event_users *gone, bool (*goes_on)(void *arg),
	void *arg, struct err *e)
{
	struct arena *mem = arena_new(PAGE_BYTES / 8, PAGE_BYTES);
	struct doc_list found = { .count = gone->n ? PAGE : 0 };
	int rc = 0;

	while (rc == 0 && found.count == PAGE) {
		arena_reset(mem);
		if (goes_on && !goes_on(arg))
			rc = err_set(e, ERR_AWAY, "the end has come; the next start goes on");
		else if (page_find(d, mem, gone, &found, e) ||
			(found.count > 0 && page_strip(d, mem, &found, e)))
			rc = -1;
	}
	arena_free(mem);
	return rc;
}
