/* SPDX-License-Identifier: MIT */
#include "cm.h"

#include "link/broker_value.h"

#define BYTES(s) (const uint8_t *)(s), sizeof(s) - 1

static void
every_kind(void **state)
{
	static const struct {
		const uint8_t *bytes; /* the value with its kind */
		size_t length;
		int64_t number;
		double real;
		bool is_int, is_text;
		const char *text;
	} rows[] = {
		{ BYTES("t\0"), 0, 0, false, false, NULL },
		{ BYTES("t\2"), 1, 0, false, false, NULL },
		{ BYTES("b\xfe"), -2, 0, true, false, NULL },
		{ BYTES("B\xfe"), 254, 0, true, false, NULL },
		{ BYTES("s\xff\xfe"), -2, 0, true, false, NULL },
		{ BYTES("u\xff\xfe"), 65534, 0, true, false, NULL },
		{ BYTES("I\xff\xff\xff\xfe"), -2, 0, true, false, NULL },
		{ BYTES("i\xff\xff\xff\xfe"), 4294967294, 0, true, false, NULL },
		{ BYTES("l\x80\0\0\0\0\0\0\0"), INT64_MIN, 0, true, false, NULL },
		{ BYTES("L\0\0\0\0\0\0\1\0"), 256, 0, true, false, NULL },
		{ BYTES("f\xbf\xc0\0\0"), 0, -1.5, false, false, NULL },
		{ BYTES("d\x3f\xf8\0\0\0\0\0\0"), 0, 1.5, false, false, NULL },
		{ BYTES("D\2\0\0\0\5"), 0, 0, false, false, NULL },
		{ BYTES("T\0\0\0\0\x65\x53\xf1\0"), 1700000000, 0, false, false, NULL },
		{ BYTES("S\0\0\0\2hi"), 0, 0, false, true, "hi" },
		{ BYTES("x\0\0\0\0"), 0, 0, false, true, "" },
		{ BYTES("F\0\0\0\0"), 0, 0, false, false, NULL },
		{ BYTES("A\0\0\0\0"), 0, 0, false, false, NULL },
		{ BYTES("V"), 0, 0, false, false, NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct broker_table t;
		struct broker_value v;
		struct buf b;
		const char *text = NULL;
		size_t n = 99;
		int64_t number = 99;

		buf_init(&b, 100);
		buf_add_text(&b, "\3key");
		buf_add(&b, rows[i].bytes, rows[i].length);
		t = (struct broker_table){ (const uint8_t *)b.data, b.length };
		assert_true(broker_table_valid(&t));
		assert_true(broker_table_get(&t, "key", &v));
		assert_int_equal(v.kind, rows[i].bytes[0]);
		assert_int_equal(v.number, rows[i].number);
		assert_true(v.real == rows[i].real);
		assert_int_equal(broker_value_int(&v, &number), rows[i].is_int);
		assert_int_equal(number, rows[i].is_int ? rows[i].number : 99);
		assert_int_equal(broker_table_int(&t, "key", -7),
			rows[i].is_int ? rows[i].number : -7);
		assert_int_equal(broker_value_text(&v, &text, &n), rows[i].is_text);
		if (rows[i].is_text)
			assert_memory_equal(text, rows[i].text, n);
		assert_int_equal(n, rows[i].is_text ? strlen(rows[i].text) : 99);
		/* short of a byte it is no table; nor with one too many */
		t.length--;
		assert_false(broker_table_valid(&t));
		buf_add_char(&b, 'x');
		t = (struct broker_table){ (const uint8_t *)b.data, b.length };
		assert_false(broker_table_valid(&t));
		buf_fini(&b);
	}
}

static void
senseless(void **state)
{
	static const struct {
		const uint8_t *bytes;
		size_t length;
		bool valid;
	} rows[] = {
		{ BYTES(""), true },
		{ BYTES("\0V"), true },           /* a name may be empty */
		{ BYTES("\1a"), false },          /* no kind */
		{ BYTES("\5aV"), false },         /* the name goes past the end */
		{ BYTES("\1aZ\0\0\0\0"), false }, /* no such kind */
		{ BYTES("\1aS\0\0\0"), false },
		{ BYTES("\1aS\xff\xff\xff\xffx"), false },
		{ BYTES("\1aF\0\0\0\2\1b"), false }, /* cut within */
		{ BYTES("\1aA\0\0\0\1t"), false },
		{ BYTES("\1aA\0\0\0\7F\0\0\0\2\1b"), false },
		{ BYTES("\1aA\0\0\0\3t\1V"), true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct broker_table t = { rows[i].bytes, rows[i].length };

		if (broker_table_valid(&t) != rows[i].valid)
			fail_msg("row %zu", i);
	}
}

/* levels of tables or arrays within the outermost table */
static bool
nested(char kind, unsigned levels)
{
	uint8_t bytes[512];
	size_t at = sizeof bytes, inner = 0;
	struct broker_table t;

	for (unsigned i = 0; i < levels; i++) {
		bytes[--at] = (uint8_t)inner;
		bytes[--at] = (uint8_t)(inner >> 8);
		bytes[--at] = 0;
		bytes[--at] = 0;
		bytes[--at] = (uint8_t)kind;
		if (kind == 'F' || i == levels - 1) {
			bytes[--at] = 'n';
			bytes[--at] = 1;
		}
		inner = sizeof bytes - at;
	}
	t = (struct broker_table){ bytes + at, inner };
	return broker_table_valid(&t);
}

static void
depth(void **state)
{
	(void)state;
	assert_true(nested('F', 1) && nested('A', 1));
	assert_true(nested('F', 32) && nested('A', 32));
	assert_false(nested('F', 33) || nested('A', 33));
	assert_false(nested('F', 60) || nested('A', 60));
}

static void
there_and_back(void **state)
{
	static const char nested_table[] = "\5queueS\0\0\0\1q\5countl\0\0\0\0\0\0\0\2";
	const struct broker_field fields[] = { { "text", broker_text("a text") },
		{ "", broker_text("") }, { "n", broker_int(-3) }, { "yes", broker_bool(true) },
		{ "void", { .kind = 'V' } },
		{ "table",
			{ .kind = 'F',
				.bytes = (const uint8_t *)nested_table,
				.length = sizeof nested_table - 1 } },
		{ "none", { .kind = 'F' } } };
	struct broker_table t, inner;
	struct broker_value v;
	struct buf b, again;
	const char *name, *text;
	size_t at = 0, n, i = 0;

	(void)state;
	buf_init(&b, 1000);
	buf_init(&again, 1000);
	for (size_t k = 0; k < ARRAY_LEN(fields); k++)
		broker_field_add(&b, fields[k].name, strlen(fields[k].name), &fields[k].value);
	t = (struct broker_table){ (const uint8_t *)b.data, b.length };
	assert_true(broker_table_valid(&t));
	while (broker_table_next(&t, &at, &name, &n, &v)) {
		assert_int_equal(n, strlen(fields[i].name));
		assert_memory_equal(name, fields[i].name, n);
		assert_int_equal(v.kind, fields[i].value.kind);
		assert_int_equal(v.number, fields[i].value.number);
		broker_field_add(&again, name, n, &v);
		i++;
	}
	assert_int_equal(i, ARRAY_LEN(fields));
	assert_int_equal(again.length, b.length);
	assert_memory_equal(again.data, b.data, b.length);

	assert_int_equal(broker_table_int(&t, "n", 0), -3);
	assert_int_equal(broker_table_int(&t, "text", 8), 8);
	assert_int_equal(broker_table_int(&t, "nothing", 8), 8);
	text = broker_table_text(&t, "text", &n);
	assert_int_equal(n, 6);
	assert_memory_equal(text, "a text", 6);
	assert_null(broker_table_text(&t, "n", &n));
	assert_null(broker_table_text(&t, "tex", &n));
	assert_true(broker_table_get(&t, "table", &v) && broker_value_table(&v, &inner));
	assert_int_equal(broker_table_int(&inner, "count", 0), 2);
	buf_fini(&b);
	buf_fini(&again);
}

static void
first_of_two(void **state)
{
	const struct broker_table t = { BYTES("\1ab\1\1ab\2") };

	(void)state;
	assert_int_equal(broker_table_int(&t, "a", 0), 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind),
		cmocka_unit_test(senseless),
		cmocka_unit_test(depth),
		cmocka_unit_test(there_and_back),
		cmocka_unit_test(first_of_two),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
