/* SPDX-License-Identifier: MIT */
/* AMQP tables in their wire form: each kind read, cut short anywhere, nested too deep, written. */
#include "cm.h"

#include "link/broker_value.h"

#define TABLE(text) ((struct broker_table){ (const uint8_t *)(text), sizeof(text) - 1 })

static void
each_kind_is_read(void **state)
{
	static const struct {
		const char *bytes;
		size_t size;
		char kind;
		int64_t number;
		double real;
		bool is_int;
	} rows[] = {
#define ROW(text, ...) { text, sizeof(text) - 1, __VA_ARGS__ }
		ROW("\1nt\1", 't', 1, 0, false),
		ROW("\1nt\0", 't', 0, 0, false),
		ROW("\1nb\x80", 'b', -128, 0, true),
		ROW("\1nB\x80", 'B', 128, 0, true),
		ROW("\1ns\x80\0", 's', -32768, 0, true),
		ROW("\1nu\x80\0", 'u', 32768, 0, true),
		ROW("\1nI\x80\0\0\0", 'I', INT32_MIN, 0, true),
		ROW("\1ni\x80\0\0\0", 'i', 2147483648, 0, true),
		ROW("\1nl\x80\0\0\0\0\0\0\0", 'l', INT64_MIN, 0, true),
		ROW("\1nL\0\0\0\0\0\0\1\0", 'L', 256, 0, true),
		ROW("\1nf\xc0\x20\0\0", 'f', 0, -2.5, false),
		ROW("\1nd\x3f\xf8\0\0\0\0\0\0", 'd', 0, 1.5, false),
		ROW("\1nD\2\0\0\1\x3a", 'D', 0, 0, false),
		ROW("\1nT\0\0\0\0\x65\x53\xf1\0", 'T', 1700000000, 0, false),
		ROW("\1nV", 'V', 0, 0, false),
		ROW("\1nS\0\0\0\2hi", 'S', 0, 0, false),
		ROW("\1nx\0\0\0\2\0\xff", 'x', 0, 0, false),
		ROW("\1nA\0\0\0\2t\1", 'A', 0, 0, false),
		ROW("\1nF\0\0\0\3\1aV", 'F', 0, 0, false),
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct broker_table t = { (const uint8_t *)rows[i].bytes, rows[i].size };
		struct broker_value v;
		const char *text;
		int64_t number = -7;
		size_t n;

		assert_true(broker_table_whole(&t));
		assert_true(broker_table_valid(&t));
		assert_true(broker_table_get(&t, "n", &v));
		assert_int_equal(v.kind, rows[i].kind);
		assert_int_equal(v.number, rows[i].number);
		assert_true(v.real == rows[i].real);
		assert_int_equal(broker_value_int(&v, &number), rows[i].is_int);
		assert_int_equal(number, rows[i].is_int ? rows[i].number : -7);
		assert_int_equal(broker_table_int(&t, "n", -7), number);
		assert_int_equal(broker_value_text(&v, &text, &n), v.kind == 'S' || v.kind == 'x');
		/* cut anywhere it is no table, and nothing beyond its end is read */
		for (size_t cut = 1; cut < rows[i].size; cut++) {
			uint8_t *part = must_malloc(cut);

			memcpy(part, rows[i].bytes, cut);
			t = (struct broker_table){ part, cut };
			assert_false(broker_table_whole(&t));
			assert_false(broker_table_valid(&t));
			assert_false(broker_table_get(&t, "n", &v));
			free(part);
		}
	}
}

static void
lookups(void **state)
{
	const struct broker_table t = TABLE("\2abS\0\0\0\1x\1aS\0\0\0\1y\1ab\1\0V"), none = { 0 };
	struct broker_value v;
	const char *text;
	size_t n;

	(void)state;
	assert_non_null(text = broker_table_text(&t, "a", &n)); /* not "ab"; the first of two */
	assert_int_equal(*text, 'y');
	assert_int_equal(n, 1);
	assert_int_equal(broker_table_int(&t, "a", 9), 9); /* of another kind */
	assert_true(broker_table_get(&t, "", &v));
	assert_int_equal(v.kind, 'V');
	assert_null(broker_table_text(&t, "", &n));
	assert_null(broker_table_text(&t, "b", &n));
	assert_false(broker_table_get(&none, "a", &v));
	assert_true(broker_table_valid(&none));
	/* a kind that nobody knows: what is before it can be read */
	assert_true(broker_table_get(&TABLE("\1aV\1bZ\1cV"), "a", &v));
	assert_false(broker_table_get(&TABLE("\1aV\1bZ\1cV"), "c", &v));
	assert_false(broker_table_whole(&TABLE("\1aV\1bZ\1cV")));
}

static void
nesting(void **state)
{
	/* what is inside is bad: whole from the outside, not valid */
	const struct broker_table bad = TABLE("\1aF\0\0\0\3\1bZ");
	const struct broker_table bad_list = TABLE("\1aA\0\0\0\2tV");
	struct broker_value v, item;
	struct broker_table inner;
	size_t at = 0;

	(void)state;
	assert_true(broker_table_whole(&bad));
	assert_false(broker_table_valid(&bad));
	assert_true(broker_table_whole(&bad_list));
	assert_true(broker_table_valid(&bad_list)); /* a bool of any byte */
	assert_false(broker_table_valid(&TABLE("\1aA\0\0\0\1t")));
	assert_true(broker_table_get(&TABLE("\1aA\0\0\0\15F\0\0\0\4\1xb\7b\1VV"), "a", &v));
	assert_true(broker_array_next(&v, &at, &item));
	assert_true(broker_value_table(&item, &inner));
	assert_int_equal(broker_table_int(&inner, "x", 0), 7);
	assert_true(broker_array_next(&v, &at, &item));
	assert_int_equal(item.number, 1);
	assert_true(broker_array_next(&v, &at, &item));
	assert_true(broker_array_next(&v, &at, &item));
	assert_false(broker_array_next(&v, &at, &item));
	assert_false(broker_array_next(&item, &(size_t){ 0 }, &v)); /* no array */
	for (size_t levels = 31; levels < 34; levels++) {
		uint8_t raw[34 * 7];

		for (size_t i = 0; i < levels; i++)
			memcpy(raw + i * 7,
				(uint8_t[]){ 1, 'n', 'F', 0, 0, 0,
					(uint8_t)((levels - i - 1) * 7) },
				7);
		assert_int_equal(broker_table_valid(&(struct broker_table){ raw, levels * 7 }),
			levels <= 32);
	}
}

static void
what_is_written_is_read(void **state)
{
	static const char want[] = "\4textS\0\0\0\2hi"
				   "\3intl\xff\xff\xff\xff\xff\xff\xff\xfe"
				   "\4boolt\1"
				   "\4noneS\0\0\0\0";
	struct broker_value v[] = { broker_text("hi"), broker_int(-2), broker_bool(true),
		broker_text("") };
	static const char *const names[] = { "text", "int", "bool", "none" };
	struct broker_table t;
	const char *name;
	size_t at = 0, n;
	struct buf b, again;

	(void)state;
	buf_init(&b, 1000);
	buf_init(&again, 1000);
	for (size_t i = 0; i < ARRAY_LEN(v); i++)
		broker_field_add(&b, names[i], strlen(names[i]), &v[i]);
	assert_int_equal(b.length, sizeof want - 1);
	assert_memory_equal(b.data, want, sizeof want - 1);
	t = TABLE(want);
	while (broker_table_next(&t, &at, &name, &n, &v[0]))
		broker_field_add(&again, name, n, &v[0]);
	assert_int_equal(again.length, b.length);
	assert_memory_equal(again.data, want, b.length);
	buf_fini(&b);
	buf_fini(&again);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_kind_is_read),
		cmocka_unit_test(lookups),
		cmocka_unit_test(nesting),
		cmocka_unit_test(what_is_written_is_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
