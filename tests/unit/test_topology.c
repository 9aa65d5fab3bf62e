/* SPDX-License-Identifier: MIT */
/* What a refused declaration says, in the words of RabbitMQ 3.10 and 4.3; the rows of consumers. */
#include "cm.h"

#include "model/topology.h"

#define REFUSED "PRECONDITION_FAILED - inequivalent arg "
#define MEND_QUEUE ": `onboardctl topology mend` replaces it and keeps its messages"
#define MEND_EXCHANGE ": delete it once it is unused, then `onboardctl topology declare`"
#define X40 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

static void
refusals_are_explained(void **state)
{
	static const struct {
		const char *words, *want; /* NULL: not of that form */
	} rows[] = {
		/* both versions */
		{ REFUSED "'x-message-ttl' for queue 'q' in vhost '/': received '2000' but current "
			  "is '1000'",
			"queue 'q' exists with x-message-ttl 1000 where 2000 is wanted" MEND_QUEUE },
		{ REFUSED "'x-message-ttl' for queue 'q' in vhost '/': received none but current "
			  "is the value '1000' of type 'signedint'",
			"queue 'q' exists with x-message-ttl 1000 where none is wanted" MEND_QUEUE },
		{ REFUSED "'x-delivery-limit' for queue 'q' in vhost '/': received the value '20' "
			  "of type 'signedint' but current is none",
			"queue 'q' exists with x-delivery-limit none where 20 is "
			"wanted" MEND_QUEUE },
		{ REFUSED "'durable' for queue 'it's' in vhost '/': received 'false' but current "
			  "is 'true'",
			"queue 'it's' exists with durable true where false is wanted" MEND_QUEUE },
		{ REFUSED "'type' for exchange 'x' in vhost '/': received 'topic' but current is "
			  "'direct'",
			"exchange 'x' exists with type direct where topic is "
			"wanted" MEND_EXCHANGE },
		/* 4.3, then 3.10, which knows no type of a classic queue */
		{ REFUSED "'x-queue-type' for queue 'q' in vhost '/': received 'quorum' but "
			  "current is 'classic'",
			"queue 'q' exists with x-queue-type classic where quorum is "
			"wanted" MEND_QUEUE },
		{ REFUSED "'x-queue-type' for queue 'q' in vhost '/': received the value 'quorum' "
			  "of type 'longstr' but current is none",
			"queue 'q' exists with x-queue-type none where quorum is "
			"wanted" MEND_QUEUE },
		/* cut at 255 bytes by the broker */
		{ REFUSED "'x-dead-letter-routing-key' for queue 'q' in vhost '/': received '" X40
			  "' but current is 'xxx...",
			"queue 'q' exists with x-dead-letter-routing-key xxx... where " X40
			" is wanted" MEND_QUEUE },
		{ REFUSED "'x-overflow' for queue 'q' in vhost '/': received '" X40 "' but cur...",
			NULL },
		/* a value with a quote in it; one that is empty */
		{ REFUSED "'x-dead-letter-exchange' for queue 'q' in vhost 'v': received '' but "
			  "current is 'a'b'",
			"queue 'q' exists with x-dead-letter-exchange a'b where  is "
			"wanted" MEND_QUEUE },
		{ "PRECONDITION_FAILED - invalid arg 'x-max-length' for queue 'q' in vhost '/': "
		  "negative",
			NULL },
		{ "ACCESS_REFUSED - access to queue 'q' in vhost '/' refused", NULL },
		{ REFUSED "'", NULL },
		{ REFUSED "'a' for ", NULL },
		{ REFUSED "'a' for queue '", NULL },
		{ REFUSED "'a' for queue 'q' in vhost '", NULL },
		{ REFUSED "'a' for queue 'q' in vhost '/': received ", NULL },
		{ "", NULL },
	};
	char out[512];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		out[0] = '\0';
		assert_int_equal(topology_explain(rows[i].words, out, sizeof out),
			rows[i].want != NULL);
		if (rows[i].want)
			assert_string_equal(out, rows[i].want);
		else
			assert_string_equal(out, "");
	}
	/* the last byte is a NUL however little room there is */
	memset(out, 'x', sizeof out);
	assert_true(topology_explain(rows[0].words, out, 10));
	assert_string_equal(out, "queue 'q'");
	assert_int_equal(out[10], 'x');
}

static void
lists_of_consumers(void **state)
{
	static const struct {
		const char *list, *bad; /* NULL: fine */
	} rows[] = {
		{ NULL, NULL },
		{ "", NULL },
		{ " , ,", NULL },
		{ "mailer", NULL },
		{ "mailer,cache", NULL },
		{ ",eventlog ,\tsegments  analytics,", NULL },
		{ "mailer,mailers", "mailers" },
		{ "Mailer", "Mailer" },
		{ "mail", "mail" },
		{ "cache;mailer", "cache;mailer" },
	};
	struct err e = ERR_INIT;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int rc = topology_list_check(rows[i].list, &e);

		assert_int_equal(rc, rows[i].bad ? -1 : 0);
		if (!rows[i].bad)
			continue;
		assert_int_equal(e.kind, ERR_INVALID);
		assert_string_equal(strrchr(e.text, ' ') + 1, rows[i].bad);
	}
	/* a name that would be right if it were cut */
	assert_int_equal(topology_list_check("mailer" X40 X40, &e), -1);
}

static void
names_and_waits(void **state)
{
	char name[256];
	size_t n = 0;

	(void)state;
	for (const struct consumer_row *c = consumer_rows; c->name; c++, n++) {
		assert_ptr_equal(consumer_row_find(c->name), c);
		assert_non_null(c->keys[0]);
	}
	assert_int_equal(n, CONSUMER_COUNT);
	assert_null(consumer_row_find("nobody"));
	topology_retry_name("user_mail_queue", 3, name);
	assert_string_equal(name, "user_mail_queue.retry.3");
	for (unsigned i = 1; i <= TOPOLOGY_RETRIES; i++)
		assert_int_equal(topology_retry_ms(i), 500 << i);
}

/* Instance N listens 10·(N−1) higher; 9101 to 9104 and 9110 are the HTTP daemons'. */
static bool
ports_meet(unsigned a, unsigned b)
{
	return a % 10 == b % 10 && (a > b ? a - b : b - a) < 100;
}

static void
rows_do_not_meet(void **state)
{
	static const unsigned http[] = { 9101, 9102, 9103, 9104, 9110 };

	(void)state;
	for (const struct consumer_row *a = consumer_rows; a->name; a++) {
		for (size_t i = 0; i < ARRAY_LEN(http); i++)
			assert_false(ports_meet(a->admin_port, http[i]));
		assert_in_range(a->admin_port, 9101, 65535 - 90);
		for (const struct consumer_row *b = a + 1; b->name; b++) {
			assert_string_not_equal(a->name, b->name);
			assert_string_not_equal(a->queue, b->queue);
			assert_false(ports_meet(a->admin_port, b->admin_port));
		}
		/* trace looks into it */
		if (a->trace == TRACE_EVENT_DOCUMENT || a->trace == TRACE_USER_DOCUMENT)
			assert_non_null(a->collection);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refusals_are_explained),
		cmocka_unit_test(lists_of_consumers),
		cmocka_unit_test(names_and_waits),
		cmocka_unit_test(rows_do_not_meet),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
