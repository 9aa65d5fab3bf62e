/* SPDX-License-Identifier: MIT */
#include "eventlog_forget.h"

#include "base/clock.h"
#include "link/doc_bulk.h"
#include "run/doc_indexes.h"

struct ids {
	int64_t *at;
	size_t n;
};

/* {name: {$in: [ids]}} */
static struct doc_body *
one_of(struct arena *mem, const char *name, const struct ids *ids)
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

static int
remember(struct consumer *c, struct arena *mem, const struct ids *ids, struct err *e)
{
	struct doc_bulk *bulk = doc_bulk_new(mem, FORGOTTEN_COLLECTION);
	struct doc_body *who = doc_new(mem), *what = doc_new(mem);
	const struct doc_item *items;

	doc_begin(what, "$setOnInsert");
	doc_add_date_us(what, "at", clock_wall_us());
	doc_end(what);
	for (size_t i = 0; i < ids->n; i++) {
		doc_clear(who);
		doc_add_i64(who, "_id", ids->at[i]);
		if (doc_bulk_update_one(bulk, who, what, true, e))
			return -1;
	}
	if (doc_bulk_run(consumer_doc(c), bulk, &items, e))
		return -1;
	for (size_t i = 0; i < ids->n; i++) /* a duplicate: another has just remembered it */
		if (items[i].fate == DOC_FAILED)
			return err_set(e, items[i].kind, "%s", items[i].why);
	return 0;
}

/* Of those whose name the batch brings, who has gone already: more of gone. */
static int
look_up(struct consumer *c, struct arena *mem, const struct ids *named, struct ids *gone,
	struct err *e)
{
	struct doc_list found;

	if (doc_find(consumer_doc(c), mem, FORGOTTEN_COLLECTION, one_of(mem, "_id", named),
		    &(struct doc_find){ 0 }, &found, e))
		return -1;
	for (size_t i = 0; i < found.count; i++)
		if (doc_get_i64(&found.at[i], "_id", &gone->at[gone->n]))
			gone->n++;
	return 0;
}

static int
strip(struct consumer *c, struct arena *mem, const struct ids *gone, struct err *e)
{
	static const char *const names[] = { "payload.username", "payload.name", "payload.email" };
	struct doc_body *what = doc_new(mem);
	struct doc_wrote wrote;

	doc_begin(what, "$unset");
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		doc_add_string(what, names[i], "");
	doc_end(what);
	return doc_update_many(consumer_doc(c), EVENT_COLLECTION, one_of(mem, "user_id", gone),
		what, &wrote, e);
}

int
eventlog_forget(struct consumer *c, struct batch *b, struct err *e)
{
	struct ids gone = { arena_alloc(b->mem, (2 * b->n + 1) * sizeof *gone.at), 0 };
	struct ids named = { arena_alloc(b->mem, (b->n + 1) * sizeof *named.at), 0 };

	must(gone.at && named.at);
	for (size_t i = 0; i < b->n; i++) {
		const struct event *ev = b->d[i].ev;

		if (ev->kind == EVENT_DELETED)
			gone.at[gone.n++] = ev->user_id;
		if (ev->username)
			named.at[named.n++] = ev->user_id;
	}
	if (gone.n > 0 && remember(c, b->mem, &gone, e))
		return -1;
	if (named.n > 0 && look_up(c, b->mem, &named, &gone, e))
		return -1;
	return gone.n > 0 ? strip(c, b->mem, &gone, e) : 0;
}
