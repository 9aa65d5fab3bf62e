/* SPDX-License-Identifier: MIT */
#include <math.h>

#include "cm.h"

#include "link/doc.h"
#include "link/doc_bulk.h"

static struct arena *mem;

static int
setup(void **state)
{
	(void)state;
	mem = arena_new(4096, 64 << 20);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	arena_free(mem);
	return 0;
}

static struct doc_view
view(const struct doc_body *b)
{
	struct doc_view v;
	struct err e = ERR_INIT;

	if (doc_look(b, &v, &e))
		fail_msg("%s", e.text);
	return v;
}

static const char *
as_json(const struct doc_body *b)
{
	struct doc_view v = view(b);
	struct err e = ERR_INIT;
	struct buf out;
	char *text, *to;

	buf_init(&out, 1 << 20);
	assert_int_equal(doc_to_json(&v, &out, &e), 0);
	text = to = arena_strdup(mem, buf_text(&out));
	buf_fini(&out);
	/* Older drivers write an empty array with two blanks. */
	for (const char *from = text; (*to = *from); from++)
		to += *from != ' ' || from[1] != ' ';
	return text;
}

static void
what_is_built_can_be_read(void **state)
{
	struct doc_body *b = doc_new(mem);
	struct doc_view v, inner;
	size_t length;
	int64_t n;
	double f;
	bool yes;

	(void)state;
	for (int round = 0; round < 2; round++) {
		doc_clear(b);
		doc_add_text(b, "t", "häßlich!", 9);
		doc_add_i64(b, "i", INT64_MIN);
		doc_add_f64(b, "f", 0.5);
		doc_add_f64(b, "whole", 7);
		doc_add_f64(b, "big", 0x1p63);
		doc_add_f64(b, "nan", NAN);
		doc_add_bool(b, "y", true);
		doc_add_date_us(b, "d", -1);
		doc_add_null(b, "n");
		doc_add_string(b, "none", NULL);
		doc_begin(b, "in");
		doc_begin_array(b, "list");
		doc_add_i64(b, NULL, 10);
		doc_begin(b, NULL);
		doc_add_string(b, "x", "deep");
		doc_end(b);
		doc_end(b);
		doc_end(b);
	}
	v = view(b);
	assert_string_equal(doc_get_text(&v, "t", &length), "häßlich");
	assert_int_equal(length, 9);
	assert_true(doc_get_i64(&v, "i", &n));
	assert_true(n == INT64_MIN);
	assert_true(doc_get_f64(&v, "f", &f));
	assert_true(f == 0.5);
	assert_false(doc_get_i64(&v, "f", &n));
	assert_true(doc_get_i64(&v, "whole", &n));
	assert_int_equal(n, 7);
	assert_false(doc_get_i64(&v, "big", &n));
	assert_false(doc_get_i64(&v, "nan", &n));
	assert_true(doc_get_bool(&v, "y", &yes));
	assert_true(yes);
	assert_true(doc_get_date_us(&v, "d", &n));
	assert_int_equal(n, -1000); /* down, not towards zero */
	assert_int_equal(doc_type(&v, "n"), DOC_NULL);
	assert_int_equal(doc_type(&v, "none"), DOC_NULL);
	assert_int_equal(doc_type(&v, "nothing"), DOC_ABSENT);
	assert_int_equal(doc_type(&v, "in"), DOC_NESTED);
	assert_string_equal(doc_get_text(&v, "in.list.1.x", NULL), "deep");
	assert_null(doc_get_text(&v, "in.list.0", NULL));
	assert_true(doc_get_nested(&v, "in.list", &inner));
	assert_int_equal(doc_count_members(&inner), 2);
	assert_int_equal(doc_count_members(&v), 11);
}

static void
json_is_copied_whole(void **state)
{
	static const char text[] =
		"{\"a\":[1,-2147483649,1.5,true,null,\"x\",[],{}],\"\":{\"$date\":5,\"a.b\":\"\"},"
		"\"max\":9007199254740992}";
	const struct json *j;
	struct err e = ERR_INIT;
	struct doc_body *b = doc_new(mem);
	struct doc_view v;
	int64_t n;

	(void)state;
	assert_int_equal(json_parse(mem, text, strlen(text), &j, &e), 0);
	doc_add_json(b, "j", j);
	v = view(b);
	assert_string_equal(as_json(b),
		"{ \"j\" : { \"a\" : [ 1, -2147483649, 1.5, true, null, \"x\", [ ], { } ], \"\" : { "
		"\"$date\" : 5, \"a.b\" : \"\" }, \"max\" : 9007199254740992 } }");
	assert_true(doc_get_i64(&v, "j.a.1", &n));
	assert_true(n == -2147483649);
}

static void
an_empty_document(void **state)
{
	struct doc_view v = view(doc_new(mem));

	(void)state;
	assert_int_equal(v.length, 5);
	assert_int_equal(doc_count_members(&v), 0);
	assert_int_equal(doc_count_members(&(struct doc_view){ 0 }), 0);
	assert_int_equal(doc_type(&(struct doc_view){ 0 }, "a"), DOC_ABSENT);
}

static void
what_does_not_fit_sticks(void **state)
{
	struct arena *small = arena_new(64, 64);
	struct doc_body *b = doc_new(mem), *none;
	struct doc_bulk *bulk = doc_bulk_new(mem, "c");
	char *large = must_calloc(1, DOC_BYTES_MAX);
	struct err e = ERR_INIT;
	struct doc_view v;

	(void)state;
	memset(large, 'x', DOC_BYTES_MAX);
	/* length, type, "t", NUL, length, text, NUL, NUL: the largest there can be */
	doc_add_text(b, "t", large, DOC_BYTES_MAX - 13);
	assert_int_equal(view(b).length, DOC_BYTES_MAX);
	assert_int_equal(doc_bulk_insert(bulk, b, &e), 0);
	doc_clear(b);
	doc_add_text(b, "t", large, DOC_BYTES_MAX - 12);
	doc_begin(b, "in");
	doc_begin_array(b, "list");
	doc_add_null(b, NULL);
	doc_end(b);
	doc_end(b);
	assert_true(doc_full(b));
	assert_int_equal(doc_look(b, &v, &e), -1);
	assert_int_equal(e.kind, ERR_LIMIT);
	assert_int_equal(doc_bulk_insert(bulk, b, &e), -1);
	assert_int_equal(e.kind, ERR_LIMIT);
	assert_int_equal(doc_bulk_count(bulk), 1);
	doc_clear(b);
	assert_false(doc_full(b));
	/* a full arena: never NULL, which would read as "all documents" */
	while (arena_alloc(small, 1))
		;
	none = doc_new(small);
	assert_non_null(none);
	doc_clear(none);
	doc_begin(none, "a");
	doc_add_i64(none, "b", 1);
	doc_add_string(none, "c", "d");
	doc_end(none);
	assert_int_equal(doc_look(none, &v, &e), -1);
	assert_int_equal(e.kind, ERR_LIMIT);
	assert_null(doc_bulk_new(small, "c"));
	assert_int_equal(doc_bulk_insert(NULL, b, &e), -1);
	assert_int_equal(e.kind, ERR_LIMIT);
	/* the bulk's own bounds: bytes, then count */
	doc_add_text(b, "t", large, DOC_BYTES_MAX - 13);
	assert_int_equal(doc_bulk_insert(bulk, b, &e), 0);
	doc_clear(b);
	assert_int_equal(doc_bulk_insert(bulk, b, &e), -1);
	assert_int_equal(e.kind, ERR_LIMIT);
	for (size_t i = 2; i < DOC_BULK_MAX; i++)
		assert_int_equal(doc_bulk_delete_one(bulk, b, &e), 0);
	assert_int_equal(doc_bulk_delete_one(bulk, b, &e), -1);
	assert_int_equal(e.kind, ERR_LIMIT);
	free(large);
	arena_free(small);
}

static void
index_names(void **state)
{
	static const struct {
		const char *message, *index;
	} rows[] = {
		{ "E11000 duplicate key error collection: db.users index: email_1 dup key: { email: "
		  "\"a@b.c\" }",
			"email_1" },
		{ "E11000 duplicate key error collection: db.users index: email_1", "email_1" },
		{ "E11000 duplicate key error index: db.users.$email_1 dup key: { : \"x\" }",
			"email_1" },
		{ "E11000 duplicate key error collection: db.users index: _id_ dup key: { _id: "
		  "\"1 index: x\" }",
			"_id_" },
		{ "Duplicate key violation on the requested collection: Index 'email_1'",
			"email_1" },
		{ "Duplicate key violation on the requested collection", "" },
		{ "index: ", "" },
	};
	char out[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		doc_error_index(rows[i].message, out, sizeof out);
		assert_string_equal(out, rows[i].index);
	}
	doc_error_index(" index: abcdefgh dup key", out, 5);
	assert_string_equal(out, "abcd");
}

static void
messages_show_no_content(void **state)
{
	static const struct {
		const char *message, *text;
	} rows[] = {
		{ "E11000 duplicate key error collection: db.users index: email_1 dup key: { email: "
		  "\"a@b.c\" }",
			"E11000 duplicate key error collection: db.users index: email_1" },
		{ "No suitable servers found: `serverSelectionTimeoutMS` expired: [connection "
		  "refused calling hello on '10.0.0.1:27017']. Topology type: Single",
			"connection refused" },
		{ "No suitable servers found (`serverSelectionTryOnce` set): [socket timeout "
		  "calling hello on 'h:1']",
			"socket timeout" },
		{ "Failed to send \"ping\" command with database \"db\": Failed to read 4 bytes: "
		  "socket error or timeout",
			"Failed to read 4 bytes: socket error or timeout" },
		{ "No suitable servers found", "No suitable servers found" },
		{ "Cannot create field 'secret' in element {a: 1}", "Cannot create field" },
		{ "bad value joe@example.com here", "bad value *** here" },
		{ "Failed to connect to target host: 127.0.0.1:50707]",
			"Failed to connect to target host: ***" },
		{ "mongodb://u:secret@h/db is wrong", "*** is wrong" },
		{ "Found invalid value: [1]", "Found invalid value" },
		{ "{ all: 1 }", "no reason given" },
		{ "", "no reason given" },
	};
	char out[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		doc_error_text(rows[i].message, out, sizeof out);
		assert_string_equal(out, rows[i].text);
	}
	doc_error_text("some words that are cut", out, 17);
	assert_string_equal(out, "some words that");
}

static void
error_kinds(void **state)
{
	static const struct {
		int code;
		enum err_kind kind;
	} rows[] = {
		{ 0, ERR_INTERNAL },
		{ 1, ERR_INTERNAL },
		{ 2, ERR_INVALID },
		{ 13, ERR_AWAY },
		{ 18, ERR_AWAY },
		{ 26, ERR_MISSING },
		{ 91, ERR_AWAY },
		{ 121, ERR_INVALID },
		{ 10107, ERR_AWAY },
		{ 11000, ERR_CONFLICT },
		{ 11600, ERR_AWAY },
		{ 13436, ERR_AWAY },
		{ 17280, ERR_INVALID },
	};
	static const char *const away[] = { "terminating connection due to administrator command",
		"the database system is starting up",
		"msg_find.go:43 (handler.(*Handler).msgFind): pool.go:90 "
		"(documentdb.(*Pool).Acquire): failed to connect to `user=u database=d`: …",
		"msg_find.go:43 (handler.(*Handler).msgFind): pool_cursors.go:132 "
		"(documentdb.(*Pool).Find): unexpected EOF" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(doc_error_kind(rows[i].code, "failed to connect to"),
			rows[i].kind);
	for (size_t i = 0; i < ARRAY_LEN(away); i++)
		assert_int_equal(doc_error_kind(1, away[i]), ERR_AWAY);
	assert_int_equal(doc_error_kind(2, away[0]), ERR_INVALID);
}

static void
bad_urls(void **state)
{
	static const char *const rows[] = { "http://h/db", "mongodb://h", "mongodb://h/",
		"mongodb://h/db?w=0", "mongodb://u:secret@h/d.b?authMechanism=secret" };
	struct err e = ERR_INIT;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		e = ERR_INIT;
		assert_null(doc_open(&(struct doc_options){ .url = rows[i] }, &e));
		assert_int_equal(e.kind, ERR_INVALID);
		assert_null(strstr(e.text, "secret"));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_built_can_be_read),
		cmocka_unit_test(json_is_copied_whole),
		cmocka_unit_test(an_empty_document),
		cmocka_unit_test(what_does_not_fit_sticks),
		cmocka_unit_test(index_names),
		cmocka_unit_test(messages_show_no_content),
		cmocka_unit_test(error_kinds),
		cmocka_unit_test(bad_urls),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
