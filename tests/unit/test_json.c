/* SPDX-License-Identifier: MIT */
#include "cm.h"

#include "base/json.h"

static int
parses(const char *text, size_t length, char *why, size_t size)
{
	struct arena *mem = arena_new(256, 32 << 20);
	const struct json *v = NULL;
	struct err e = ERR_INIT;
	int rc = json_parse(mem, text, length, &v, &e);

	if (rc < 0) {
		assert_int_equal(e.kind, ERR_INVALID);
		snprintf(why, size, "%s", e.text);
	}
	arena_free(mem);
	return rc;
}

static void
accepts_what_the_standard_accepts(void **state)
{
	static const char *const rows[] = { "{}", "[]", "null", "true", "false", "0", "-0", "1e3",
		"-1.5E-10", "\"\"", " \t\r\n[ 1 , 2 ] ",
		"{\"a\":{\"b\":[1,[],{},\"\\u00e9\\ud83d\\ude00\\n\\/\"]}}", "9007199254740992",
		"-9007199254740992", "\"\xf4\x8f\xbf\xbf\"", "\"\x7f\"",
		"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
		"{\"a\":1,\"b\":1}", "{\"ab\":1,\"Ac\":1,\"A\":1,\"aB_\":1}", "1.0",
		"123456789012345678.5" };
	char why[512] = "";

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (parses(rows[i], strlen(rows[i]), why, sizeof why) < 0)
			fail_msg("row %zu: %s: %s", i, rows[i], why);
}

static void
refuses_the_rest_and_says_why(void **state)
{
	static const struct {
		const char *text;
		size_t length; /* 0: strlen */
		const char *why;
	} rows[] = {
		{ "", 0, "a value is expected" },
		{ " ", 0, "byte 1" },
		{ "{} {}", 0, "bytes after the value" },
		{ "{}\0", 3, "bytes after the value" },
		{ "nul", 0, "a value" },
		{ "tru e", 0, "a value" },
		{ "01", 0, "bytes after the value" },
		{ "+1", 0, "a value" },
		{ ".5", 0, "a value" },
		{ "1.", 0, "after the point" },
		{ "1e", 0, "exponent" },
		{ "-", 0, "a value" },
		{ "0x10", 0, "bytes after the value" },
		{ "NaN", 0, "a value" },
		{ "1e400", 0, "too large" },
		{ "9007199254740993", 0, "beyond 2^53" },
		{ "-9007199254740993", 0, "beyond 2^53" },
		{ "10000000000000000000000000000000000000000000000000000000000000000", 0,
			"63 characters" },
		{ "9007199254740993.0", 0,
			"beyond 2^53" }, /* a double has only 2^53 itself there */
		/* cJSON reads 63 bytes of a number: it would take this one for 1 and lose its e10 */
		{ "0.00000000000000000000000000000000000000000000000000000000001e10", 0,
			"63 characters" },
		{ "[1,]", 0, "a value" },
		{ "[,1]", 0, "a value" },
		{ "[1 2]", 0, "a comma or ]" },
		{ "{\"a\":1,}", 0, "a name" },
		{ "{\"a\" 1}", 0, "a colon" },
		{ "{a:1}", 0, "a name" },
		{ "{\"a\":1]", 0, "a comma or }" },
		{ "[1}", 0, "a comma or ]" },
		{ "{\"a\":1", 0, "a comma or }" },
		{ "[", 0, "a value" },
		{ "\"abc", 0, "without its end" },
		{ "\"a\nb\"", 0, "control byte" },
		{ "\"a\0b\"", 5, "control byte" },
		{ "\"\\x41\"", 0, "escape" },
		{ "\"\\u12g4\"", 0, "four hex" },
		{ "\"\\u123", 0, "four hex" },
		{ "\"\\u0000\"", 0, "u0000" },
		{ "\"\\ud800\"", 0, "surrogate" },
		{ "\"\\ud800\\u0041\"", 0, "surrogate" },
		{ "\"\\udc00\"", 0, "surrogate" },
		{ "\"\xff\"", 0, "UTF-8" },
		{ "\"\xc0\x80\"", 0, "UTF-8" },
		{ "\"\xed\xa0\x80\"", 0, "UTF-8" },
		{ "\"\xf4\x90\x80\x80\"", 0, "UTF-8" },
		{ "\"\xe2\x82\"", 0, "UTF-8" },
		{ "{\"a\":1,\"a\":2}", 0, "\"a\" is given twice" },
		{ "{\"email\":1,\"b\":2,\"Email\":3}", 0, "given twice" },
		{ "[{\"x\":{\"a\":1,\"a\":1}}]", 0, "given twice" },
		{ "{\"email\":1,\"b\":2,\"EMAIL\":3}", 0, "given twice" },
		{ "{\"\":1,\"b\":2,\"\":3}", 0, "given twice" },
		{ "{\"\\u0061\":1,\"a\":2}", 0, "given twice" },
		{ "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]", 0,
			"32 levels" },
		{ "\xef\xbb\xbf{}", 0, "a value" },
		{ "/* c */ 1", 0, "a value" },
	};
	char why[512];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		size_t n = rows[i].length ? rows[i].length : strlen(rows[i].text);

		if (parses(rows[i].text, n, why, sizeof why) == 0)
			fail_msg("row %zu was accepted: %s", i, rows[i].text);
		if (!strstr(why, rows[i].why))
			fail_msg("row %zu: %s: \"%s\" is not in: %s", i, rows[i].text, rows[i].why,
				why);
	}
}

static void
getters_are_strict(void **state)
{
	const char text[] =
		"{\"s\":\"x\",\"i\":42,\"d\":1.5,\"b\":true,\"n\":null,\"big\":9007199254740992,\"l\":[1,2,3],"
		"\"A\":1}";
	struct arena *mem = arena_new(256, 1 << 16);
	const struct json *v;
	struct err e;
	int64_t i;
	double d;
	bool b;

	(void)state;
	assert_int_equal(json_parse(mem, text, strlen(text), &v, &e), 0);
	assert_int_equal(json_type(v), JSON_OBJECT);
	assert_string_equal(json_string(json_get(v, "s")), "x");
	assert_null(json_string(json_get(v, "i")));
	assert_null(json_get(v, "S"));
	assert_null(json_get(v, "a")); /* names are compared exactly */
	assert_null(json_get(json_get(v, "l"), "x"));
	assert_true(json_integer(json_get(v, "i"), &i) && i == 42);
	assert_true(json_integer(json_get(v, "big"), &i) && i == JSON_INTEGER_MAX);
	assert_false(json_integer(json_get(v, "d"), &i));
	assert_false(json_integer(json_get(v, "s"), &i));
	assert_false(json_integer(NULL, &i));
	assert_true(json_number(json_get(v, "d"), &d) && d == 1.5);
	assert_true(json_bool(json_get(v, "b"), &b) && b);
	assert_false(json_bool(json_get(v, "i"), &b));
	assert_int_equal(json_type(json_get(v, "n")), JSON_NULL);
	assert_int_equal(json_count(json_get(v, "l")), 3);
	assert_true(json_integer(json_next(json_first(json_get(v, "l"))), &i) && i == 2);
	assert_string_equal(json_name(json_first(v)), "s");
	assert_string_equal(json_type_name(JSON_ARRAY), "an array");
	arena_free(mem);
}

static void
writes_compact_and_sorted(void **state)
{
	const char text[] =
		"{ \"b\" : [1, -0.1, 1e100, 123456789012], \"a\": {\"z\": \"\\u00e9\\n\", \"Y\": null}, \"c\": false }";
	struct arena *mem = arena_new(256, 1 << 16);
	const struct json *v;
	struct err e;
	struct buf b;

	(void)state;
	assert_int_equal(json_parse(mem, text, strlen(text), &v, &e), 0);
	buf_init(&b, 1000);
	json_write(v, &b);
	assert_string_equal(buf_text(&b),
		"{\"b\":[1,-0.1,1e+100,123456789012],\"a\":{\"z\":\"\xc3\xa9\\n\",\"Y\":null},\"c\":false}");
	buf_clear(&b);
	json_write_sorted(v, &b);
	assert_string_equal(buf_text(&b),
		"{\"a\":{\"Y\":null,\"z\":\"\xc3\xa9\\n\"},\"b\":[1,-0.1,1e+100,123456789012],\"c\":false}");
	buf_fini(&b);
	arena_free(mem);
}

/* A megabyte of names must cost no more than sorting them. */
static void
many_names_are_not_slow(void **state)
{
	struct buf b;
	char why[512];

	(void)state;
	buf_init(&b, 4 << 20);
	buf_add_char(&b, '{');
	for (int i = 0; i < 90000; i++)
		buf_printf(&b, "%s\"n%d\":0", i ? "," : "", i);
	buf_add_char(&b, '}');
	assert_int_equal(parses(buf_text(&b), b.length, why, sizeof why), 0);
	b.length--;
	buf_add_text(&b, ",\"N77\":0}");
	assert_int_equal(parses(buf_text(&b), b.length, why, sizeof why), -1);
	assert_non_null(strstr(why, "given twice"));
	b.length -= strlen(",\"N77\":0}");
	for (int i = 90000; i < 110000; i++)
		buf_printf(&b, ",\"n%d\":0", i);
	buf_add_char(&b, '}');
	assert_int_equal(parses(buf_text(&b), b.length, why, sizeof why), -1);
	assert_non_null(strstr(why, "too many values"));
	buf_fini(&b);
}

static void
no_room_is_an_error_and_no_leak(void **state)
{
	struct arena *mem = arena_new(256, 8);
	const struct json *v;
	struct err e;

	(void)state;
	assert_int_equal(json_parse(mem, "{\"a\":[1,2,3]}", 13, &v, &e), -1);
	assert_int_equal(e.kind, ERR_LIMIT);
	arena_free(mem);
	assert_true(json_utf8_valid("\xc3\xa9", 2));
	assert_false(json_utf8_valid("a\0b", 3));
	assert_false(json_utf8_valid("\xc3", 1));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepts_what_the_standard_accepts),
		cmocka_unit_test(refuses_the_rest_and_says_why),
		cmocka_unit_test(getters_are_strict),
		cmocka_unit_test(writes_compact_and_sorted),
		cmocka_unit_test(many_names_are_not_slow),
		cmocka_unit_test(no_room_is_an_error_and_no_leak),
	};

	return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
