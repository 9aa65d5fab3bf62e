/* SPDX-License-Identifier: MIT */
/* MongoDB: single writes, indexes, and questions of tools and tests. */
#include "link/doc_own.h"

#include <stdio.h>
#include <string.h>

typedef bool update_fn(mongoc_collection_t *, const bson_t *, const bson_t *, const bson_t *,
	bson_t *, bson_error_t *);

static int
wrote(struct doc_call *c, bool good, bson_t *reply, struct doc_wrote *out, struct err *e)
{
	const struct doc_view r = { bson_get_data(reply), reply->len };
	int64_t n = 0;

	(void)doc_get_i64(&r, "matchedCount", &out->matched);
	(void)doc_get_i64(&r, "modifiedCount", &out->modified);
	(void)doc_get_i64(&r, "deletedCount", &out->deleted);
	out->inserted = doc_get_i64(&r, "upsertedCount", &n)
		? n > 0
		: doc_type(&r, "upsertedId") != DOC_ABSENT;
	bson_destroy(reply);
	if (!good && c->error.domain == MONGOC_ERROR_SERVER &&
		doc_error_kind((int)c->error.code, "") == ERR_CONFLICT)
		doc_error_index(c->error.message, out->index, sizeof out->index);
	return doc_call_end(c, good, e);
}

static int
update(struct doc *d, const char *collection, const struct doc_body *selector,
	const struct doc_body *change, bool upsert, update_fn *fn, struct doc_wrote *out,
	struct err *e)
{
	bson_t which, what, reply, opts;
	struct doc_call c;
	bool good;

	must(selector); /* all of them: an empty body says so */
	*out = (struct doc_wrote){ 0 };
	if (doc_bson(selector, &which, e) || doc_bson(change, &what, e) ||
		doc_call_begin(d, collection, &c, e))
		return -1;
	bson_init(&opts);
	BSON_APPEND_BOOL(&opts, "validate", false);
	if (upsert)
		BSON_APPEND_BOOL(&opts, "upsert", true);
	good = fn(c.collection, &which, &what, &opts, &reply, &c.error);
	bson_destroy(&opts);
	return wrote(&c, good, &reply, out, e);
}

int
doc_update_one(struct doc *d, const char *collection, const struct doc_body *selector,
	const struct doc_body *change, bool upsert, struct doc_wrote *out, struct err *e)
{
	return update(d, collection, selector, change, upsert, mongoc_collection_update_one, out,
		e);
}

int
doc_update_many(struct doc *d, const char *collection, const struct doc_body *selector,
	const struct doc_body *change, struct doc_wrote *out, struct err *e)
{
	return update(d, collection, selector, change, false, mongoc_collection_update_many, out,
		e);
}

int
doc_delete_many(struct doc *d, const char *collection, const struct doc_body *selector,
	struct doc_wrote *out, struct err *e)
{
	bson_t which, reply;
	struct doc_call c;
	bool good;

	must(selector); /* all of them: an empty body says so */
	*out = (struct doc_wrote){ 0 };
	if (doc_bson(selector, &which, e) || doc_call_begin(d, collection, &c, e))
		return -1;
	good = mongoc_collection_delete_many(c.collection, &which, NULL, &reply, &c.error);
	return wrote(&c, good, &reply, out, e);
}

int
doc_create_index(struct doc *d, const char *collection, const struct doc_index *i, struct err *e)
{
	bson_t keys, partial, command = BSON_INITIALIZER, list, one;
	struct doc_call c;
	bool good;

	if (doc_bson(i->keys, &keys, e) || doc_bson(i->partial, &partial, e) ||
		doc_call_begin_whole(d, NULL, &c, e))
		return -1;
	BSON_APPEND_UTF8(&command, "createIndexes", collection);
	BSON_APPEND_ARRAY_BEGIN(&command, "indexes", &list);
	BSON_APPEND_DOCUMENT_BEGIN(&list, "0", &one);
	BSON_APPEND_UTF8(&one, "name", i->name);
	BSON_APPEND_DOCUMENT(&one, "key", &keys);
	if (i->unique)
		BSON_APPEND_BOOL(&one, "unique", true);
	if (i->sparse)
		BSON_APPEND_BOOL(&one, "sparse", true);
	if (i->partial)
		BSON_APPEND_DOCUMENT(&one, "partialFilterExpression", &partial);
	bson_append_document_end(&list, &one);
	bson_append_array_end(&command, &list);
	good = mongoc_client_write_command_with_opts(c.client, c.database, &command, NULL, NULL,
		&c.error);
	bson_destroy(&command);
	return doc_call_end(&c, good, e);
}

int
doc_list_indexes(struct doc *d, struct arena *mem, const char *collection, struct doc_list *out,
	struct err *e)
{
	struct doc_call c;
	mongoc_cursor_t *cursor;

	*out = (struct doc_list){ 0 };
	if (doc_call_begin(d, collection, &c, e))
		return -1;
	cursor = mongoc_collection_find_indexes_with_opts(c.collection, NULL);
	return doc_gather(&c, cursor, mem, out, e);
}

int
doc_version(struct doc *d, char out[static 32], struct err *e)
{
	bson_t command = BSON_INITIALIZER, reply;
	struct doc_call c;
	struct doc_view r;
	const char *text;
	bool good;

	out[0] = '\0';
	if (doc_call_begin(d, NULL, &c, e))
		return -1;
	BSON_APPEND_INT32(&command, "buildInfo", 1);
	good = mongoc_client_command_simple(c.client, c.database, &command, NULL, &reply, &c.error);
	bson_destroy(&command);
	r = (struct doc_view){ bson_get_data(&reply), reply.len };
	text = doc_get_text(&r, "version", NULL);
	snprintf(out, 32, "%s", text ? text : "");
	bson_destroy(&reply);
	return doc_call_end(&c, good, e);
}
