/* SPDX-License-Identifier: MIT */
/* MongoDB through its link: what it does when all is well. */
#include "../lib/doc_fixture.h"

static struct doc_body *
set_i64(const char *name, int64_t n)
{
	struct doc_body *b = doc_new(mem);

	doc_begin(b, "$set");
	doc_add_i64(b, name, n);
	doc_end(b);
	return b;
}

static void
the_first_call_connects(void **state)
{
	struct link_view v;
	struct err e = ERR_INIT;
	char version[32];

	(void)state;
	link_look(doc_link(d), &v);
	assert_int_equal(v.state, LINK_DOWN);
	assert_string_equal(v.name, "mongo");
	assert_int_equal(doc_due_ms(d), 0);
	ok(doc_ping(d, &e), &e);
	link_look(doc_link(d), &v);
	assert_int_equal(v.state, LINK_UP);
	assert_int_equal(v.reconnects, 0);
	ok(doc_version(d, version, &e), &e);
	assert_true(version[0] >= '4' && version[0] <= '9');
}

static void
single_writes(void **state)
{
	struct doc_wrote w;
	struct doc_view v;
	struct err e = ERR_INIT;
	struct doc_body *keys = one_i64("email", 1), *u = doc_new(mem), *empty = doc_new(mem);
	int64_t n;

	(void)state;
	ok(doc_create_index(d, "users",
		   &(struct doc_index){ .name = "email_1",
			   .keys = keys,
			   .unique = true,
			   .sparse = true },
		   &e),
		&e);
	doc_begin(u, "$set");
	doc_add_string(u, "email", "joe@example.com");
	doc_end(u);
	ok(doc_update_one(d, "users", one_i64("_id", 1), u, true, &w, &e), &e);
	assert_true(w.inserted);
	assert_int_equal(w.matched, 0);
	/* sparse: two without are fine */
	ok(doc_update_one(d, "users", one_i64("_id", 2), set_i64("n", 1), true, &w, &e), &e);
	ok(doc_update_one(d, "users", one_i64("_id", 3), set_i64("n", 1), true, &w, &e), &e);
	assert_int_equal(doc_update_one(d, "users", one_i64("_id", 2), u, true, &w, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_string_equal(w.index, "email_1");
	assert_non_null(strstr(e.text, "email_1"));
	assert_null(strstr(e.text, "joe"));
	assert_true(link_usable(doc_link(d)));
	ok(doc_update_many(d, "users", one_i64("n", 1), set_i64("n", 2), &w, &e), &e);
	assert_int_equal(w.matched, 2);
	assert_int_equal(w.modified, 2);
	ok(doc_find_one(d, mem, "users", one_i64("_id", 1), &v, &e), &e);
	assert_string_equal(doc_get_text(&v, "email", NULL), "joe@example.com");
	assert_int_equal(doc_find_one(d, mem, "users", one_i64("_id", 9), &v, &e), -1);
	assert_int_equal(e.kind, ERR_MISSING);
	ok(doc_count(d, "users", NULL, &n, &e), &e);
	assert_int_equal(n, 3);
	ok(doc_count(d, "users", one_i64("n", 2), &n, &e), &e);
	assert_int_equal(n, 2);
	ok(doc_delete_many(d, "users", one_i64("n", 2), &w, &e), &e);
	assert_int_equal(w.deleted, 2);
	/* an update that can never be right */
	doc_clear(u);
	doc_begin(u, "$nonsense");
	doc_add_string(u, "secret", "joe");
	doc_end(u);
	assert_int_equal(doc_update_one(d, "users", one_i64("_id", 1), u, false, &w, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_null(strstr(e.text, "joe"));
	assert_true(link_usable(doc_link(d)));
	ok(doc_delete_many(d, "users", empty, &w, &e), &e);
	assert_int_equal(w.deleted, 1);
}

/* A stale version loses: the guard's selector matches nothing, so the upsert meets _id. */
static void
version_guard(void **state)
{
	struct doc_wrote w;
	struct err e = ERR_INIT;

	(void)state;
	for (int64_t version = 2; version >= 1; version--) {
		struct doc_body *which = doc_new(mem);
		int rc;

		doc_add_i64(which, "_id", 70);
		doc_begin(which, "version");
		doc_add_i64(which, "$lt", version);
		doc_end(which);
		rc = doc_update_one(d, "users", which, set_i64("version", version), true, &w, &e);
		assert_int_equal(rc, version == 2 ? 0 : -1);
	}
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_string_equal(w.index, "_id_");
}

static void
bulk(void **state)
{
	struct doc_bulk *b = doc_bulk_new(mem, "bulk");
	const struct doc_item *items;
	struct doc_body *body = doc_new(mem);
	struct doc_view v;
	struct err e = ERR_INIT;
	int64_t n;

	(void)state;
	ok(doc_create_index(d, "bulk",
		   &(struct doc_index){ .name = "place", .keys = ({
					       struct doc_body *k = doc_new(mem);
					       doc_add_string(k, "place", "2dsphere");
					       k;
				       }) },
		   &e),
		&e);
	ok(doc_create_index(d, "bulk",
		   &(struct doc_index){ .name = "u_1",
			   .keys = one_i64("u", 1),
			   .unique = true,
			   .sparse = true },
		   &e),
		&e);
	ok(doc_bulk_run(d, doc_bulk_new(mem, "bulk"), &items, &e), &e); /* empty */
	for (int i = 0; i < 6; i++) {
		doc_clear(body);
		doc_add_i64(body, "_id", i == 3 ? 1 : i); /* 3 is a second 1 */
		if (i == 2 || i == 4)
			doc_add_i64(body, "u", 5); /* 4 is a second u: 5 */
		if (i == 5) {
			doc_begin(body, "place"); /* no such place */
			doc_add_string(body, "type", "Point");
			doc_begin_array(body, "coordinates");
			doc_add_f64(body, NULL, 4000);
			doc_add_f64(body, NULL, 1);
			doc_end(body);
			doc_end(body);
		}
		ok(doc_bulk_insert(b, body, &e), &e);
		if (i == 2) /* in between: items keep the order they came in */
			ok(doc_bulk_update_one(b, one_i64("_id", 100), set_i64("n", 1), true, &e),
				&e);
	}
	ok(doc_bulk_delete_one(b, one_i64("_id", 0), &e), &e);
	ok(doc_bulk_update_one(b, one_i64("_id", 101), set_i64("u", 5), true, &e), &e);
	assert_int_equal(doc_bulk_count(b), 9);
	ok(doc_bulk_run(d, b, &items, &e), &e);
	for (int i = 0; i < 9; i++)
		assert_int_equal(items[i].fate,
			i == 4 || i == 5 || i == 8 ? DOC_DUPLICATE
				: i == 6           ? DOC_FAILED
						   : DOC_DONE);
	assert_string_equal(items[4].index, "_id_");
	assert_string_equal(items[5].index, "u_1");
	assert_string_equal(items[8].index, "u_1");
	print_message("# failed item: %s: %s\n", err_kind_name(items[6].kind), items[6].why);
	assert_int_equal(items[6].kind, ERR_INVALID);
	ok(doc_count(d, "bulk", NULL, &n, &e), &e);
	assert_int_equal(n, 3); /* 1, 2, 100 */
	ok(doc_find_one(d, mem, "bulk", one_i64("_id", 100), &v, &e), &e);
}

/* Replacing: all else of the document goes; one that does not fit the selector is a duplicate. */
static void
replacing(void **state)
{
	struct doc_bulk *b = doc_bulk_new(mem, "replaced");
	const struct doc_item *items;
	struct doc_body *body = doc_new(mem);
	struct doc_view v;
	struct err e = ERR_INIT;
	int64_t n = 0;

	(void)state;
	for (int i = 0; i < 2; i++) {
		doc_clear(body);
		doc_add_i64(body, "_id", i);
		doc_add_i64(body, "n", i);
		doc_add_string(body, "text", "old");
		ok(doc_bulk_insert(b, body, &e), &e);
	}
	ok(doc_bulk_run(d, b, &items, &e), &e);
	b = doc_bulk_new(mem, "replaced");
	for (int i = 0; i < 3; i++) { /* 0 is replaced, 1 does not fit, 2 is new */
		struct doc_body *which = doc_new(mem);

		doc_add_i64(which, "_id", i);
		doc_add_i64(which, "n", 0);
		doc_clear(body);
		doc_add_i64(body, "_id", i);
		doc_add_i64(body, "gone", 7);
		ok(doc_bulk_replace_one(b, which, body, true, &e), &e);
	}
	ok(doc_bulk_run(d, b, &items, &e), &e);
	assert_int_equal(items[0].fate, DOC_DONE);
	assert_int_equal(items[1].fate, DOC_DUPLICATE);
	assert_int_equal(items[2].fate, DOC_DONE);
	for (int i = 0; i < 3; i += 2) {
		ok(doc_find_one(d, mem, "replaced", one_i64("_id", i), &v, &e), &e);
		assert_int_equal(doc_count_members(&v), 2);
		assert_true(doc_get_i64(&v, "gone", &n) && n == 7);
	}
}

/* What a producer may put into a payload. */
static void
odd_names(void **state)
{
	static const char text[] = "{\"a.b\":1,\"$x\":{\"$date\":1},\"\":2}";
	struct doc_bulk *b = doc_bulk_new(mem, "odd");
	const struct doc_item *items;
	const struct json *j;
	struct doc_body *body = doc_new(mem);
	struct doc_view v;
	struct err e = ERR_INIT;
	double n;

	(void)state;
	ok(json_parse(mem, text, strlen(text), &j, &e), &e);
	for (int i = 0; i < 2; i++) {
		doc_clear(body);
		doc_add_i64(body, "_id", i);
		if (i == 0)
			doc_add_json(body, "payload", j);
		ok(doc_bulk_insert(b, body, &e), &e);
	}
	ok(doc_bulk_run(d, b, &items, &e), &e);
	assert_int_equal(items[1].fate, DOC_DONE); /* whatever becomes of its neighbour */
	if (items[0].fate == DOC_DONE) {
		ok(doc_find_one(d, mem, "odd", one_i64("_id", 0), &v, &e), &e);
		assert_true(doc_get_f64(&v, "payload.$x.$date", &n));
	} else {
		print_message("# odd names: %s: %s\n", err_kind_name(items[0].kind), items[0].why);
		assert_int_equal(items[0].kind, ERR_INVALID);
	}
}

/* Enough inserts for two commands: each item has its own fate, in order, whichever took it. */
static void
two_commands(void **state)
{
	enum { COUNT = 501 };
	const struct doc_item *items;
	struct doc_body *body = doc_new(mem);
	struct err e = ERR_INIT;
	int64_t n;

	(void)state;
	for (int step = 7; step > 0; step -= 6) { /* each seventh, then all */
		struct doc_bulk *b = doc_bulk_new(mem, "two");
		size_t at = 0;

		for (int i = 0; i < COUNT; i += step) {
			doc_clear(body);
			doc_add_i64(body, "_id", i);
			ok(doc_bulk_insert(b, body, &e), &e);
		}
		ok(doc_bulk_run(d, b, &items, &e), &e);
		for (int i = 0; i < COUNT; i += step, at++)
			assert_int_equal(items[at].fate,
				step == 1 && i % 7 == 0 ? DOC_DUPLICATE : DOC_DONE);
	}
	ok(doc_count(d, "two", NULL, &n, &e), &e);
	assert_int_equal(n, COUNT);
}

static void
finding(void **state)
{
	struct doc_bulk *b = doc_bulk_new(mem, "many");
	const struct doc_item *items;
	struct doc_body *body = doc_new(mem), *parameters = doc_new(mem);
	struct arena *small = arena_new(4096, 16384);
	struct doc_find o = { .limit = 3, .skip = 1 };
	struct doc_list l;
	struct err e = ERR_INIT;
	int64_t n = 0;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		doc_clear(body);
		doc_add_i64(body, "_id", i);
		doc_add_i64(body, "group", i % 3);
		doc_add_string(body, "text", "some text that takes place, some text that does");
		ok(doc_bulk_insert(b, body, &e), &e);
	}
	ok(doc_bulk_run(d, b, &items, &e), &e);
	o.sort = one_i64("_id", -1);
	o.projection = one_i64("group", 1);
	ok(doc_find(d, mem, "many", one_i64("group", 0), &o, &l, &e), &e);
	assert_int_equal(l.count, 3);
	assert_true(doc_get_i64(&l.at[0], "_id", &n));
	assert_int_equal(n, 996);
	assert_int_equal(doc_type(&l.at[0], "text"), DOC_ABSENT);
	ok(doc_find(d, mem, "many", NULL, NULL, &l, &e), &e); /* several batches */
	assert_int_equal(l.count, 1000);
	ok(doc_find(d, mem, "nothing_there", NULL, NULL, &l, &e), &e);
	assert_int_equal(l.count, 0);
	assert_int_equal(doc_find(d, small, "many", NULL, NULL, &l, &e), -1);
	assert_int_equal(e.kind, ERR_LIMIT);
	assert_true(link_usable(doc_link(d)));
	doc_add_i64(parameters, "from", 990);
	doc_begin_array(parameters, "groups");
	doc_add_i64(parameters, NULL, 0);
	doc_add_i64(parameters, NULL, 1);
	doc_end(parameters);
	ok(doc_aggregate(d, mem, "many",
		   "[{\"$match\": {\"_id\": {\"$gte\": \"@from\"}, \"group\": {\"$in\": "
		   "\"@groups\"}}}, {\"$group\": {\"_id\": \"$group\", \"n\": {\"$sum\": 1}}}, "
		   "{\"$sort\": {\"_id\": 1}}]",
		   parameters, &l, &e),
		&e);
	assert_int_equal(l.count, 2);
	assert_true(doc_get_i64(&l.at[0], "n", &n));
	assert_int_equal(n, 4); /* 990, 993, 996, 999 */
	arena_free(small);
}

static void
indexes(void **state)
{
	struct doc_body *keys = doc_new(mem), *partial = doc_new(mem);
	struct doc_index i = { .name = "user_time", .keys = keys };
	struct doc_list l;
	struct err e = ERR_INIT;
	int64_t n = 0;
	bool found = false;

	(void)state;
	doc_add_i64(keys, "user_id", 1);
	doc_add_i64(keys, "timestamp", -1);
	ok(doc_list_indexes(d, mem, "none_such", &l, &e), &e);
	assert_int_equal(l.count, 0);
	ok(doc_create_index(d, "ix", &i, &e), &e);
	ok(doc_create_index(d, "ix", &i, &e), &e); /* the same again */
	i.keys = one_i64("other", 1);
	assert_int_equal(doc_create_index(d, "ix", &i, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	doc_begin(partial, "a");
	doc_add_bool(partial, "$exists", true);
	doc_end(partial);
	i = (struct doc_index){ .name = "part", .keys = one_i64("a", 1), .partial = partial };
	ok(doc_create_index(d, "ix", &i, &e), &e);
	ok(doc_list_indexes(d, mem, "ix", &l, &e), &e);
	assert_int_equal(l.count, 3);
	for (size_t k = 0; k < l.count; k++) {
		const char *name = doc_get_text(&l.at[k], "name", NULL);

		if (strcmp(name, "user_time") == 0)
			found = doc_get_i64(&l.at[k], "key.timestamp", &n);
		assert_int_equal(doc_type(&l.at[k], "partialFilterExpression") == DOC_NESTED,
			strcmp(name, "part") == 0);
	}
	assert_true(found);
	assert_int_equal(n, -1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_call_connects),
		cmocka_unit_test(single_writes),
		cmocka_unit_test(version_guard),
		cmocka_unit_test(bulk),
		cmocka_unit_test(replacing),
		cmocka_unit_test(two_commands),
		cmocka_unit_test(odd_names),
		cmocka_unit_test(finding),
		cmocka_unit_test(indexes),
	};

	ON_SERVER_RUN("ONBOARD_MONGO_URL", given, tests, setup, teardown);
}
