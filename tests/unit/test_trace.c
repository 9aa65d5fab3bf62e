/* SPDX-License-Identifier: MIT */
#include "cm.h"

#include <string.h>

#include "base/json.h"
#include "http/problem.h"
#include "base/trace.h"

#define ID "0af7651916cd43dd8448eb211c80319c"
#define SPAN "b7ad6b7169203331"
#define SANE "00-" ID "-" SPAN "-00"

static void
test_trace_sane_is_taken_over(void **state)
{
	static const char *const sane[] = { SANE, "00-" ID "-" SPAN "-01", "cc-" ID "-" SPAN "-01",
		"cc-" ID "-" SPAN "-01-what-comes-later" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sane); i++) {
		struct trace t;

		trace_begin(&t, sane[i], strlen(sane[i]));
		assert_string_equal(t.id, ID);
		assert_int_equal(strlen(t.parent), TRACE_PARENT_SIZE - 1);
		assert_memory_equal(t.parent, "00-" ID "-", 36);
		assert_memory_not_equal(t.parent + 36, SPAN, 16); /* a span of its own */
		assert_memory_equal(t.parent + 53, sane[i] + 53, 2);
	}
}

static void
test_trace_anything_else_begins_anew(void **state)
{
	static const char *const odd[] = { "", "00", "00-" ID "-" SPAN, "00-" ID "-" SPAN "-0",
		"ff-" ID "-" SPAN "-01", "00-" ID "-" SPAN "-01-x", "00-" ID "-" SPAN "-011",
		"00-00000000000000000000000000000000-" SPAN "-01", "00-" ID "-0000000000000000-01",
		"00-0AF7651916CD43DD8448EB211C80319C-" SPAN "-01", "00_" ID "-" SPAN "-01",
		"00-" ID "-" SPAN "-0g", "0x-" ID "-" SPAN "-01" };
	struct trace t, again;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
		trace_begin(&t, odd[i], strlen(odd[i]));
		assert_string_not_equal(t.id, ID);
		assert_int_equal(strspn(t.id, "0123456789abcdef"), 32);
	}
	trace_begin(&t, NULL, 0);
	trace_begin(&again, t.parent, strlen(t.parent)); /* what we make, we take */
	assert_string_equal(t.id, again.id);
}

static void
test_problem_is_json_whatever_is_in_it(void **state)
{
	const struct problem_field fields[] = { { "email", "has no \"@\"" }, { "a\nb", "\x01" } };
	struct arena *mem = arena_new(4096, 1 << 20);
	const struct json *v, *errors;
	int64_t status;
	struct err e = ERR_INIT;
	struct buf b;

	(void)state;
	buf_init(&b, 4096);
	problem_write(&b, 422, "two \"fields\"", "/api/x", fields, 2);
	assert_int_equal(json_parse(mem, buf_text(&b), b.length, &v, &e), 0);
	assert_true(json_integer(json_get(v, "status"), &status) && status == 422);
	assert_string_equal(json_string(json_get(v, "title")), "Unprocessable Content");
	assert_string_equal(json_string(json_get(v, "instance")), "/api/x");
	errors = json_get(v, "errors");
	assert_int_equal(json_count(errors), 2);
	assert_string_equal(json_string(json_get(json_first(errors), "reason")), "has no \"@\"");
	buf_clear(&b);
	problem_write(&b, 503, NULL, NULL, NULL, 0);
	assert_string_equal(buf_text(&b),
		"{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503}");
	buf_fini(&b);
	arena_free(mem);
}

static void
test_problem_status_of_each_kind(void **state)
{
	(void)state;
	assert_int_equal(problem_status(ERR_AWAY), 503);
	assert_int_equal(problem_status(ERR_LIMIT), 503);
	assert_int_equal(problem_status(ERR_INVALID), 400);
	assert_int_equal(problem_status(ERR_CONFLICT), 409);
	assert_int_equal(problem_status(ERR_MISSING), 404);
	assert_int_equal(problem_status(ERR_INTERNAL), 500);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_trace_sane_is_taken_over),
		cmocka_unit_test(test_trace_anything_else_begins_anew),
		cmocka_unit_test(test_problem_is_json_whatever_is_in_it),
		cmocka_unit_test(test_problem_status_of_each_kind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
