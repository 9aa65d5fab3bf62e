/* SPDX-License-Identifier: MIT */
/* model: small facts that two programs share */
#include "cm.h"

#include "base/must.h"
#include "model/event.h"
#include "model/consumers.h"
#include "model/mail_log.h"
#include "model/outbox_sql.h"
#include "model/redis_keys.h"

static void
an_event_names_itself(void **state)
{
	(void)state;
	assert_string_equal(event_name("user.created"), "created");
	assert_string_equal(event_name("user.purchase.done"), "purchase.done");
	assert_string_equal(event_name("order.created"), "order.created");
	assert_string_equal(event_name("user"), "user");
}

static void
an_events_day_follows_from_its_id(void **state)
{
	static const struct {
		const char *id, *day; /* day NULL: it has only a number */
		int64_t number;
	} rows[] = {
		{ "00000000-0000-7000-8000-000000000000", "1970-01-01", 0 },
		{ "00000526-5bff-7000-8000-000000000000", "1970-01-01", 0 },
		{ "00000526-5c00-7000-8000-000000000000", "1970-01-02", 1 },
		{ "019aa0da-b400-7000-8000-000000000000", "2025-11-20", 20412 },
		{ "ffffffff-ffff-7000-8000-000000000000", NULL, 3257812 },
	};
	char day[OUTBOX_DAY_SIZE];
	struct uuid id;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_true(uuid_parse(rows[i].id, strlen(rows[i].id), &id) && uuid_is_v7(&id));
		assert_int_equal(outbox_day_number(&id), rows[i].number);
		if (!rows[i].day)
			continue;
		outbox_day(&id, day);
		assert_string_equal(day, rows[i].day);
	}
}

static void
a_mails_state_has_one_name(void **state)
{
	char names[100] = "";

	(void)state;
	for (enum mail_state s = 0; s < MAIL_STATES; s++) {
		const char *name = mail_state_name(s);

		assert_true(mail_state_known(name));
		snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", s ? ", " : "",
			name);
		for (enum mail_state other = 0; other < MAIL_STATES; other++)
			assert_int_equal(mail_state_is(other, name), other == s);
	}
	assert_string_equal(names, MAIL_STATE_NAMES);
	assert_false(mail_state_known("Sent") || mail_state_known("") || mail_state_known(NULL));
	assert_false(mail_state_is(MAIL_SENT, NULL));
}

static void
analytics_alone_has_an_inbox(void **state)
{
	(void)state;
	assert_int_equal(consumer_row_find("analytics")->inbox_days, 90);
	assert_int_equal(consumer_row_find("mailer")->inbox_days, 0);
}

static void
redis_keys(void **state)
{
	char key[REDIS_KEY_SIZE];

	(void)state;
	assert_int_equal(redis_key_profile(7, key), strlen("user:7:profile"));
	assert_string_equal(key, "user:7:profile");
	assert_int_equal(redis_key_version(INT64_MIN, key),
		strlen("user:-9223372036854775808:version"));
	assert_string_equal(key, "user:-9223372036854775808:version");
	redis_key_country("LV", key);
	assert_string_equal(key, "users:country:LV");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_event_names_itself),
		cmocka_unit_test(an_events_day_follows_from_its_id),
		cmocka_unit_test(a_mails_state_has_one_name),
		cmocka_unit_test(analytics_alone_has_an_inbox),
		cmocka_unit_test(redis_keys),
	};

	return cmocka_run_group_tests_name("model", tests, NULL, NULL);
}
