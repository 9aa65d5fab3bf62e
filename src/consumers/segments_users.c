/* SPDX-License-Identifier: MIT */
#include "segments_users.h"

#include <string.h>

#include "link/doc_bulk.h"
#include "model/doc_indexes.h"
#include "model/user_state.h"

/* One round of writes, and the user of each write. */
struct round {
	struct consumer *c;
	struct batch *b;
	struct doc_bulk *bulk;
	struct doc_body *which, *what;
	struct user **item;
};

static void
round_begin(struct round *r)
{
	r->bulk = doc_bulk_new(r->b->mem, USER_COLLECTION);
}

/* A write that cannot be added is retried. */
static void
round_add(struct round *r, struct user *u, int rc, const struct err *why)
{
	if (rc == 0) {
		r->item[doc_bulk_count(r->bulk) - 1] = u;
		return;
	}
	u->out = OUT_RETRY;
	u->why = consumer_why(r->b, why);
}

/* A duplicate gets a reason and no outcome yet. */
static int
round_write(struct round *r, struct err *e)
{
	size_t n = doc_bulk_count(r->bulk);
	const struct doc_item *items;

	if (n == 0)
		return 0;
	if (doc_bulk_run(consumer_doc(r->c), r->bulk, &items, e))
		return -1;
	for (size_t i = 0; i < n; i++) {
		struct user *u = r->item[i];

		u->why = items[i].why;
		if (items[i].fate == DOC_DONE)
			u->out = OUT_DONE;
		else if (items[i].fate == DOC_DUPLICATE)
			u->why = strcmp(items[i].index, "_id_") == 0
				? "the user is being written by another process"
				: "another user has this e-mail";
		else
			u->out = items[i].kind == ERR_INVALID ? OUT_REJECT : OUT_RETRY;
	}
	return 0;
}

static struct user_state
state_of(const struct user *u)
{
	const struct event *ev = u->newest;

	return (struct user_state){ .id = u->id,
		.version = ev->version,
		.updated_us = ev->time_us,
		.created_us = u->created ? u->created->time_us : ev->time_us,
		.created_known = u->created != NULL,
		.oldest = ev->kind == EVENT_CREATED,
		.username = ev->username,
		.email = ev->email };
}

static void
insert_add(struct round *r, struct user *u)
{
	struct user_state s = state_of(u);
	struct err why = ERR_INIT;

	user_state_insert(r->what, &s);
	round_add(r, u, doc_bulk_insert(r->bulk, r->what, &why), &why);
}

static void
tombstone_add(struct round *r, struct user *u)
{
	struct err why = ERR_INIT;

	user_state_tombstone(r->which, r->what, u->id, u->newest->version, u->newest->time_us);
	round_add(r, u, doc_bulk_replace_one(r->bulk, r->which, r->what, true, &why), &why);
}

static void
upsert_add(struct round *r, struct user *u)
{
	struct user_state s = state_of(u);
	struct err why = ERR_INIT;

	user_state_update(r->which, r->what, &s);
	round_add(r, u, doc_bulk_update_one(r->bulk, r->which, r->what, true, &why), &why);
}

static struct user *
user_find(struct user *users, size_t n, int64_t id)
{
	for (size_t i = 0; i < n; i++)
		if (users[i].id == id)
			return &users[i];
	return NULL;
}

/* An older user.created still corrects created_at: the user was created before it was changed. */
static void
created_at_mend(struct round *r, struct user *u, const struct doc_view *have)
{
	struct err why = ERR_INIT;
	int64_t at_us;

	if (!u->created || !doc_get_date_us(have, "created_at", &at_us) ||
		at_us <= u->created->time_us)
		return;
	u->out = OUT_UNSET;
	doc_clear(r->which);
	doc_add_i64(r->which, "_id", u->id);
	doc_begin(r->which, "created_at");
	doc_add_date_us(r->which, "$gt", u->created->time_us);
	doc_end(r->which);
	doc_clear(r->what);
	doc_begin(r->what, "$set");
	doc_add_date_us(r->what, "created_at", u->created->time_us);
	doc_end(r->what);
	round_add(r, u, doc_bulk_update_one(r->bulk, r->which, r->what, false, &why), &why);
}

/*
 * A duplicate says only that a document is in the way, and a server may name
 * another index than the one that matters. So the stored document decides. If it
 * is as new as the event, the event is done. Otherwise another user has the e-mail,
 * or another process has written the user meanwhile, and the event is retried.
 */
static int
duplicates_judge(struct round *r, struct user *users, size_t n, struct err *e)
{
	struct doc_body *selector = doc_new(r->b->mem), *projection = doc_new(r->b->mem);
	struct doc_list have;
	int64_t id, version;
	size_t open = 0;

	doc_begin(selector, "_id");
	doc_begin_array(selector, "$in");
	for (size_t i = 0; i < n; i++)
		if (users[i].out == OUT_UNSET) {
			doc_add_i64(selector, NULL, users[i].id);
			open++;
		}
	doc_end(selector);
	doc_end(selector);
	if (open == 0)
		return 0;
	doc_add_i64(projection, "version", 1);
	doc_add_i64(projection, "created_at", 1);
	doc_add_i64(projection, "deleted_at", 1);
	if (doc_find(consumer_doc(r->c), r->b->mem, USER_COLLECTION, selector,
		    &(struct doc_find){ .projection = projection }, &have, e))
		return -1;
	round_begin(r);
	for (size_t i = 0; i < have.count; i++) {
		struct user *u =
			doc_get_i64(&have.at[i], "_id", &id) ? user_find(users, n, id) : NULL;

		if (!u || u->out != OUT_UNSET)
			continue;
		u->gone = doc_type(&have.at[i], "deleted_at") != DOC_ABSENT;
		if (!u->gone &&
			(!doc_get_i64(&have.at[i], "version", &version) ||
				version < u->newest->version))
			continue;
		u->out = OUT_DONE;
		created_at_mend(r, u, &have.at[i]);
	}
	if (round_write(r, e))
		return -1;
	for (size_t i = 0; i < n; i++)
		if (users[i].out == OUT_UNSET)
			users[i].out = OUT_RETRY;
	return 0;
}

int
segments_users_write(struct consumer *c, struct batch *b, struct user *users, size_t n,
	struct err *e)
{
	struct round r = { .c = c, .b = b, .which = doc_new(b->mem), .what = doc_new(b->mem) };

	r.item = arena_alloc(b->mem, n * sizeof(struct user *));
	must(r.item);
	/* first the writes that free e-mails, so that new users can get them */
	round_begin(&r);
	for (size_t i = 0; i < n; i++)
		if (users[i].newest->kind == EVENT_DELETED)
			tombstone_add(&r, &users[i]);
	for (size_t i = 0; i < n; i++)
		if (users[i].newest->kind != EVENT_DELETED && !users[i].created)
			upsert_add(&r, &users[i]);
	if (round_write(&r, e))
		return -1;
	/* an insert costs far less than an upsert, and nearly every user.created is new */
	round_begin(&r);
	for (size_t i = 0; i < n; i++)
		if (users[i].newest->kind != EVENT_DELETED && users[i].created)
			insert_add(&r, &users[i]);
	if (round_write(&r, e))
		return -1;
	round_begin(&r);
	for (size_t i = 0; i < n; i++)
		if (users[i].out == OUT_UNSET && users[i].newest->kind != EVENT_DELETED &&
			users[i].created)
			upsert_add(&r, &users[i]);
	if (round_write(&r, e))
		return -1;
	return duplicates_judge(&r, users, n, e);
}
