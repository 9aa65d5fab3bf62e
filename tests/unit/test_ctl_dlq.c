/* SPDX-License-Identifier: MIT */
#include "cm.h"

#include "ctl/dlq/base64.h"
#include "ctl/dlq/dlq.h"
#include "ctl/dlq/dlq_line.h"
#include "base/clock.h"
#include "model/event.h"
#include "ctl/broker/publish_event.h"

#define NOW 1795176000123456LL /* 2026-11-20T12:00:00.123456Z */

static void
fingerprints_are_alike_for_what_is_alike(void **state)
{
	static const struct {
		const char *in, *out;
	} rows[] = {
		{ "connect to 10.0.0.7:5432 timed out after 5000 ms",
			"connect to <n>:<n> timed out after <n> ms" },
		{ "user 42 is unknown", "user <n> is unknown" },
		{ "event 0190b5a0-7e1c-7c3d-8a11-0123456789ab is stale", "event <id> is stale" },
		{ "E11000 duplicate key: \"ann\" in 'users'",
			"E11000 duplicate key: \"…\" in '…'" },
		{ "can't reach smtp", "can't reach smtp" },
		{ "bad mail ann.b+c@example.com given", "bad mail <address> given" },
		{ "took 12ms,  then\n\t3.5s", "took <n>ms, then <n>s" },
		{ "key `a b` of `c", "key `…` of `c" },
		{ "", "" },
		{ "deadbeef0123 fed decade", "<id> fed decade" },
		{ "sha1 utf8", "sha1 utf8" },
	};
	char out[DLQ_FINGERPRINT_MAX + 1], twice[DLQ_FINGERPRINT_MAX + 1], longest[5000];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		dlq_fingerprint(rows[i].in, out);
		assert_string_equal(out, rows[i].out);
	}
	memset(longest, '\xc4', sizeof longest - 1);
	longest[sizeof longest - 1] = '\0';
	dlq_fingerprint(longest, twice);
	assert_true(strlen(twice) <= DLQ_FINGERPRINT_MAX);
}

static void
filters_choose(void **state)
{
	struct dlq_entry d = { .id = "0190b5a0-7e1c-7c3d-8a11-0123456789ab",
		.event_id = "11111111-2222-3333-4444-555555555555",
		.consumer = "mailer",
		.type = "user.created",
		.class = "exhausted",
		.error = "smtp: 421 later",
		.failed_us = NOW,
		.user_id = 7 };
	struct dlq_filter f = { 0 };
	struct err e = ERR_INIT;

	(void)state;
	assert_false(dlq_filter_any(&f));
	assert_true(dlq_filter_match(&f, &d));
	f = (struct dlq_filter){ .consumer = "mailer",
		.class = "exhausted",
		.type = "created",
		.user = 7,
		.since_us = NOW,
		.until_us = NOW + 1 };
	assert_int_equal(dlq_filter_error(&f, "^smtp: 4[0-9]+", &e), 0);
	assert_true(dlq_filter_match(&f, &d) && dlq_filter_any(&f));
	d.failed_us = NOW + 1;
	assert_false(dlq_filter_match(&f, &d));
	d.failed_us = -1;
	assert_false(dlq_filter_match(&f, &d));
	d.failed_us = NOW;
	d.error = NULL;
	assert_false(dlq_filter_match(&f, &d));
	dlq_filter_fini(&f);
	f = (struct dlq_filter){ .type = "user.deleted" };
	assert_false(dlq_filter_match(&f, &d));
	assert_int_equal(dlq_filter_error(&f, "(", &e), -1);
	assert_true(dlq_id_match(&d, d.id) && dlq_id_match(&d, d.event_id));
	assert_true(dlq_id_match(&d, "0190b5a0") && !dlq_id_match(&d, "0190b5a"));
	assert_false(dlq_id_match(&d, "11111111"));
}

static void
a_set_knows_what_was_added(void **state)
{
	struct dlq_set s = { 0 }, all = { 0 };
	char id[32];

	(void)state;
	assert_false(dlq_set_has(&s, "a", NULL));
	for (int i = 0; i < 10000; i++) {
		snprintf(id, sizeof id, "id-%d", i);
		assert_true(dlq_set_add(&s, id, NULL));
		assert_false(dlq_set_add(&s, id, NULL));
	}
	for (int i = 0; i < 20000; i++) {
		snprintf(id, sizeof id, "id-%d", i);
		assert_true(dlq_set_has(&s, id, NULL) == (i < 10000));
	}
	assert_false(dlq_set_has(&s, "id-", "1"));
	/* moved, then added to: what is known stays known */
	for (int round = 0; round < 2; round++) {
		snprintf(id, sizeof id, "round-%d", round);
		dlq_set_add(&s, id, NULL);
		dlq_set_merge(&all, &s);
		assert_true(dlq_set_has(&all, id, NULL) && !dlq_set_has(&s, id, NULL));
	}
	assert_true(dlq_set_has(&all, "id-9999", NULL) && all.count == 10002);
	dlq_set_fini(&s);
	dlq_set_fini(&all);
}

struct sorted {
	int64_t last;
	size_t count;
};

static int
in_order(void *arg, const char *bytes, size_t length, struct err *e)
{
	struct sorted *s = arg;
	int64_t key;

	(void)e;
	assert_true(length >= sizeof key);
	memcpy(&key, bytes, sizeof key);
	for (size_t i = sizeof key; i < length; i++)
		assert_int_equal((uint8_t)bytes[i], (uint8_t)key);
	assert_true(s->count == 0 || key >= s->last);
	s->last = key;
	s->count++;
	return 0;
}

static void
sorts_more_than_memory_holds(void **state)
{
	static const struct {
		uint64_t limit;
		size_t memory, want, add;
		bool spills;
	} rows[] = { { 0, 20000, 5000, 5000, true }, { 0, 1 << 30, 5000, 5000, false },
		{ 20, 20000, 20, 5000, false }, { 20, 20000, 7, 7, false },
		{ 4500, 20000, 4500, 5000, true }, { 0, 20000, 0, 0, false },
		/* records larger than a run's buffer, and than what is written at once */
		{ 0, 100000, 300, 300, true } };

	(void)state;
	for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
		struct dlq_sort *s = dlq_sort_new(rows[r].limit, rows[r].memory);
		struct sorted out = { 0 };
		struct err e = ERR_INIT;
		uint64_t x = 88172645463325252ULL;
		int64_t worst = 0;

		for (size_t i = 0; i < rows[r].add; i++) {
			static char bytes[400000];
			int64_t key;
			size_t n;

			x ^= x << 13, x ^= x >> 7, x ^= x << 17;
			key = (int64_t)(x % 3000);
			n = sizeof key + (rows[r].add == 300 ? x % 390000 : x % 50);
			memset(bytes, (int)(uint8_t)key, n);
			memcpy(bytes, &key, sizeof key);
			if (dlq_sort_add(s, key, bytes, n, &e))
				fail_msg("%s", e.text);
			worst = key > worst ? key : worst;
		}
		assert_true((dlq_sort_runs(s) > 1) == rows[r].spills);
		if (dlq_sort_each(s, in_order, &out, &e))
			fail_msg("%s", e.text);
		assert_int_equal(out.count, rows[r].want);
		if (rows[r].limit == 20 && rows[r].add == 5000)
			assert_true(out.last < 60 && worst > 2900);
		dlq_sort_free(s);
	}
}

static void
base64_there_and_back(void **state)
{
	static const char *const bad[] = { "a", "ab=c", "a===", "ab?d", "====" };
	uint8_t bytes[300];
	struct buf text, back;

	(void)state;
	buf_init(&text, 1000);
	buf_init(&back, 1000);
	for (size_t n = 0; n < sizeof bytes; n++) {
		bytes[n] = (uint8_t)(n * 7);
		buf_clear(&text);
		buf_clear(&back);
		base64_add(&text, bytes, n);
		assert_true(base64_read(&back, buf_text(&text)));
		assert_int_equal(back.length, n);
		assert_memory_equal(buf_text(&back), bytes, n);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(base64_read(&back, bad[i]));
	buf_fini(&text);
	buf_fini(&back);
}

/* Every kind that the wire has, with values that JSON cannot say. */
static void
a_line_is_the_message_byte_for_byte(void **state)
{
	static const uint8_t wire[] =
		"\x01"
		"at\x01\x01"
		"bt\x02\x01"
		"cb\xff\x01"
		"dB\xff\x01"
		"es\x80\x00\x01"
		"fu\xff\xff\x01"
		"gI\x80\x00\x00\x00\x01"
		"hi\xff\xff\xff\xff\x01"
		"il\x80\x00\x00\x00\x00\x00\x00\x00\x01"
		"jL\xff\xff\xff\xff\xff\xff\xff\xff\x01"
		"kf\x7f\xc0\x00\x01\x01"
		"ld\x7f\xf8\x00\x00\x00\x00\x00\x01\x01"
		"mD\x02\x00\x00\x00\x0f\x01"
		"nT\xff\xff\xff\xff\xff\xff\xff\xff\x01"
		"oV\x01"
		"pS\x00\x00\x00\x03\xff\x00z\x01"
		"qx\x00\x00\x00\x02hi\x0d"
		"x-retry-countl\x10\x00\x00\x00\x00\x00\x00\x00"
		"\x01"
		"rF\x00\x00\x00\x0e\x01zS\x00\x00\x00\x00\x01ZA\x00\x00\x00\x00\x01"
		"rA\x00\x00\x00\x08VF\x00\x00\x00\x00t\x00\x02\xff\xfeV";
	static const char body[] = "a\0b";
	struct broker_message m = { .body = body,
		.length = 3,
		.exchange = "dlx",
		.routing_key = "\xff",
		.props = { .content_type = "\xe2\x80\xa8x",
			.message_id = "m",
			.delivery_mode = 1,
			.has_priority = true,
			.has_timestamp = true,
			.timestamp = UINT64_MAX,
			.headers = { wire, sizeof wire - 1 } } },
			      back;
	struct arena *mem = arena_new(1 << 16, 16 << 20);
	struct dlq_entry entry;
	struct err e = ERR_INIT;
	struct buf line;

	(void)state;
	assert_true(broker_table_valid(&m.props.headers));
	buf_init(&line, 1 << 20);
	dlq_entry_read(&entry, &m, mem);
	if (dlq_line_write(&line, &entry, &m, &e) ||
		dlq_line_read(line.data, line.length, mem, &back, &e))
		fail_msg("%s in %s", e.text, buf_text(&line));
	assert_int_equal(back.length, 3);
	assert_memory_equal(back.body, body, 3);
	assert_int_equal(back.props.headers.length, sizeof wire - 1);
	assert_memory_equal(back.props.headers.bytes, wire, sizeof wire - 1);
	assert_string_equal(back.routing_key, "\xff");
	assert_string_equal(back.props.content_type, m.props.content_type);
	assert_null(back.props.app_id);
	assert_true(back.props.timestamp == UINT64_MAX && back.props.has_priority);
	assert_int_equal(back.props.delivery_mode, 1);
	/* one line whatever is in it, also for those who take U+2028 for an end */
	assert_true(memchr(line.data, '\n', line.length) == line.data + line.length - 1);
	assert_null(strstr(line.data, "\xe2\x80\xa8"));
	buf_fini(&line);
	arena_free(mem);
}

/* What a line has is read again, however much is in it. */
static void
a_line_of_very_many_headers_is_read_again(void **state)
{
	static uint8_t wire[200000];
	static char body[300000];
	struct broker_message m = { .body = body,
		.length = sizeof body,
		.exchange = "",
		.routing_key = "",
		.props = { .headers = { wire, sizeof wire } } },
			      back;
	struct arena *mem = arena_new(1 << 16, 64 << 20);
	struct dlq_entry entry;
	struct err e = ERR_INIT;
	struct buf line;

	(void)state;
	for (size_t i = 0; i < sizeof wire; i += 2)
		memcpy(wire + i, "\0V", 2);
	memset(body, '\x01', sizeof body);
	assert_true(broker_table_whole(&m.props.headers));
	buf_init(&line, 4 << 20);
	dlq_entry_read(&entry, &m, mem);
	if (dlq_line_write(&line, &entry, &m, &e) ||
		dlq_line_read(line.data, line.length, mem, &back, &e))
		fail_msg("%s", e.text);
	assert_int_equal(back.props.headers.length, sizeof wire);
	assert_memory_equal(back.props.headers.bytes, wire, sizeof wire);
	assert_int_equal(back.length, sizeof body);
	assert_memory_equal(back.body, body, sizeof body);
	/* base64 takes four bytes for three, an escape would take six for one */
	assert_true(line.length < (sizeof wire + sizeof body) * 7 / 5);
	buf_fini(&line);
	arena_free(mem);
}

static void
lines_that_are_none_are_refused(void **state)
{
	static const char *const bad[] = { "", "[]", "{}", "{\"body\":1}",
		"{\"body_base64\":\"a\"}", "{\"body\":\"\",\"headers\":{}}",
		"{\"body\":\"\",\"headers\":[1]}",
		"{\"body\":\"\",\"headers\":[{\"name\":\"a\",\"type\":\"l\",\"value\":\"x\"}]}",
		"{\"body\":\"\",\"headers\":[{\"name\":\"a\",\"type\":\"?\",\"value\":1}]}",
		"{\"body\":\"\",\"headers\":[{\"name\":\"a\",\"type\":\"d\",\"base64\":\"AA==\"}]}",
		"{\"body\":\"\",\"headers\":[{\"type\":\"V\"}]}",
		"{\"body\":\"\",\"headers\":[{\"name\":\"a\",\"type\":\"F\",\"value\":[{}]}]}",
		"{\"body\":\"\",\"properties\":{\"priority\":256}}",
		"{\"body\":\"\",\"properties\":{\"timestamp\":-1}}",
		"{\"body\":\"\",\"properties\":[]}",
		"{\"body\":\"\",\"headers_base64\":\"AA==\"}" };
	struct arena *mem = arena_new(1 << 16, 16 << 20);
	struct broker_message m;
	struct err e = ERR_INIT;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (dlq_line_read(bad[i], strlen(bad[i]), mem, &m, &e) == 0)
			fail_msg("taken: %s", bad[i]);
	arena_free(mem);
}

static void
made_up_events_hold_their_schema(void **state)
{
	static const char *const types[] = { "user.created", "user.updated", "user.deleted",
		"user.purchase", "user.login" };
	struct arena *mem = arena_new(1 << 16, 16 << 20);
	struct err e = ERR_INIT;
	struct buf body;

	(void)state;
	buf_init(&body, 1 << 16);
	for (size_t i = 0; i < 10 * ARRAY_LEN(types); i++) {
		struct publish_event p = { .type = types[i % ARRAY_LEN(types)] };
		struct event ev;
		int64_t user;

		buf_clear(&body);
		publish_event_write(&p, "0190b5a0-7e1c-7c3d-8a11-0123456789ab", NOW, &body, &user);
		if (event_parse(mem, body.data, body.length, &ev, &e))
			fail_msg("%s: %s", e.text, body.data);
		assert_true(ev.user_id == user && user >= EVENT_USER_MADE_UP && ev.time_us == NOW);
	}
	buf_fini(&body);
	arena_free(mem);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fingerprints_are_alike_for_what_is_alike),
		cmocka_unit_test(filters_choose),
		cmocka_unit_test(a_set_knows_what_was_added),
		cmocka_unit_test(sorts_more_than_memory_holds),
		cmocka_unit_test(base64_there_and_back),
		cmocka_unit_test(a_line_is_the_message_byte_for_byte),
		cmocka_unit_test(a_line_of_very_many_headers_is_read_again),
		cmocka_unit_test(lines_that_are_none_are_refused),
		cmocka_unit_test(made_up_events_hold_their_schema),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
