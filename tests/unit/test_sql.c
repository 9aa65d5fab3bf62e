/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "link/sql.h"

static void
arrays_are_quoted(void **state)
{
	static const struct {
		const char *text, *out;
	} rows[] = {
		{ "a", "{\"a\"}" },
		{ "", "{\"\"}" },
		{ NULL, "{NULL}" },
		{ "NULL", "{\"NULL\"}" },
		{ "a,b}{ c", "{\"a,b}{ c\"}" },
		{ "say \"hi\"", "{\"say \\\"hi\\\"\"}" },
		{ "back\\slash", "{\"back\\\\slash\"}" },
		{ "\"", "{\"\\\"\"}" },
		{ "\\", "{\"\\\\\"}" },
		{ "'; drop table users; --", "{\"'; drop table users; --\"}" },
		{ "line\nend", "{\"line\nend\"}" },
	};
	struct sql_array a;
	struct sql_params p;
	struct err e = ERR_INIT;

	(void)state;
	sql_array_init(&a, 1000);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		sql_params_init(&p);
		sql_array_clear(&a);
		sql_array_text(&a, rows[i].text);
		assert_int_equal(sql_add_array(&p, &a, &e), 0);
		assert_string_equal(p.value[0], rows[i].out);
	}
	sql_array_clear(&a);
	sql_array_text(&a, "x");
	sql_array_i64(&a, INT64_MIN);
	sql_array_bool(&a, true);
	sql_array_bool(&a, false);
	assert_int_equal(sql_add_array(&p, &a, &e), 0);
	assert_string_equal(p.value[1], "{\"x\",-9223372036854775808,t,f}");
	sql_array_clear(&a);
	assert_int_equal(sql_add_array(&p, &a, &e), 0);
	assert_string_equal(p.value[2], "{}");
	sql_array_fini(&a);
}

static void
arrays_are_bounded(void **state)
{
	struct sql_array a;
	struct sql_params p;
	struct err e = ERR_INIT;

	(void)state;
	sql_params_init(&p);
	sql_array_init(&a, 16);
	for (int i = 0; i < 5; i++)
		sql_array_text(&a, "abc");
	assert_int_equal(sql_add_array(&p, &a, &e), -1);
	assert_int_equal(e.kind, ERR_LIMIT);
	assert_int_equal(p.count, 0);
	sql_array_clear(&a);
	sql_array_text(&a, "abc");
	assert_int_equal(sql_add_array(&p, &a, &e), 0);
	sql_array_fini(&a);
}

static void
params(void **state)
{
	struct sql_params p;

	(void)state;
	sql_params_init(&p);
	sql_add_text(&p, "x");
	sql_add_text(&p, NULL);
	sql_add_i64(&p, INT64_MIN);
	sql_add_i64(&p, INT64_MAX);
	sql_add_bool(&p, true);
	assert_int_equal(p.count, 5);
	assert_null(p.value[1]);
	assert_string_equal(p.value[2], "-9223372036854775808");
	assert_string_equal(p.value[3], "9223372036854775807");
	assert_string_equal(p.value[4], "t");
}

static void
sqlstates(void **state)
{
	static const struct {
		const char *state;
		enum err_kind kind;
	} rows[] = {
		{ "", ERR_AWAY },
		{ "08006", ERR_AWAY },
		{ "57P01", ERR_AWAY },
		{ "57P03", ERR_AWAY },
		{ "53300", ERR_AWAY },
		{ "53100", ERR_AWAY },
		{ "28P01", ERR_AWAY },
		{ "3D000", ERR_AWAY },
		{ "25006", ERR_AWAY },
		{ "40001", ERR_AWAY },
		{ "40P01", ERR_AWAY },
		{ "42P01", ERR_AWAY },
		{ "57014", ERR_AWAY },
		{ "54000", ERR_LIMIT },
		{ "22P02", ERR_INVALID },
		{ "22001", ERR_INVALID },
		{ "23502", ERR_INVALID },
		{ "23514", ERR_INVALID },
		{ "23505", ERR_CONFLICT },
		{ "23503", ERR_CONFLICT },
		{ "P0002", ERR_MISSING },
		{ "42601", ERR_INTERNAL },
		{ "25P02", ERR_INTERNAL },
		{ "XX000", ERR_INTERNAL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (sql_kind(rows[i].state) != rows[i].kind)
			fail_msg("%s: %s, want %s", rows[i].state,
				err_kind_name(sql_kind(rows[i].state)),
				err_kind_name(rows[i].kind));
	assert_true(sql_again(&(struct sql_result){ .sqlstate = "40P01" }));
	assert_true(sql_again(&(struct sql_result){ .sqlstate = "40001" }));
	assert_false(sql_again(&(struct sql_result){ .sqlstate = "23505" }));
}

static void
bad_urls_are_refused_without_their_text(void **state)
{
	static const char *const bad[] = { "", "secret", "http://u:secret@h/d",
		"postgresql://u:sec%zzret@h/d", "postgresql://h/d?secret=1",
		"host=x password=secret" };
	struct err e = ERR_INIT;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_null(sql_open(&(struct sql_options){ .url = bad[i] }, &e));
		assert_int_equal(e.kind, ERR_INVALID);
		assert_null(strstr(e.text, "sec"));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(arrays_are_quoted),
		cmocka_unit_test(arrays_are_bounded),
		cmocka_unit_test(params),
		cmocka_unit_test(sqlstates),
		cmocka_unit_test(bad_urls_are_refused_without_their_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
