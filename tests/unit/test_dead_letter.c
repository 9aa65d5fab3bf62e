/* SPDX-License-Identifier: MIT */
#include "cm.h"

#include "base/must.h"
#include "model/dead_letter.h"

#define QUEUE "user_mail_queue"

static const char body[] = "{\"a\":1}\0\xff";

static struct broker_message
message(const struct buf *headers)
{
	return (struct broker_message){ .body = body,
		.length = sizeof body - 1,
		.exchange = "dlx",
		.routing_key = "dead",
		.props = { .expiration = "100",
			.user_id = "guest",
			.delivery_mode = 1,
			.message_id = "id-1",
			.headers = { (const uint8_t *)headers->data, headers->length } } };
}

static void
field_add(struct buf *b, const char *name, struct broker_value v)
{
	broker_field_add(b, name, strlen(name), &v);
}

static struct broker_value
bytes(char kind, const struct buf *b)
{
	return (struct broker_value){ .kind = kind,
		.bytes = (const uint8_t *)b->data,
		.length = b->length };
}

/* An element of an array is a field without its name. */
static void
element_add(struct buf *array, struct broker_value v)
{
	struct buf one;

	buf_init(&one, 1 << 12);
	field_add(&one, "", v);
	buf_add(array, one.data + 1, one.length - 1);
	buf_fini(&one);
}

static void
death_add(struct buf *deaths, const char *key, int64_t time)
{
	struct buf keys, death;
	uint8_t wire[8];

	buf_init(&keys, 1 << 12);
	buf_init(&death, 1 << 12);
	element_add(&keys, broker_text(key));
	field_add(&death, "routing-keys", bytes('A', &keys));
	for (size_t i = 0; i < 8; i++)
		wire[i] = (uint8_t)((uint64_t)time >> (56 - 8 * i));
	field_add(&death, "time", (struct broker_value){ .kind = 'T', .bytes = wire, .length = 8 });
	element_add(deaths, bytes('F', &death));
	buf_fini(&death);
	buf_fini(&keys);
}

static bool
dropped(const struct broker_publish *p, const char *name)
{
	for (const char *const *d = p->drop; *d; d++) {
		size_t n = strlen(*d);

		if (strcmp(*d, name) == 0 || ((*d)[n - 1] == '*' && strncmp(*d, name, n - 1) == 0))
			return true;
	}
	return false;
}

static void
each_copy_drops_what_it_should(void **state)
{
	static const struct {
		const char *name;
		enum dead_letter_copy from; /* this copy drops it, and those after it */
	} rows[] = { { "CC", COPY_MOVED }, { "BCC", COPY_MOVED },
		{ "x-delivery-count", COPY_MOVED }, { "x-acquired-count", COPY_MOVED },
		{ "x-death", COPY_RETRIED }, { "x-first-death-queue", COPY_RETRIED },
		{ "x-last-death-reason", COPY_RETRIED }, { "x-dead-id", COPY_RETURNED },
		{ "x-retry-count", COPY_RETURNED }, { "x-consumer", COPY_RETURNED },
		{ "x-original-queue", COPY_RETURNED }, { "x-error-class", COPY_RETURNED },
		{ "x-error", COPY_RETURNED }, { "x-first-failed-at", COPY_RETURNED },
		{ "x-failed-at", COPY_RETURNED }, { "x-original-routing-key", COPY_RETURNED + 1 },
		{ "traceparent", COPY_RETURNED + 1 } };
	struct broker_message m = message(&(struct buf){ 0 });
	struct broker_publish p;

	(void)state;
	for (enum dead_letter_copy how = COPY_MOVED; how <= COPY_RETURNED; how++) {
		dead_letter_copy(&p, &m, how);
		for (size_t i = 0; i < ARRAY_LEN(rows); i++)
			if (dropped(&p, rows[i].name) != (how >= rows[i].from))
				fail_msg("copy %u and %s", how, rows[i].name);
		assert_true(p.mandatory);
		assert_ptr_equal(p.body, body);
		assert_int_equal(p.length, sizeof body - 1);
		assert_null(p.props.expiration);
		assert_null(p.props.user_id);
		assert_string_equal(p.props.message_id, "id-1");
		assert_int_equal(p.props.delivery_mode, how == COPY_MOVED ? 1 : 2);
	}
	assert_true(dead_letter_of_delivery("x-delivery-count", 16));
	assert_false(dead_letter_of_delivery("x-delivery-count", 15));
	assert_false(dead_letter_of_delivery("CC", 2));
}

static void
field_is(const struct broker_field *f, const char *name, const char *want)
{
	const char *text;
	size_t n;

	assert_string_equal(f->name, name);
	assert_true(broker_value_text(&f->value, &text, &n));
	assert_int_equal(n, strlen(want));
	assert_memory_equal(text, want, n);
}

/* The broker puts the last death first; the oldest one has the key of the sender. */
static void
a_return_finds_the_key_in_the_deaths(void **state)
{
	struct dead_letter_return back;
	struct broker_message m;
	struct broker_table death;
	struct buf deaths, headers;
	size_t at = 0;

	(void)state;
	buf_init(&deaths, 1 << 12);
	buf_init(&headers, 1 << 12);
	death_add(&deaths, "again", 1795176000);
	death_add(&deaths, "user.created", 253402300800);
	field_add(&headers, "x-death", bytes('A', &deaths));
	m = message(&headers);
	dead_letter_return(&back, &m, QUEUE, NULL);
	assert_string_equal(back.publish.exchange, "");
	assert_string_equal(back.publish.routing_key, QUEUE);
	assert_true(back.publish.headers_optional);
	assert_int_equal(back.publish.header_count, 1);
	field_is(&back.headers[0], "x-original-routing-key", "user.created");

	assert_true(dead_letter_death(&m, &at, &death));
	assert_int_equal(dead_letter_death_s(&death), 1795176000);
	assert_true(dead_letter_death(&m, &at, &death));
	assert_int_equal(dead_letter_death_s(&death), -1); /* past the year 9999 */
	assert_false(dead_letter_death(&m, &at, &death));

	/* a key that a consumer wrote down goes along with the other headers */
	field_add(&headers, "x-original-routing-key", broker_text("user.first"));
	m = message(&headers);
	dead_letter_return(&back, &m, QUEUE, "old-id");
	assert_int_equal(back.publish.header_count, 1);
	field_is(&back.headers[0], "replay-of", "old-id");
	buf_fini(&headers);
	buf_fini(&deaths);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_copy_drops_what_it_should),
		cmocka_unit_test(a_return_finds_the_key_in_the_deaths),
	};

	return cmocka_run_group_tests_name("dead_letter", tests, NULL, NULL);
}
