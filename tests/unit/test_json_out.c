/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <string.h>

#include "base/json_out.h"
#include "cm.h"

static void
commas_stand_between_values_alone(void **state)
{
	struct json_out o;
	struct buf b;

	(void)state;
	buf_init(&b, 1000);
	json_out_init(&o, &b);
	json_out_object(&o, NULL);
	json_out_i64(&o, "id", -42);
	json_out_object(&o, "empty");
	json_out_end(&o);
	json_out_list(&o, "items");
	json_out_text(&o, NULL, "a\"b\n");
	json_out_list(&o, NULL);
	json_out_end(&o);
	json_out_object(&o, NULL);
	json_out_bool(&o, "on", true);
	json_out_bool(&o, "off", false);
	json_out_end(&o);
	json_out_end(&o);
	json_out_text(&o, "none", NULL);
	json_out_bytes(&o, "cut", "abc", 2);
	json_out_raw(&o, "raw", "[1]", 3);
	json_out_name(&o, "own");
	buf_add_text(&b, "2e3");
	json_out_end(&o);
	assert_string_equal(buf_text(&b),
		"{\"id\":-42,\"empty\":{},\"items\":[\"a\\\"b\\n\",[],{\"on\":true,\"off\":false}],"
		"\"none\":null,\"cut\":\"ab\",\"raw\":[1],\"own\":2e3}");
	buf_fini(&b);
}

static void
numbers_are_json_or_null(void **state)
{
	static const struct {
		double d;
		const char *text;
	} doubles[] = { { 0.1, "0.1" }, { 1.0 / 3, "0.3333333333333333" }, { 1e300, "1e+300" },
		{ 2, "2" }, { NAN, "null" }, { INFINITY, "null" }, { -INFINITY, "null" } };
	static const char *const texts[][2] = { { "12.50", "12.50" }, { "NaN", "null" },
		{ "-Infinity", "null" }, { NULL, "null" } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(doubles) + ARRAY_LEN(texts); i++) {
		bool first = i < ARRAY_LEN(doubles);
		struct json_out o;
		struct buf b;

		buf_init(&b, 100);
		json_out_init(&o, &b);
		if (first)
			json_out_double(&o, NULL, doubles[i].d);
		else
			json_out_number(&o, NULL, texts[i - ARRAY_LEN(doubles)][0]);
		assert_string_equal(buf_text(&b),
			first ? doubles[i].text : texts[i - ARRAY_LEN(doubles)][1]);
		buf_fini(&b);
	}
}

static void
a_full_buffer_has_failed(void **state)
{
	struct json_out o;
	struct buf b;

	(void)state;
	buf_init(&b, 8);
	json_out_init(&o, &b);
	json_out_object(&o, NULL);
	json_out_text(&o, "name", "longer than eight bytes");
	json_out_end(&o);
	assert_true(buf_failed(&b));
	buf_fini(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(commas_stand_between_values_alone),
		cmocka_unit_test(numbers_are_json_or_null),
		cmocka_unit_test(a_full_buffer_has_failed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
