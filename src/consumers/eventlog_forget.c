/* SPDX-License-Identifier: MIT */
#include "eventlog_forget.h"

#include <string.h>

#include "link/doc.h"
#include "run/doc_indexes.h"

static int
strip(struct consumer *c, struct arena *mem, int64_t user_id, struct err *e)
{
	static const char *const names[] = { "payload.username", "payload.name", "payload.email" };
	struct doc_body *who = doc_new(mem), *what = doc_new(mem);
	struct doc_wrote wrote;

	doc_add_i64(who, "user_id", user_id);
	doc_begin(what, "$unset");
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		doc_add_string(what, names[i], "");
	doc_end(what);
	return doc_update_many(consumer_doc(c), EVENT_COLLECTION, who, what, &wrote, e);
}

static int
late_strip(struct consumer *c, struct batch *b, struct err *e)
{
	struct doc_body *selector = doc_new(b->mem), *projection = doc_new(b->mem);
	struct doc_list gone;
	int64_t user_id;
	size_t n = 0;

	doc_add_string(selector, "event_type", "deleted");
	doc_begin(selector, "user_id");
	doc_begin_array(selector, "$in");
	for (size_t i = 0; i < b->n; i++)
		if (b->d[i].ev->username) { /* it brings name and e-mail */
			doc_add_i64(selector, NULL, b->d[i].ev->user_id);
			n++;
		}
	doc_end(selector);
	doc_end(selector);
	if (n == 0)
		return 0;
	doc_add_i64(projection, "user_id", 1);
	if (doc_find(consumer_doc(c), b->mem, EVENT_COLLECTION, selector,
		    &(struct doc_find){ .projection = projection }, &gone, e))
		return -1;
	for (size_t i = 0; i < gone.count; i++)
		if (doc_get_i64(&gone.at[i], "user_id", &user_id) && strip(c, b->mem, user_id, e))
			return -1;
	return 0;
}

int
eventlog_forget(struct consumer *c, struct batch *b, struct err *e)
{
	for (size_t i = 0; i < b->n; i++)
		if (b->d[i].ev->kind == EVENT_DELETED && strip(c, b->mem, b->d[i].ev->user_id, e))
			return -1;
	return late_strip(c, b, e);
}
