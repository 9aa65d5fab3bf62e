/* SPDX-License-Identifier: MIT */
/* RabbitMQ: what is in a message comes back as it went, on the server of ONBOARD_RABBITMQ_URL. */
#include "broker_told.h"

static struct told t2;

/* Each kind of value that the wire knows; sorted by name, as RabbitMQ 4 does by itself. */
static const uint8_t all_kinds[] = "\2D1D\2\0\0\1\x3a"
				   "\2F1F\0\0\0\x0d\1aA\0\0\0\6S\0\0\0\1z"
				   "\2S1S\0\0\0\3a\0b"
				   "\2T1T\0\0\0\0\x65\0\0\0"
				   "\2b1t\1"
				   "\2b2b\xff"
				   "\2b3B\xfe"
				   "\2d1d\x40\x09\x21\xfb\x54\x44\x2d\x18"
				   "\2f1f\x40\x49\x0f\xdb"
				   "\2i1I\xff\xff\xff\xfe"
				   "\2i2i\xff\xff\xff\xfe"
				   "\2l1l\xff\xff\xff\xff\xff\xff\xff\xfe"
				   "\2s1s\xff\xfe"
				   "\2s2u\xff\xfe"
				   "\2v1V"
				   "\5x-oneS\0\0\0\1."
				   "\2x1x\0\0\0\2\xff\0";

/* Whatever the order: all of what there was but x-one. */
static void
same_values(const struct broker_table *got)
{
	struct broker_table all = { all_kinds, sizeof all_kinds - 1 };
	struct broker_value v, w;
	char key[8];
	const char *at_name;
	size_t at = 0, n, seen = 0;

	while (broker_table_next(&all, &at, &at_name, &n, &v)) {
		snprintf(key, sizeof key, "%.*s", (int)n, at_name);
		assert_true(broker_table_get(got, key, &w));
		seen++;
		if (strcmp(key, "x-one") == 0)
			continue;
		assert_int_equal(v.kind, w.kind);
		assert_int_equal(v.length, w.length);
		if (v.length)
			assert_memory_equal(v.bytes, w.bytes, v.length);
	}
	assert_int_equal(seen, 17);
}

static void
headers_are_passed_on(void **state)
{
	static const char *const drop[] = { "x-death*", "gone", NULL };
	struct broker_field extra[] = { { "x-death-1", broker_text("d") },
		{ "gone", broker_int(1) }, { "gon", broker_int(-2) }, { "x-one", broker_text("1") },
		{ "on", broker_bool(true) } };
	const char *q = make_queue(b, "headers"), *text;
	struct broker_publish p = { .exchange = "", .routing_key = q };
	struct broker_message *m;
	struct err e = ERR_INIT;
	size_t n;

	(void)state;
	p.props.headers = (struct broker_table){ all_kinds, sizeof all_kinds - 1 };
	assert_true(broker_table_valid(&p.props.headers));
	ok(broker_publish(b, &p, NULL, &e), &e);
	ok(broker_settle(b, 3000, &e), &e);
	/* again, out of what came, with more */
	m = get_soon(q);
	assert_int_equal(m->props.headers.length, sizeof all_kinds - 1);
	assert_memory_equal(m->props.headers.bytes, all_kinds, sizeof all_kinds - 1);
	p.props = m->props;
	p.headers = extra;
	p.header_count = ARRAY_LEN(extra);
	ok(broker_publish(b, &p, NULL, &e), &e);
	ok(broker_settle(b, 3000, &e), &e);
	m = get_soon(q);
	assert_int_equal(broker_table_int(&m->props.headers, "gone", 0), 1);
	p = (struct broker_publish){ .exchange = "", .routing_key = q, .drop = drop };
	p.props = m->props;
	p.headers = &(struct broker_field){ "on", broker_bool(false) };
	p.header_count = 1;
	ok(broker_publish(b, &p, NULL, &e), &e);
	ok(broker_settle(b, 3000, &e), &e);
	m = get_soon(q);
	same_values(&m->props.headers);
	/* "gon" and "on" more; "x-one" as long as it was */
	assert_int_equal(m->props.headers.length, sizeof all_kinds - 1 + 4 + 9 + 3 + 2);
	assert_int_equal(broker_table_int(&m->props.headers, "gon", 0), -2);
	assert_int_equal(broker_table_int(&m->props.headers, "gone", 0), 0);
	assert_null(broker_table_text(&m->props.headers, "x-death-1", &n));
	assert_non_null(text = broker_table_text(&m->props.headers, "x-one", &n));
	assert_int_equal(n, 1);
	assert_int_equal(*text, '1');
	ok(broker_give_back(b, &e), &e);
	ok(broker_queue_purge(b, q, NULL, &e), &e);
}

/* Tables in tables, 60 levels: no reason to lose a connection, nor to change a byte. */
static void
deep_headers(void **state)
{
	const char *q = make_queue(b, "deep");
	struct broker_publish p = { .exchange = "", .routing_key = q };
	struct broker_message *m;
	struct err e = ERR_INIT;
	uint8_t raw[60 * 7];

	(void)state;
	for (size_t i = 0; i < 60; i++) {
		size_t left = sizeof raw - (i + 1) * 7;

		memcpy(raw + i * 7, (uint8_t[]){ 1, 'n', 'F', 0, 0, left >> 8, left & 255 }, 7);
	}
	p.props.headers = (struct broker_table){ raw, sizeof raw };
	ok(broker_publish(b, &p, NULL, &e), &e);
	ok(broker_settle(b, 3000, &e), &e);
	m = get_soon(q);
	assert_int_equal(m->props.headers.length, sizeof raw);
	assert_memory_equal(m->props.headers.bytes, raw, sizeof raw);
	ok(broker_ack(b, m->tag, false, &e), &e);
}

static void
properties_come_back(void **state)
{
	const char *q = make_queue(b, "properties");
	char user[64];
	const char *at = strstr(url, "://") + 3;
	struct broker_properties p = { "application/json", "gzip", "corr", "reply", "60000", "id",
		"user.created", user, "app", "", 2, true, true, 7, 1700000000, { 0 } };
	struct broker_message *m;
	struct err e = ERR_INIT;

	(void)state;
	/* the server refuses any other */
	snprintf(user, sizeof user, "%.*s", (int)strcspn(at, ":"), at);
	ok(broker_publish(b,
		   &(struct broker_publish){ .exchange = "",
			   .routing_key = q,
			   .mandatory = true,
			   .body = "\0\xff",
			   .length = 2,
			   .props = p },
		   NULL, &e),
		&e);
	ok(broker_settle(b, 3000, &e), &e);
	m = get_soon(q);
	assert_string_equal(m->props.content_type, p.content_type);
	assert_string_equal(m->props.content_encoding, p.content_encoding);
	assert_string_equal(m->props.correlation_id, p.correlation_id);
	assert_string_equal(m->props.reply_to, p.reply_to);
	assert_string_equal(m->props.expiration, p.expiration);
	assert_string_equal(m->props.message_id, p.message_id);
	assert_string_equal(m->props.type, p.type);
	assert_string_equal(m->props.user_id, user);
	assert_string_equal(m->props.app_id, p.app_id);
	assert_string_equal(m->props.cluster_id, "");
	assert_int_equal(m->props.delivery_mode, 2);
	assert_int_equal(m->props.priority, 7);
	assert_int_equal(m->props.timestamp, 1700000000);
	assert_int_equal(m->props.headers.length, 0);
	assert_memory_equal(m->body, "\0\xff", 2);
	ok(broker_ack(b, m->tag, false, &e), &e);
}

/* Frames of 128 KiB: none, one, one full, one and a byte, many. */
static void
bodies_of_every_size(void **state)
{
	static const size_t sizes[] = { 0, 1, 131064, 131065, 1 << 20, 15 << 20, 20 << 20 };
	const char *q = make_queue(b, "large");
	struct err e = ERR_INIT;
	char *body = must_malloc(20 << 20);

	(void)state;
	for (size_t i = 0; i < 20 << 20; i++)
		body[i] = (char)(i * 2654435761u >> 13);
	t = (struct told){ 0 };
	ok(broker_consume(b, q, "large", false, &e), &e);
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		struct broker_publish p = { .exchange = "",
			.routing_key = q,
			.body = body,
			.length = sizes[i] };

		if (sizes[i] > 16 << 20 && broker_server_at_least(b, 4, 0))
			break; /* its own limit; see over_the_servers_limit */
		ok(broker_publish(b, &p, NULL, &e), &e);
		ok(broker_settle(b, 8000, &e), &e);
		until(b, &t.delivered, (int)i + 1);
		assert_int_equal(t.keep[i]->length, sizes[i]);
		assert_memory_equal(t.keep[i]->body, body, sizes[i]);
		ok(broker_ack(b, t.keep[i]->tag, false, &e), &e);
		arena_reset(mem);
	}
	ok(broker_cancel(b, "large", &e), &e);
	free(body);
}

static void
over_the_servers_limit(void **state)
{
	struct err e = ERR_INIT;
	char *body;
	const char *q;

	(void)state;
	if (!broker_server_at_least(b, 4, 0))
		skip();
	body = must_calloc(1, 20 << 20);
	other = open_broker(&t2);
	q = make_queue(other, "over");
	ok(broker_publish(other,
		   &(struct broker_publish){ .exchange = "",
			   .routing_key = q,
			   .body = body,
			   .length = 20 << 20 },
		   NULL, &e),
		&e);
	assert_int_equal(broker_settle(other, 8000, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_non_null(strstr(e.text, "larger than configured max size"));
	assert_int_equal(t2.closed, 1);
	broker_free(other);
	free(body);
	body = NULL;
	assert_int_equal(broker_publish(b,
				 &(struct broker_publish){ .exchange = "",
					 .routing_key = "x",
					 .length = (size_t)BROKER_BODY_MAX + 1 },
				 NULL, &e),
		-1);
	assert_int_equal(e.kind, ERR_LIMIT);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(headers_are_passed_on),
		cmocka_unit_test(deep_headers),
		cmocka_unit_test(properties_come_back),
		cmocka_unit_test(bodies_of_every_size),
		cmocka_unit_test(over_the_servers_limit),
	};

	ON_SERVER_RUN("ONBOARD_RABBITMQ_URL", url, tests, setup, teardown);
}
