/* SPDX-License-Identifier: MIT */
/* MongoDB: reads documents. */
#include "link/doc_own.h"

#include <string.h>

int
doc_gather(struct doc_call *c, mongoc_cursor_t *cursor, struct arena *mem, struct doc_list *out,
	struct err *e)
{
	struct doc_view *at = NULL;
	size_t count = 0, room = 0;
	const bson_t *doc;
	bool fits = true, good;

	while (fits && mongoc_cursor_next(cursor, &doc)) {
		const uint8_t *bytes = arena_memdup(mem, bson_get_data(doc), doc->len);

		if (count == room) {
			room = room ? 2 * room : 16;
			at = must_realloc(at, room * sizeof *at);
		}
		at[count++] = (struct doc_view){ bytes, doc->len };
		fits = bytes != NULL;
	}
	good = !mongoc_cursor_error(cursor, &c->error);
	mongoc_cursor_destroy(cursor);
	if (doc_call_end(c, good, e)) {
		free(at);
		return -1;
	}
	*out = (struct doc_list){ count, NULL };
	if (fits && count > 0)
		fits = (out->at = arena_memdup(mem, at, count * sizeof *at)) != NULL;
	free(at);
	return fits ? 0 : err_set(e, ERR_LIMIT, "no room for the documents found");
}

int
doc_find(struct doc *d, struct arena *mem, const char *collection, const struct doc_body *selector,
	const struct doc_find *o, struct doc_list *out, struct err *e)
{
	static const struct doc_find as_it_comes;
	bson_t which, sort, projection, opts;
	struct doc_call c;
	mongoc_cursor_t *cursor;

	o = o ? o : &as_it_comes;
	*out = (struct doc_list){ 0 };
	if (doc_bson(selector, &which, e) || doc_bson(o->sort, &sort, e) ||
		doc_bson(o->projection, &projection, e) || doc_call_begin(d, collection, &c, e))
		return -1;
	bson_init(&opts);
	BSON_APPEND_INT32(&opts, "maxTimeMS", doc_call_ms(&c));
	if (o->sort)
		BSON_APPEND_DOCUMENT(&opts, "sort", &sort);
	if (o->projection)
		BSON_APPEND_DOCUMENT(&opts, "projection", &projection);
	if (o->limit > 0)
		BSON_APPEND_INT64(&opts, "limit", o->limit);
	if (o->skip > 0)
		BSON_APPEND_INT64(&opts, "skip", o->skip);
	cursor = mongoc_collection_find_with_opts(c.collection, &which, &opts, NULL);
	bson_destroy(&opts);
	return doc_gather(&c, cursor, mem, out, e);
}

int
doc_find_one(struct doc *d, struct arena *mem, const char *collection,
	const struct doc_body *selector, struct doc_view *out, struct err *e)
{
	static const struct doc_find one = { .limit = 1 };
	struct doc_list l;

	*out = (struct doc_view){ 0 };
	if (doc_find(d, mem, collection, selector, &one, &l, e))
		return -1;
	if (l.count == 0)
		return err_set(e, ERR_MISSING, "no such document");
	*out = l.at[0];
	return 0;
}

int
doc_count(struct doc *d, const char *collection, const struct doc_body *selector, int64_t *out,
	struct err *e)
{
	bson_t which, opts;
	struct doc_call c;

	*out = 0;
	if (doc_bson(selector, &which, e) || doc_call_begin(d, collection, &c, e))
		return -1;
	bson_init(&opts);
	BSON_APPEND_INT32(&opts, "maxTimeMS", doc_call_ms(&c));
	*out = mongoc_collection_count_documents(c.collection, &which, &opts, NULL, NULL, &c.error);
	bson_destroy(&opts);
	return doc_call_end(&c, *out >= 0, e);
}

/* Copies `from` to `out` and replaces each "@name"; an unknown name is a bug. */
static void
substitute(bson_iter_t *from, const bson_t *parameters, bson_t *out)
{
	while (bson_iter_next(from)) {
		const char *key = bson_iter_key(from);
		const char *text = BSON_ITER_HOLDS_UTF8(from) ? bson_iter_utf8(from, NULL) : "";
		bson_iter_t inner;
		bson_t child;

		if (text[0] == '@') {
			must(bson_iter_init_find(&inner, parameters, text + 1));
			must(bson_append_iter(out, key, -1, &inner));
		} else if (BSON_ITER_HOLDS_DOCUMENT(from)) {
			must(bson_iter_recurse(from, &inner));
			must(BSON_APPEND_DOCUMENT_BEGIN(out, key, &child));
			substitute(&inner, parameters, &child);
			must(bson_append_document_end(out, &child));
		} else if (BSON_ITER_HOLDS_ARRAY(from)) {
			must(bson_iter_recurse(from, &inner));
			must(BSON_APPEND_ARRAY_BEGIN(out, key, &child));
			substitute(&inner, parameters, &child);
			must(bson_append_array_end(out, &child));
		} else {
			must(bson_append_iter(out, key, -1, from));
		}
	}
}

static int
aggregate(struct doc *d, struct arena *mem, const char *collection, const char *pipeline,
	const struct doc_body *parameters, bool whole, struct doc_list *out, struct err *e)
{
	bson_t given, stages = BSON_INITIALIZER, opts = BSON_INITIALIZER, *parsed = NULL;
	struct doc_call c;
	mongoc_cursor_t *cursor;
	bson_iter_t i;
	int rc = -1;

	*out = (struct doc_list){ 0 };
	if (doc_bson(parameters, &given, e))
		goto out;
	parsed = bson_new_from_json((const uint8_t *)pipeline, -1, NULL);
	must(parsed && bson_iter_init(&i, parsed)); /* the pipeline is a constant */
	substitute(&i, &given, &stages);
	if (whole ? doc_call_begin_whole(d, collection, &c, e)
		  : doc_call_begin(d, collection, &c, e))
		goto out;
	BSON_APPEND_INT32(&opts, "maxTimeMS", doc_call_ms(&c));
	cursor = mongoc_collection_aggregate(c.collection, MONGOC_QUERY_NONE, &stages, &opts, NULL);
	rc = doc_gather(&c, cursor, mem, out, e);
out:
	bson_destroy(parsed);
	bson_destroy(&stages);
	bson_destroy(&opts);
	return rc;
}

int
doc_aggregate(struct doc *d, struct arena *mem, const char *collection, const char *pipeline,
	const struct doc_body *parameters, struct doc_list *out, struct err *e)
{
	return aggregate(d, mem, collection, pipeline, parameters, false, out, e);
}

int
doc_aggregate_whole(struct doc *d, struct arena *mem, const char *collection, const char *pipeline,
	const struct doc_body *parameters, struct doc_list *out, struct err *e)
{
	return aggregate(d, mem, collection, pipeline, parameters, true, out, e);
}
