/* SPDX-License-Identifier: MIT */
/*
 * Bulk writes. Each kind of write is a bulk operation of its own, small enough for
 * one command. With several commands in one operation, the driver reports the first
 * write error even when a later command was lost, so the outcome would be unknown.
 *
 * Many inserts become two commands on two connections at once, because a server
 * runs one command on one processor.
 */
#include "link/doc_bulk.h"

#include <pthread.h>

#include "base/clock.h"
#include "link/doc_own.h"

enum { INSERTS, INSERTS_BESIDE, UPDATES, DELETES, KINDS };

#define ALONE_MAX 64 /* fewer inserts are not worth a second command */

struct part {
	mongoc_bulk_operation_t *bulk; /* NULL: no writes of this kind */
	uint32_t *item;                /* the item of each write */
	size_t count, room, bytes;
};

struct doc_bulk {
	struct arena *mem;
	const char *collection;
	struct part parts[KINDS];
	struct doc_item *items; /* made by doc_bulk_run */
	size_t count;
	bson_t plain, upsert; /* options */
	bool ran;
};

static void
bulk_free(void *p)
{
	struct doc_bulk *b = p;

	for (size_t i = 0; i < KINDS; i++) {
		mongoc_bulk_operation_destroy(b->parts[i].bulk);
		free(b->parts[i].item);
	}
	bson_destroy(&b->plain);
	bson_destroy(&b->upsert);
	free(b);
}

struct doc_bulk *
doc_bulk_new(struct arena *mem, const char *collection)
{
	struct doc_bulk *b = must_calloc(1, sizeof *b);

	b->mem = mem;
	/* bodies are always valid; the driver would refuse names that servers accept */
	bson_init(&b->plain);
	must(BSON_APPEND_BOOL(&b->plain, "validate", false));
	bson_copy_to(&b->plain, &b->upsert);
	must(BSON_APPEND_BOOL(&b->upsert, "upsert", true));
	if (!arena_defer(mem, bulk_free, b))
		return NULL;
	b->collection = arena_strdup(mem, collection);
	return b->collection ? b : NULL;
}

size_t
doc_bulk_count(const struct doc_bulk *b)
{
	return b ? b->count : 0;
}

/* Makes room for one more write of the kind; NULL: see e. */
static struct part *
part_for(struct doc_bulk *b, int kind, size_t bytes, struct err *e)
{
	struct part *p;

	if (!b || b->count >= DOC_BULK_MAX || b->parts[kind].bytes + bytes > DOC_BULK_BYTES_MAX) {
		err_set(e, ERR_LIMIT, "the bulk is full: %zu writes", doc_bulk_count(b));
		return NULL;
	}
	must(!b->ran);
	p = &b->parts[kind];
	if (!p->bulk)
		p->bulk = mongoc_bulk_operation_new(false);
	if (p->count == p->room) {
		p->room = p->room ? 2 * p->room : 64;
		p->item = must_realloc(p->item, p->room * sizeof *p->item);
	}
	return p;
}

static int
added(struct doc_bulk *b, struct part *p, size_t bytes, bool good, const bson_error_t *why,
	struct err *e)
{
	if (!good)
		return doc_error_set(why, e);
	p->bytes += bytes;
	p->item[p->count++] = (uint32_t)b->count++;
	return 0;
}

static int
inserts_shorter(const struct doc_bulk *b)
{
	if (!b || b->parts[INSERTS].count < ALONE_MAX)
		return INSERTS;
	return b->parts[INSERTS_BESIDE].count < b->parts[INSERTS].count ? INSERTS_BESIDE : INSERTS;
}

int
doc_bulk_insert(struct doc_bulk *b, const struct doc_body *document, struct err *e)
{
	bson_error_t why = { 0 };
	struct part *p;
	bson_t doc;
	bool good;

	if (doc_bson(document, &doc, e) || !(p = part_for(b, inserts_shorter(b), doc.len, e)))
		return -1;
	good = mongoc_bulk_operation_insert_with_opts(p->bulk, &doc, &b->plain, &why);
	return added(b, p, doc.len, good, &why, e);
}

typedef bool change_fn(mongoc_bulk_operation_t *, const bson_t *, const bson_t *, const bson_t *,
	bson_error_t *);

static int
change(struct doc_bulk *b, const struct doc_body *selector, const struct doc_body *document,
	bool upsert, change_fn *fn, struct err *e)
{
	bson_error_t why = { 0 };
	struct part *p;
	bson_t which, what;
	size_t bytes;
	bool good;

	if (doc_bson(selector, &which, e) || doc_bson(document, &what, e))
		return -1;
	bytes = which.len + what.len + 64;
	if (!(p = part_for(b, UPDATES, bytes, e)))
		return -1;
	good = fn(p->bulk, &which, &what, upsert ? &b->upsert : &b->plain, &why);
	return added(b, p, bytes, good, &why, e);
}

int
doc_bulk_update_one(struct doc_bulk *b, const struct doc_body *selector,
	const struct doc_body *update, bool upsert, struct err *e)
{
	return change(b, selector, update, upsert, mongoc_bulk_operation_update_one_with_opts, e);
}

int
doc_bulk_replace_one(struct doc_bulk *b, const struct doc_body *selector,
	const struct doc_body *document, bool upsert, struct err *e)
{
	return change(b, selector, document, upsert, mongoc_bulk_operation_replace_one_with_opts,
		e);
}

int
doc_bulk_delete_one(struct doc_bulk *b, const struct doc_body *selector, struct err *e)
{
	bson_error_t why = { 0 };
	struct part *p;
	bson_t which;
	size_t bytes;
	bool good;

	if (doc_bson(selector, &which, e))
		return -1;
	bytes = which.len + 64;
	if (!(p = part_for(b, DELETES, bytes, e)))
		return -1;
	good = mongoc_bulk_operation_remove_one_with_opts(p->bulk, &which, NULL, &why);
	return added(b, p, bytes, good, &why, e);
}

/* Reads one entry of writeErrors. False: it names no item. */
static bool
judge(struct doc_bulk *b, const struct part *p, const bson_iter_t *at, bson_error_t *away)
{
	struct doc_view error = { 0 };
	struct err own = ERR_INIT;
	bson_error_t why = { .domain = MONGOC_ERROR_SERVER };
	const char *text;
	struct doc_item *item;
	int64_t index, code = 0;
	uint32_t length = 0;
	char name[64];

	if (BSON_ITER_HOLDS_DOCUMENT(at)) {
		bson_iter_document(at, &length, &error.bytes);
		error.length = length;
	}
	text = doc_get_text(&error, "errmsg", NULL);
	if (!doc_get_i64(&error, "index", &index) || index < 0 || (size_t)index >= p->count)
		return false;
	(void)doc_get_i64(&error, "code", &code);
	bson_strncpy(why.message, text ? text : "", sizeof why.message);
	why.code = (uint32_t)code;
	doc_error_set(&why, &own);
	if (own.kind == ERR_AWAY)
		*away = why;
	item = &b->items[p->item[index]];
	*item = (struct doc_item){ .fate = DOC_FAILED, .kind = own.kind };
	item->why = arena_strdup(b->mem, own.text);
	if (own.kind == ERR_CONFLICT) {
		item->fate = DOC_DUPLICATE;
		doc_error_index(text ? text : "", name, sizeof name);
		item->index = arena_strdup(b->mem, name);
	}
	if (!item->why)
		item->why = "no room for the reason";
	if (item->fate == DOC_DUPLICATE && !item->index)
		item->index = "";
	return true;
}

/* True: the outcome of every write is known. */
static bool
answered(struct doc_bulk *b, const struct part *p, const bson_t *reply, bool good, int kind,
	bson_error_t *error)
{
	const struct doc_view r = { bson_get_data(reply), reply->len };
	bson_error_t away = { 0 };
	struct doc_view errors;
	bson_iter_t i, at;
	size_t n = 0;
	int64_t inserted = -1;

	if (bson_iter_init_find(&i, reply, "writeErrors") && bson_iter_recurse(&i, &at))
		for (; bson_iter_next(&at); n++)
			if (!judge(b, p, &at, &away)) {
				bson_set_error(error, MONGOC_ERROR_PROTOCOL, 0,
					"a write error of an unknown form");
				return false;
			}
	if (away.code != 0) {
		*error = away;
		return false;
	}
	if (!good && n == 0)
		return false; /* error says why */
	if (doc_get_nested(&r, "writeConcernErrors", &errors) && doc_count_members(&errors) > 0) {
		bson_set_error(error, MONGOC_ERROR_WRITE_CONCERN, 64, "not confirmed as asked");
		return false;
	}
	if (kind <= INSERTS_BESIDE &&
		(!doc_get_i64(&r, "nInserted", &inserted) || (size_t)inserted + n != p->count)) {
		bson_set_error(error, MONGOC_ERROR_PROTOCOL, 0, "not every insert was answered");
		return false;
	}
	return true;
}

/* One command on its own connection. */
struct run {
	struct doc *d;
	struct doc_bulk *b;
	struct doc_call call;
	bson_t reply;
	struct err away; /* no connection was to be had */
	bool began, good;
	int kind;
	int64_t until_ms; /* the end of the whole run */
};

static void
run_part(struct run *r)
{
	mongoc_bulk_operation_t *bulk = r->b->parts[r->kind].bulk;

	bson_init(&r->reply);
	r->began = doc_call_begin(r->d, NULL, &r->call, &r->away) == 0;
	if (!r->began)
		return;
	doc_deadline_set(r->until_ms);
	mongoc_bulk_operation_set_client(bulk, r->call.client);
	mongoc_bulk_operation_set_database(bulk, r->call.database);
	mongoc_bulk_operation_set_collection(bulk, r->b->collection);
	bson_destroy(&r->reply);
	r->good = mongoc_bulk_operation_execute(bulk, &r->reply, &r->call.error) != 0;
}

static void *
run_beside(void *p)
{
	run_part(p);
	return NULL;
}

/* Reads the answers, one command after the other, since they share the bulk's arena. */
static int
run_end(struct run *r, struct err *e)
{
	int rc = -1;

	if (!r->began) {
		if (e)
			*e = r->away;
	} else {
		r->good = answered(r->b, &r->b->parts[r->kind], &r->reply, r->good, r->kind,
			&r->call.error);
		rc = doc_call_end(&r->call, r->good, e);
	}
	bson_destroy(&r->reply);
	return rc;
}

int
doc_bulk_run(struct doc *d, struct doc_bulk *b, const struct doc_item **items, struct err *e)
{
	int64_t until = clock_mono_ms() + CALL_ALL_MS;
	pthread_t beside;
	bool two = false;
	int rc = 0;

	*items = NULL;
	if (!b)
		return err_set(e, ERR_LIMIT, "no room for the bulk");
	must(!b->ran);
	b->items = arena_alloc(b->mem, (b->count + 1) * sizeof *b->items);
	if (!b->items)
		return err_set(e, ERR_LIMIT, "no room for the bulk's outcome");
	*items = b->items;
	b->ran = b->count > 0;
	for (int kind = 0; kind < KINDS && rc == 0; kind++) {
		struct run first = { .d = d, .b = b, .kind = kind, .until_ms = until },
			   second = first;

		if (!b->parts[kind].bulk || (kind == INSERTS_BESIDE && two))
			continue;
		second.kind = INSERTS_BESIDE;
		two = kind == INSERTS && b->parts[INSERTS_BESIDE].bulk &&
			pthread_create(&beside, NULL, run_beside, &second) == 0;
		run_part(&first);
		if (two)
			must(pthread_join(beside, NULL) == 0);
		rc = run_end(&first, e);
		if (two && run_end(&second, rc ? NULL : e))
			rc = -1;
	}
	return rc;
}
