/* SPDX-License-Identifier: MIT */
/* RabbitMQ: queues, confirms, deliveries and refusals, on the server of ONBOARD_RABBITMQ_URL. */
#include "broker_told.h"

static struct told t2;

static void
declares(void **state)
{
	struct broker_queue_info info;
	struct err e = ERR_INIT;
	char long_name[300];
	const char *q, *x = queue_name("exchange");
	uint32_t n = 99;

	(void)state;
	ok(broker_exchange_declare(b, x, "topic", false, false, &e), &e);
	ok(broker_exchange_declare(b, x, "topic", true, false, &e), &e);
	ok(broker_queue_declare(b, &(struct broker_queue){ .name = "", .exclusive = true }, &info,
		   &e),
		&e);
	assert_memory_equal(info.name, "amq.gen-", 8);
	q = make_queue(b, "declared");
	ok(broker_queue_bind(b, q, x, "a.*", &e), &e);
	for (int i = 0; i < 3; i++)
		ok(broker_publish(b,
			   &(struct broker_publish){ .exchange = x,
				   .routing_key = i < 2 ? "a.b" : "b.b" },
			   NULL, &e),
			&e);
	ok(broker_settle(b, 3000, &e), &e);
	ok(broker_queue_declare(b, &(struct broker_queue){ .name = q, .passive = true }, &info, &e),
		&e);
	assert_string_equal(info.name, q);
	assert_int_equal(info.messages, 2);
	assert_int_equal(info.consumers, 0);
	ok(broker_queue_unbind(b, q, x, "a.*", &e), &e);
	publish(b, q, "three", NULL);
	ok(broker_settle(b, 3000, &e), &e);
	ok(broker_queue_purge(b, q, &n, &e), &e);
	assert_int_equal(n, 3);
	ok(broker_queue_delete(b, q, &n, &e), &e);
	assert_int_equal(n, 0);
	assert_int_equal(broker_queue_declare(b,
				 &(struct broker_queue){ .name = q, .passive = true }, NULL, &e),
		-1);
	assert_int_equal(e.kind, ERR_MISSING);
	ok(broker_exchange_delete(b, x, &e), &e);
	memset(long_name, 'x', sizeof long_name);
	long_name[256] = '\0';
	assert_int_equal(broker_exchange_delete(b, long_name, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_int_equal(
		broker_publish(b,
			&(struct broker_publish){ .exchange = "", .routing_key = long_name }, NULL,
			&e),
		-1);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_int_equal(broker_unsent(b), 0); /* nothing of it is left behind */
}

/* A refused declaration closes its own channel; consumers and confirms don't notice. */
static void
refusals(void **state)
{
	const char *q = make_queue(b, "refused"), *x = queue_name("direct");
	struct err e = ERR_INIT;

	(void)state;
	t = (struct told){ .ack = true };
	ok(broker_exchange_declare(b, x, "direct", false, false, &e), &e);
	ok(broker_consume(b, q, "c", false, &e), &e);
	for (int i = 0; i < 3; i++) {
		publish(b, q, "x", NULL);
		assert_int_equal(broker_exchange_declare(b, x, "topic", false, false, &e), -1);
		assert_int_equal(e.kind, ERR_CONFLICT);
		assert_non_null(strstr(e.text, "inequivalent arg 'type'"));
		assert_int_equal(broker_queue_bind(b, q, queue_name("none"), "k", &e), -1);
		assert_int_equal(e.kind, ERR_MISSING);
	}
	ok(broker_settle(b, 3000, &e), &e);
	until(b, &t.delivered, 3);
	assert_int_equal(t.confirmed, 3);
	assert_int_equal(t.closed, 0);
	ok(broker_exchange_delete(b, x, &e), &e);
	ok(broker_cancel(b, "c", &e), &e);

	/* a refused consume closes the consuming channel, and what it held goes back: that is told */
	assert_int_equal(broker_consume(b, queue_name("none"), "d", false, &e), -1);
	assert_int_equal(e.kind, ERR_MISSING);
	assert_int_equal(t.closed, 1);
	assert_int_equal(t.code, 404);
	assert_int_equal(broker_ack(b, t.last_tag, false, &e), -1);
	assert_int_equal(e.kind, ERR_AWAY);
	publish(b, q, "y", NULL);
	ok(broker_consume(b, q, "c", false, &e), &e);
	until(b, &t.delivered, 4);
	ok(broker_cancel(b, "c", &e), &e);
}

static void
confirms_and_deliveries(void **state)
{
	const char *q = make_queue(b, "many");
	struct err e = ERR_INIT;
	char text[16];
	int sent = 0;

	(void)state;
	t = (struct told){ 0 };
	ok(broker_qos(b, 1000, &e), &e);
	ok(broker_consume(b, q, "one", true, &e), &e);
	while (sent < 1000) {
		struct broker_publish p = { .exchange = "", .routing_key = q, .body = text };

		p.length = (size_t)snprintf(text, sizeof text, "%d", sent);
		if (broker_publish(b, &p, NULL, &e) == 0) {
			sent++;
			continue;
		}
		assert_int_equal(e.kind, ERR_LIMIT);
		ok(broker_settle(b, 3000, &e), &e);
	}
	ok(broker_settle(b, 3000, &e), &e);
	assert_int_equal(t.confirmed, 1000); /* each once */
	assert_int_equal(t.nacked, 0);
	until(b, &t.delivered, 1000);
	for (int i = 0; i < 1000; i++) {
		snprintf(text, sizeof text, "%d", i);
		assert_int_equal(t.keep[i]->length, strlen(text));
		assert_memory_equal(t.keep[i]->body, text, strlen(text));
		assert_string_equal(t.keep[i]->routing_key, q);
		assert_string_equal(t.keep[i]->consumer, "one");
		assert_false(t.keep[i]->redelivered);
	}
	/* all but the last four acked; two go back, one is thrown away, one is held */
	ok(broker_ack(b, t.keep[995]->tag, true, &e), &e);
	ok(broker_nack(b, t.keep[996]->tag, false, true, &e), &e);
	ok(broker_nack(b, t.keep[997]->tag, false, false, &e), &e);
	ok(broker_nack(b, t.keep[998]->tag, false, true, &e), &e);
	until(b, &t.delivered, 1002);
	assert_memory_equal(t.keep[1000]->body, "996", 3);
	assert_true(t.keep[1000]->redelivered);
	assert_memory_equal(t.keep[1001]->body, "998", 3);
	ok(broker_cancel(b, "one", &e), &e);
	ok(broker_give_back(b, &e), &e); /* 996, 998, 999 */
	for (int i = 0; i < 3; i++) {
		struct broker_message *m = get_soon(q);

		assert_memory_equal(m->body, &"996998999"[i * 3], 3);
		assert_true(m->redelivered);
		ok(broker_ack(b, m->tag, false, &e), &e);
	}
	assert_null(get(q));
	ok(broker_give_back(b, &e), &e);
	assert_null(get(q));
}

static void
returned_before_confirm(void **state)
{
	struct err e = ERR_INIT;

	(void)state;
	t = (struct told){ 0 };
	ok(broker_publish(b,
		   &(struct broker_publish){ .exchange = "",
			   .routing_key = queue_name("nowhere"),
			   .mandatory = true,
			   .body = "lost",
			   .length = 4,
			   .props = { .message_id = "id-7" } },
		   NULL, &e),
		&e);
	ok(broker_settle(b, 3000, &e), &e);
	assert_int_equal(t.returned, 1);
	assert_int_equal(t.confirmed, 1);
	assert_false(t.confirmed_first);
	assert_int_equal(t.code, 312);
	assert_string_equal(t.why, "NO_ROUTE");
	assert_string_equal(t.keep[0]->props.message_id, "id-7");
	assert_memory_equal(t.keep[0]->body, "lost", 4);
	assert_int_equal(t.keep[0]->tag, 0);
}

static void
window_is_full(void **state)
{
	const char *q = make_queue(b, "window");
	struct broker_publish p = { .exchange = "", .routing_key = q };
	struct err e = ERR_INIT;

	(void)state;
	t = (struct told){ .chain = true };
	for (int i = 0; i < WINDOW; i++)
		ok(broker_publish(b, &p, NULL, &e), &e);
	assert_int_equal(broker_unconfirmed(b), WINDOW);
	assert_int_equal(broker_publish(b, &p, NULL, &e), -1);
	assert_int_equal(e.kind, ERR_LIMIT);
	ok(broker_settle(b, 3000, &e), &e);
	assert_int_equal(t.confirmed, WINDOW + 1);
	assert_int_equal(broker_unconfirmed(b), 0);
}

static void
cancels(void **state)
{
	const char *q = make_queue(b, "cancelled"), *gone = make_queue(b, "deleted");
	struct broker_queue_info info;
	struct err e = ERR_INIT;

	(void)state;
	t = (struct told){ 0 };
	for (int i = 0; i < 20; i++)
		publish(b, q, "x", NULL);
	ok(broker_settle(b, 3000, &e), &e);
	ok(broker_qos(b, 100, &e), &e);
	ok(broker_consume(b, q, "a", false, &e), &e);
	ok(broker_consume(b, gone, "b", false, &e), &e);
	ok(broker_cancel(b, "a", &e), &e);
	assert_int_equal(t.delivered, 20); /* what was on its way came before the answer */
	ok(broker_ack(b, t.last_tag, true, &e), &e); /* and is still ours to ack */
	ok(broker_queue_delete(b, gone, NULL, &e), &e);
	until(b, &t.cancelled, 1);
	assert_string_equal(t.consumer, "b");
	ok(broker_give_back(b, &e), &e);
	ok(broker_queue_declare(b, &(struct broker_queue){ .name = q, .passive = true }, &info, &e),
		&e);
	assert_int_equal(info.messages, 0);
	publish(b, q, "not consumed any more", NULL);
	ok(broker_settle(b, 3000, &e), &e);
	assert_int_equal(t.delivered, 20);
}

/* What has no question to answer ends the connection, with the server's words. */
static void
channel_faults(void **state)
{
	struct err e = ERR_INIT;
	struct link_view v;

	(void)state;
	other = open_broker(&t2);
	ok(broker_publish(other,
		   &(struct broker_publish){ .exchange = queue_name("none"), .routing_key = "k" },
		   NULL, &e),
		&e);
	assert_int_equal(broker_settle(other, 3000, &e), -1);
	assert_int_equal(e.kind, ERR_MISSING);
	assert_non_null(strstr(e.text, "no exchange"));
	assert_int_equal(t2.closed, 1);
	assert_int_equal(t2.code, 404);
	link_look(broker_link(other), &v);
	assert_int_equal(v.state, LINK_DOWN);
	assert_int_equal(broker_pump(other, 0, &e), -1);
	assert_int_equal(e.kind, ERR_AWAY);
	ok(broker_connect(other, &e), &e);
	ok(broker_ack(other, 77, false, &e), &e);
	assert_int_equal(
		broker_get(other, make_queue(b, "any"), mem, &(struct broker_message *){ 0 }, &e),
		-1);
	assert_int_equal(t2.closed, 2);
	assert_int_equal(t2.code, 406);
	broker_free(other);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(declares),
		cmocka_unit_test(refusals),
		cmocka_unit_test(confirms_and_deliveries),
		cmocka_unit_test(returned_before_confirm),
		cmocka_unit_test(window_is_full),
		cmocka_unit_test(cancels),
		cmocka_unit_test(channel_faults),
	};

	ON_SERVER_RUN("ONBOARD_RABBITMQ_URL", url, tests, setup, teardown);
}
