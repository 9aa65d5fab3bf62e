/* SPDX-License-Identifier: MIT */
#include "cm.h"

#include "base/bucket.h"
#include "base/template.h"

static const char *const names[] = { "name", "user_id", NULL };

static void
rendering(void **state)
{
	static const struct {
		const char *text, *name, *plain, *html;
	} rows[] = {
		{ "", "x", "", "" },
		{ "Hello {{name}}!", "Ann", "Hello Ann!", "Hello Ann!" },
		{ "{{name}}{{ user_id }}{{  name  }}", "a", "a7a", "a7a" },
		{ "<b>{{name}}</b>", "<script>&\"'", "<b><script>&\"'</b>",
			"<b>&lt;script&gt;&amp;&quot;&#39;</b>" },
		{ "{{name}}", "a\r\nBcc: x\t\x01\x7f", "a  Bcc: x   ", "a  Bcc: x   " },
		{ "{{name}}", NULL, "", "" },
		{ "{{name}}", "{{user_id}}", "{{user_id}}", "{{user_id}}" }, /* not read again */
		{ "}} { { {x} \n\t\r\n", "a", "}} { { {x} \n\t\r\n", "}} { { {x} \n\t\r\n" },
		{ "\xc4\x81{{name}}", "\xc5\x81", "\xc4\x81\xc5\x81", "\xc4\x81\xc5\x81" },
	};
	struct arena *mem = arena_new(4096, 1 << 20);
	struct err e = ERR_INIT;
	const struct template *t;
	struct buf out;

	(void)state;
	buf_init(&out, 4096);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const char *values[] = { rows[i].name, "7" };

		assert_int_equal(template_parse(rows[i].text, names, mem, &t, &e), 0);
		buf_clear(&out);
		template_render(t, values, TEMPLATE_PLAIN, &out);
		assert_string_equal(buf_text(&out), rows[i].plain);
		buf_clear(&out);
		template_render(t, values, TEMPLATE_HTML, &out);
		assert_string_equal(buf_text(&out), rows[i].html);
	}
	buf_fini(&out);
	arena_free(mem);
}

static void
faults(void **state)
{
	static const struct {
		const char *text, *why;
	} rows[] = {
		{ "a\n{{nme}}",
			"line 2: no placeholder is called \"nme\"; there are name, user_id" },
		{ "{{}}", "line 1: no placeholder is called \"\"" },
		{ "{{ }}", "line 1: no placeholder is called \"\"" },
		{ "{{{name}}}", "line 1: no placeholder is called \"{name\"" },
		{ "{{na me}}", "line 1: no placeholder is called" },
		{ "{{NAME}}", "line 1: no placeholder is called" },
		{ "x {{name", "line 1: \"{{\" without" },
		{ "\n\n{{name\n}}", "line 3: \"{{\" without" },
		{ "{{name}", "line 1: \"{{\" without" },
		{ "a\n\xff", "line 2: not UTF-8" },
		{ "a\x01", "line 1: a control byte" },
		{ "a\rb", "line 1: a control byte" },
	};
	struct arena *mem = arena_new(4096, 1 << 20);
	const struct template *t;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct err e = ERR_INIT;

		assert_int_equal(template_parse(rows[i].text, names, mem, &t, &e), -1);
		assert_int_equal(e.kind, ERR_INVALID);
		if (!strstr(e.text, rows[i].why))
			fail_msg("%s: %s", rows[i].text, e.text);
	}
	arena_free(mem);
}

static void
buckets(void **state)
{
	struct bucket b = { .rate = 10 }, none = { 0 }, slow = { .rate = 3 };
	int64_t now = 5000000, sent = 0;

	(void)state;
	assert_int_equal(bucket_room(&none, 8, now), 8);
	bucket_take(&none, 8, now);
	assert_int_equal(bucket_wait_us(&none, 8, now), 0);
	/* a second's worth at once, then one every 100 ms */
	assert_int_equal(bucket_room(&b, 100, now), 10);
	bucket_take(&b, 10, now);
	assert_int_equal(bucket_room(&b, 1, now), 0);
	assert_int_equal(bucket_wait_us(&b, 1, now), 100000);
	assert_int_equal(bucket_wait_us(&b, 4, now), 400000);
	assert_int_equal(bucket_wait_us(&b, 40, now), 1000000);
	assert_int_equal(bucket_room(&b, 5, now + 100000), 1);
	assert_int_equal(bucket_room(&b, 5, now + 399999), 3);
	assert_int_equal(bucket_room(&b, 100, now + 9000000), 10);
	/* who waits as long as it says gets one; over ten seconds no more than the rate */
	for (int64_t end = now + 10000000; now < end;) {
		int64_t n = 1 + sent % 3, wait = bucket_wait_us(&slow, n, now);

		now += wait;
		assert_int_equal(bucket_room(&slow, n, now), n);
		bucket_take(&slow, n, now);
		sent += n;
	}
	assert_in_range(sent, 30, 34);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rendering),
		cmocka_unit_test(faults),
		cmocka_unit_test(buckets),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("template", tests, NULL, NULL);
}
