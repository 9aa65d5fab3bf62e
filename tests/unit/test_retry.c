/* SPDX-License-Identifier: MIT */
#include "cm.h"

#include "base/uuid7.h"
#include "model/retry.h"

#define NOW 1795176000123456LL
#define NOW_TEXT "2026-11-20T12:00:00.123456Z"
#define QUEUE "user_mail_queue"

static const char body[] = "{\"a\":1}\0\xff\xfe";

/* A message with these headers; t keeps them. */
static struct broker_message
message(struct buf *t, const struct broker_field *headers, size_t n)
{
	buf_init(t, 1 << 16);
	for (size_t i = 0; i < n; i++)
		broker_field_add(t, headers[i].name, strlen(headers[i].name), &headers[i].value);
	return (struct broker_message){ .body = body,
		.length = sizeof body - 1,
		.exchange = "user_events",
		.routing_key = "user.created",
		.tag = 5,
		.props = { .content_type = "application/json",
			.message_id = "id-1",
			.type = "user.created",
			.app_id = "them",
			.expiration = "100",
			.user_id = "guest",
			.delivery_mode = 1,
			.headers = { (const uint8_t *)t->data, t->length } } };
}

static const struct broker_value *
header(const struct retry *r, const char *name)
{
	const struct broker_value *found = NULL;

	for (size_t i = 0; i < r->publish.header_count; i++)
		if (strcmp(r->publish.headers[i].name, name) == 0) {
			assert_null(found); /* once */
			found = &r->publish.headers[i].value;
		}
	return found;
}

static void
text_is(const struct retry *r, const char *name, const char *want)
{
	const struct broker_value *v = header(r, name);
	const char *text;
	size_t n;

	if (!v || !broker_value_text(v, &text, &n))
		fail_msg("no text %s", name);
	if (n != strlen(want) || memcmp(text, want, n) != 0)
		fail_msg("%s is %.*s where %s is wanted", name, (int)n, text, want);
}

static void
int_is(const struct retry *r, const char *name, int64_t want)
{
	const struct broker_value *v = header(r, name);
	int64_t n = -1;

	if (!v || !broker_value_int(v, &n))
		fail_msg("no number %s", name);
	assert_int_equal(n, want);
}

static bool
dropped(const struct retry *r, const char *name)
{
	for (const char *const *d = r->publish.drop; *d; d++) {
		size_t n = strlen(*d);

		if (strcmp(*d, name) == 0 || ((*d)[n - 1] == '*' && strncmp(*d, name, n - 1) == 0))
			return true;
	}
	return false;
}

static void
counts(void **state)
{
	static const struct {
		struct broker_value had; /* kind 0: no such header */
		int64_t count;           /* as it goes out */
		const char *queue;       /* NULL: exhausted */
	} rows[] = {
		{ { 0 }, 1, QUEUE ".retry.1" },
		{ { .kind = 'l', .number = 0 }, 1, QUEUE ".retry.1" },
		{ { .kind = 'l', .number = 1 }, 2, QUEUE ".retry.2" },
		{ { .kind = 'I', .bytes = (const uint8_t *)"\0\0\0\2", .length = 4 }, 3,
			QUEUE ".retry.3" },
		{ { .kind = 'l', .number = 3 }, 3, NULL },
		{ { .kind = 'l', .number = 99 }, 99, NULL },
		{ { .kind = 'l', .number = INT64_MAX }, INT64_MAX, NULL },
		/* no numbers */
		{ { .kind = 'l', .number = -4 }, 1, QUEUE ".retry.1" },
		{ { .kind = 'S', .bytes = (const uint8_t *)"2", .length = 1 }, 1,
			QUEUE ".retry.1" },
		{ { .kind = 'd', .bytes = (const uint8_t *)"@\0\0\0\0\0\0\0", .length = 8 }, 1,
			QUEUE ".retry.1" },
		{ { .kind = 'V', .bytes = (const uint8_t *)"" }, 1, QUEUE ".retry.1" },
		{ { .kind = 't', .number = 1 }, 1, QUEUE ".retry.1" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct broker_field had = { "x-retry-count", rows[i].had };
		struct buf t;
		struct broker_message m = message(&t, &had, rows[i].had.kind ? 1 : 0);
		struct retry r;

		retry_make(&r, &m, "mailer", QUEUE, RETRY_AGAIN, "smtp said 451", NOW);
		assert_int_equal(r.count, rows[i].count);
		int_is(&r, "x-retry-count", rows[i].count);
		assert_true(r.publish.mandatory);
		if (rows[i].queue) {
			assert_int_equal(r.class, RETRY_AGAIN);
			assert_string_equal(r.publish.exchange, "");
			assert_string_equal(r.publish.routing_key, rows[i].queue);
			assert_int_equal(r.publish.header_count, 3);
		} else {
			assert_int_equal(r.class, RETRY_EXHAUSTED);
			assert_string_equal(r.publish.exchange, "dlx");
			assert_string_equal(r.publish.routing_key, "user.failed");
			text_is(&r, "x-error-class", "exhausted");
		}
		buf_fini(&t);
	}
}

static void
dead(void **state)
{
	static const struct {
		enum retry_class class;
		const char *name;
	} rows[] = { { RETRY_PERMANENT, "permanent" }, { RETRY_POISON, "poison" },
		{ RETRY_EXHAUSTED, "exhausted" } };
	char first[40] = "";

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct broker_field had = { "x-retry-count", broker_int((int64_t)i) };
		struct buf t;
		struct broker_message m = message(&t, &had, 1);
		struct uuid id;
		struct retry r;

		retry_make(&r, &m, "mailer", QUEUE, rows[i].class, "the reason", NOW);
		assert_int_equal(r.class, rows[i].class);
		assert_string_equal(retry_class_name(r.class), rows[i].name);
		assert_string_equal(r.publish.exchange, "dlx");
		assert_string_equal(r.publish.routing_key, "user.failed");
		assert_int_equal(r.publish.header_count, 9);
		int_is(&r, "x-retry-count", (int64_t)i); /* no retry was spent */
		text_is(&r, "x-consumer", "mailer");
		text_is(&r, "x-original-queue", QUEUE);
		text_is(&r, "x-original-routing-key", "user.created");
		text_is(&r, "x-error-class", rows[i].name);
		text_is(&r, "x-error", "the reason");
		text_is(&r, "x-first-failed-at", NOW_TEXT);
		text_is(&r, "x-failed-at", NOW_TEXT);
		assert_true(uuid_parse(r.dead_id, strlen(r.dead_id), &id));
		text_is(&r, "x-dead-id", r.dead_id);
		assert_string_not_equal(r.dead_id, first); /* an own one */
		memcpy(first, r.dead_id, sizeof first);
		buf_fini(&t);
	}
}

static void
set_once_and_carried_along(void **state)
{
	static const struct broker_field had[] = {
		{ "x-original-routing-key",
			{ .kind = 'S', .bytes = (const uint8_t *)"user.first", .length = 10 } },
		{ "x-first-failed-at",
			{ .kind = 'S',
				.bytes = (const uint8_t *)"2026-11-19T00:00:00.000000Z",
				.length = 27 } },
		{ "x-retry-count", { .kind = 'l', .number = 1 } },
		{ "traceparent", { .kind = 'S', .bytes = (const uint8_t *)"00-aa", .length = 5 } },
	};
	struct buf t;
	struct broker_message m = message(&t, had, ARRAY_LEN(had));
	struct retry r;

	(void)state;
	m.routing_key = QUEUE; /* as it comes back */
	for (size_t i = 0; i < 2; i++) {
		retry_make(&r, &m, "mailer", QUEUE, i ? RETRY_PERMANENT : RETRY_AGAIN, "why", NOW);
		text_is(&r, "x-original-routing-key", "user.first");
		text_is(&r, "x-first-failed-at", "2026-11-19T00:00:00.000000Z");
		/* the rest goes along as it is */
		assert_ptr_equal(r.publish.props.headers.bytes, m.props.headers.bytes);
		assert_int_equal(r.publish.props.headers.length, m.props.headers.length);
		assert_false(dropped(&r, "traceparent"));
		assert_false(dropped(&r, "x-test"));
	}
	text_is(&r, "x-failed-at", NOW_TEXT);
	buf_fini(&t);
}

static void
odd_headers_are_cut_or_replaced(void **state)
{
	static char long_key[400];
	struct broker_field had[] = { { "x-first-failed-at", broker_int(5) },
		{ "x-original-routing-key", { 0 } } };
	struct broker_message m;
	struct retry r;
	struct buf t;

	(void)state;
	memset(long_key, 'k', sizeof long_key - 1);
	had[1].value = broker_text(long_key);
	m = message(&t, had, 2);
	retry_make(&r, &m, "mailer", QUEUE, RETRY_AGAIN, "why", NOW);
	text_is(&r, "x-first-failed-at", NOW_TEXT);
	assert_int_equal(strlen(r.original_key), 255);
	buf_fini(&t);
}

/* What the broker adds would grow with each turn, or send it where it does not belong. */
static void
what_does_not_go_along(void **state)
{
	static const char *const names[] = { "x-death", "x-first-death-exchange",
		"x-first-death-queue", "x-first-death-reason", "x-last-death-exchange",
		"x-last-death-queue", "x-last-death-reason", "x-delivery-count", "x-acquired-count",
		"CC", "BCC" };
	struct buf t;
	struct broker_message m = message(&t, NULL, 0);
	struct retry r;

	(void)state;
	retry_make(&r, &m, "mailer", QUEUE, RETRY_AGAIN, "why", NOW);
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		assert_true(dropped(&r, names[i]));
	assert_null(r.publish.props.expiration);
	assert_null(r.publish.props.user_id);
	assert_int_equal(r.publish.props.delivery_mode, 2);
	assert_string_equal(r.publish.props.message_id, "id-1");
	assert_string_equal(r.publish.props.type, "user.created");
	assert_string_equal(r.publish.props.app_id, "them");
	assert_string_equal(r.publish.props.content_type, "application/json");
	buf_fini(&t);
}

static void
body_is_untouched(void **state)
{
	struct buf t;
	struct broker_message m = message(&t, NULL, 0);
	struct retry r;

	(void)state;
	for (enum retry_class c = RETRY_AGAIN; c <= RETRY_POISON; c++) {
		retry_make(&r, &m, "mailer", QUEUE, c, "why", NOW);
		assert_ptr_equal(r.publish.body, body);
		assert_int_equal(r.publish.length, sizeof body - 1);
	}
	buf_fini(&t);
}

static void
error_is_cut_on_a_character(void **state)
{
	/* a text of so many one-byte characters, then "ü" again and again */
	static const struct {
		size_t ones, twos, kept;
	} rows[] = { { 1024, 0, 1024 }, { 1025, 0, 1024 }, { 0, 600, 1024 }, { 1, 600, 1023 },
		{ 1023, 1, 1023 }, { 0, 0, 0 } };
	struct buf t;
	struct broker_message m = message(&t, NULL, 0);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char text[2048];
		struct retry r;
		size_t n = rows[i].ones;

		memset(text, 'e', n);
		for (size_t j = 0; j < rows[i].twos; j++, n += 2)
			memcpy(text + n, "\xc3\xbc", 2);
		text[n] = '\0';
		retry_make(&r, &m, "mailer", QUEUE, RETRY_PERMANENT, text, NOW);
		assert_int_equal(strlen(r.error), rows[i].kept);
		assert_memory_equal(r.error, text, rows[i].kept);
		text_is(&r, "x-error", r.error);
	}
	buf_fini(&t);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts),
		cmocka_unit_test(dead),
		cmocka_unit_test(set_once_and_carried_along),
		cmocka_unit_test(odd_headers_are_cut_or_replaced),
		cmocka_unit_test(what_does_not_go_along),
		cmocka_unit_test(body_is_untouched),
		cmocka_unit_test(error_is_cut_on_a_character),
	};

	return cmocka_run_group_tests_name("retry", tests, NULL, NULL);
}
