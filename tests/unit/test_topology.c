/* SPDX-License-Identifier: MIT */
#include "cm.h"

#include "run/topology.h"

#define P "PRECONDITION_FAILED - inequivalent arg "
#define WAY " is wanted: delete it once it is empty, then `onboardctl topology declare`"

static void
words_of_a_refusal(void **state)
{
	static const struct {
		const char *words, *text; /* NULL: not of that form */
	} rows[] = {
		/* 3.10.8 and 4.x say the same of arguments */
		{ P "'x-message-ttl' for queue 'q' in vhost '/': received the value '2000' of type "
		    "'signedint' but current is the value '1000' of type 'signedint'",
			"queue 'q' exists with x-message-ttl 1000 where 2000" WAY },
		{ P "'x-message-ttl' for queue 'q' in vhost '/': received the value '2000' of type "
		    "'long' but current is none",
			"queue 'q' exists with x-message-ttl none where 2000" WAY },
		{ P "'x-expires' for queue 'q' in vhost '/': received none but current is the value "
		    "'60000' of type 'signedint'",
			"queue 'q' exists with x-expires 60000 where none" WAY },
		{ P "'x-queue-type' for queue 'user.dlq' in vhost 'a b': received the value 'quorum' of "
		    "type 'longstr' but current is the value 'classic' of type 'longstr'",
			"queue 'user.dlq' exists with x-queue-type classic where quorum" WAY },
		/* fields of the declaration itself, without a type */
		{ P "'durable' for queue 'q' in vhost '/': received 'true' but current is 'false'",
			"queue 'q' exists with durable false where true" WAY },
		{ P "'type' for exchange 'user_events' in vhost '/': received 'topic' but current is "
		    "'fanout'",
			"exchange 'user_events' exists with type fanout where topic is wanted: delete it "
			"once it is unused, then `onboardctl topology declare`" },
		/* the empty exchange's name */
		{ P "'x-dead-letter-exchange' for queue 'q' in vhost '/': received the value '' of type "
		    "'longstr' but current is the value 'dlx' of type 'longstr'",
			"queue 'q' exists with x-dead-letter-exchange dlx where ''" WAY },
		/* quotes in names */
		{ P "'x-expires' for queue 'it's' in vhost 'v'w': received none but current is the "
		    "value '6' of type 'long'",
			"queue 'it's' exists with x-expires 6 where none" WAY },
		/* the broker cuts its words at 255 bytes */
		{ P "'x-dead-letter-routing-key' for queue 'q' in vhost '/': received the value 'a' of "
		    "type 'longstr' but current is the value 'something.lo...",
			"queue 'q' exists with x-dead-letter-routing-key something.lo... where a" WAY },
		{ P "'x-expires' for queue 'q' in vhost '/': received the value '1' of type 'lo...",
			NULL },
		{ P "'x-expires' for queue 'q' in vho...", NULL },
		{ "NOT_FOUND - no queue 'q' in vhost '/'", NULL },
		{ "ACCESS_REFUSED - access to queue 'q' in vhost '/' refused for user 'u'", NULL },
		{ "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'q'", NULL },
		{ "", NULL },
	};
	char out[512], small[16];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		bool told = topology_explain(rows[i].words, out, sizeof out);

		if (told != (rows[i].text != NULL))
			fail_msg("%s: %s", rows[i].words, told ? out : "nothing");
		if (told)
			assert_string_equal(out, rows[i].text);
	}
	assert_true(topology_explain(rows[0].words, small, sizeof small));
	assert_string_equal(small, "queue 'q' exist");
}

static void
lists(void **state)
{
	static const char *const good[] = { NULL, "", " ", ",", "eventlog", "cache, segments",
		"mailer,,analytics ," },
				 *const bad[] = { "nobody", "eventlog,nobody", "EVENTLOG",
					 "eventlo", "eventlog;cache", "user_data_queue" };
	struct err e = ERR_INIT;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		if (topology_list_check(good[i], &e))
			fail_msg("%s: %s", good[i], e.text);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(topology_list_check(bad[i], &e), -1);
		assert_int_equal(e.kind, ERR_INVALID);
	}
	assert_int_equal(topology_list_check("eventlog,nobody", &e), -1);
	assert_non_null(strstr(e.text, "topology.consumers"));
	assert_non_null(strstr(e.text, "nobody"));
}

static void
consumers(void **state)
{
	static const struct {
		const char *name, *queue, *keys;
	} rows[] = {
		{ "eventlog", "user_data_queue", "user.*" },
		{ "cache", "user_cache_queue", "user.created user.updated user.deleted" },
		{ "segments", "user_segment_queue", "user.*" },
		{ "mailer", "user_mail_queue", "user.created" },
		{ "analytics", "user_analytics_queue", "user.*" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct topology_consumer *c = topology_find(rows[i].name);
		char keys[100] = "";

		assert_non_null(c);
		assert_string_equal(c->queue, rows[i].queue);
		for (const char *const *k = c->keys; *k; k++) {
			strcat(keys, *keys ? " " : "");
			strcat(keys, *k);
		}
		assert_string_equal(keys, rows[i].keys);
	}
	assert_null(topology_consumers[ARRAY_LEN(rows)].name);
	assert_null(topology_find("nobody"));
	assert_null(topology_find(""));
}

static void
retries(void **state)
{
	static const struct {
		const char *name;
		int64_t ms;
	} rows[TOPOLOGY_RETRIES] = { { "q.retry.1", 1000 }, { "q.retry.2", 2000 },
		{ "q.retry.3", 4000 } };
	char name[256];

	(void)state;
	for (unsigned n = 1; n <= TOPOLOGY_RETRIES; n++) {
		topology_retry_name("q", n, name);
		assert_string_equal(name, rows[n - 1].name);
		assert_int_equal(topology_retry_ms(n), rows[n - 1].ms);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_of_a_refusal),
		cmocka_unit_test(lists),
		cmocka_unit_test(consumers),
		cmocka_unit_test(retries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
