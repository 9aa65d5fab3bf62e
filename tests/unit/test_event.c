/* SPDX-License-Identifier: MIT */
#include "cm.h"

#include "model/event.h"

#define ID "0193a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"
#define WHEN "2026-11-20T12:00:00.123456Z"
#define WHEN_US 1795176000123456LL
#define OF(type, payload) \
	"{\"id\":\"" ID "\",\"type\":\"" type "\",\"timestamp\":\"" WHEN "\",\"payload\":" payload \
	"}"
#define USER "\"user_id\":7,\"username\":\"ann\",\"email\":\"ann@example.com\""
#define CREATED(more) OF("user.created", "{" USER more "}")
#define GEO(geo) OF("user.login", "{\"user_id\":7,\"geo\":" geo "}")

static struct arena *mem;

static int
make(void **state)
{
	(void)state;
	mem = arena_new(4096, 4 << 20);
	return 0;
}

static int
end(void **state)
{
	(void)state;
	arena_free(mem);
	return 0;
}

static struct event
parsed(const char *body)
{
	struct err e = ERR_INIT;
	struct event ev;

	if (event_parse(mem, body, strlen(body), &ev, &e))
		fail_msg("%s: %s", body, e.text);
	return ev;
}

static void
same(const char *got, const char *want)
{
	if (!want)
		assert_null(got);
	else if (!got)
		fail_msg("nothing where %s is wanted", want);
	else
		assert_string_equal(got, want);
}

static void
sound_users(void **state)
{
	static const struct {
		const char *body;
		enum event_kind kind;
		int64_t version;
		const char *username, *email, *name, *country, *city, *previous;
	} rows[] = {
		{ CREATED(""), EVENT_CREATED, 1, "ann", "ann@example.com", NULL, NULL, NULL, NULL },
		{ CREATED(",\"version\":1,\"name\":\"Ann Lee\",\"country\":\"LV\",\"city\":\"Riga\""),
			EVENT_CREATED, 1, "ann", "ann@example.com", "Ann Lee", "LV", "Riga", NULL },
		/* null is as good as nothing */
		{ CREATED(",\"version\":null,\"name\":null,\"country\":null,\"city\":null"),
			EVENT_CREATED, 1, "ann", "ann@example.com", NULL, NULL, NULL, NULL },
		/* only a move has a country before */
		{ CREATED(",\"previous_country\":\"EE\""), EVENT_CREATED, 1, "ann",
			"ann@example.com", NULL, NULL, NULL, NULL },
		{ OF("user.updated", "{" USER ",\"version\":12,\"previous_country\":\"EE\"}"),
			EVENT_UPDATED, 12, "ann", "ann@example.com", NULL, NULL, NULL, "EE" },
		{ OF("user.deleted", "{\"user_id\":7,\"version\":3,\"country\":\"LV\"}"),
			EVENT_DELETED, 3, NULL, NULL, NULL, "LV", NULL, NULL },
		{ OF("user.deleted", "{\"user_id\":7}"), EVENT_DELETED, 1, NULL, NULL, NULL, NULL,
			NULL, NULL },
		/* e-mail in its stored form */
		{ OF("user.created",
			  "{\"user_id\":7,\"username\":\"Ann\",\"email\":\"Ann.LEE@M\xc3\x9cNCHEN.de\"}"),
			EVENT_CREATED, 1, "Ann", "ann.lee@xn--mnchen-3ya.de", NULL, NULL, NULL,
			NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct event ev = parsed(rows[i].body);

		assert_string_equal(ev.id, ID);
		assert_int_equal(ev.kind, rows[i].kind);
		assert_int_equal(ev.time_us, WHEN_US);
		assert_int_equal(ev.user_id, 7);
		assert_int_equal(ev.version, rows[i].version);
		same(ev.username, rows[i].username);
		same(ev.email, rows[i].email);
		same(ev.display_name, rows[i].name);
		same(ev.country, rows[i].country);
		same(ev.city, rows[i].city);
		same(ev.previous_country, rows[i].previous);
		assert_string_equal(ev.name, ev.type + 5);
		assert_null(ev.metadata);
		assert_false(ev.has_point);
	}
}

static void
sound_activity(void **state)
{
	struct event ev;

	(void)state;
	ev = parsed(OF("user.purchase",
		"{\"user_id\":8000000000000000,\"event_type\":\"purchase\",\"metadata\":{\"price\":9.5},"
		"\"geo\":{\"country\":\"LV\",\"city\":\"Riga\",\"coordinates\":[24.1,56.9]},"
		"\"session_info\":{\"device\":\"phone\"}}"));
	assert_int_equal(ev.kind, EVENT_ACTIVITY);
	assert_int_equal(ev.user_id, 8000000000000000);
	assert_string_equal(ev.type, "user.purchase");
	assert_string_equal(ev.name, "purchase");
	assert_non_null(json_get(ev.metadata, "price"));
	assert_non_null(json_get(ev.session, "device"));
	assert_non_null(ev.geo);
	same(ev.geo_country, "LV");
	same(ev.geo_city, "Riga");
	assert_null(ev.country);
	/* the least there can be */
	ev = parsed(OF("user.login", "{\"user_id\":1}"));
	assert_int_equal(ev.kind, EVENT_ACTIVITY);
	assert_null(ev.metadata);
	assert_null(ev.geo);
	assert_null(ev.session);
	/* no schema of its own: as an activity */
	assert_int_equal(parsed(OF("user.failed", "{\"user_id\":1}")).kind, EVENT_ACTIVITY);
	assert_string_equal(parsed(OF("user.recommendations_viewed", "{\"user_id\":1}")).name,
		"recommendations_viewed");
	assert_string_equal(parsed(OF("user.a.b2", "{\"user_id\":1}")).name, "a.b2");
	/* any UUID, in lower case */
	ev = parsed("{\"id\":\"6BA7B810-9DAD-11D1-80B4-00C04FD430C8\",\"type\":\"user.login\","
		    "\"timestamp\":\"" WHEN "\",\"payload\":{\"user_id\":1},\"more\":[1]}");
	assert_string_equal(ev.id, "6ba7b810-9dad-11d1-80b4-00c04fd430c8");
}

static void
times(void **state)
{
	static const struct {
		const char *text;
		int64_t us; /* 0: refused */
	} rows[] = {
		{ "2026-11-20T12:00:00.123456Z", WHEN_US },
		{ "2026-11-20T12:00:00.123456", WHEN_US }, /* without a zone: UTC */
		{ "2026-11-20 12:00:00.123456", WHEN_US },
		{ "2026-11-20T12:00:00.123456789", WHEN_US },
		{ "2026-11-20T14:00:00.123456+02:00", WHEN_US },
		{ "2026-11-20T06:30:00.123456-05:30", WHEN_US },
		{ "2026-11-20T12:00:00", WHEN_US - 123456 },
		{ "2026-11-20", 0 },
		{ "2026-02-30T12:00:00Z", 0 },
		{ "1795176000", 0 },
		{ "yesterday", 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct err e = ERR_INIT;
		struct event ev;
		char body[256];
		int n = snprintf(body, sizeof body,
			"{\"id\":\"" ID "\",\"type\":\"user.login\",\"timestamp\":\"%s\","
			"\"payload\":{\"user_id\":1}}",
			rows[i].text);

		assert_int_equal(event_parse(mem, body, (size_t)n, &ev, &e), rows[i].us ? 0 : -1);
		if (rows[i].us)
			assert_int_equal(ev.time_us, rows[i].us);
		else
			assert_string_equal(e.text, "timestamp is no ISO 8601 time");
	}
}

static void
points(void **state)
{
	static const struct {
		const char *body;
		double lon, lat;
		bool there;
	} rows[] = {
		{ GEO("{\"coordinates\":{\"type\":\"Point\",\"coordinates\":[24.5,56.75]}}"), 24.5,
			56.75, true },
		{ GEO("{\"coordinates\":[24.5,56.75]}"), 24.5, 56.75, true },
		{ GEO("{\"coordinates\":[-180,-90]}"), -180, -90, true },
		{ GEO("{\"coordinates\":[180,90]}"), 180, 90, true },
		{ GEO("{\"coordinates\":null}"), 0, 0, false },
		{ GEO("{}"), 0, 0, false },
		{ GEO("null"), 0, 0, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct event ev = parsed(rows[i].body);

		assert_int_equal(ev.has_point, rows[i].there);
		assert_true(ev.lon == rows[i].lon && ev.lat == rows[i].lat);
	}
}

#define NO_POINT "geo.coordinates is no GeoJSON Point and no [lon, lat]"
#define NO_TYPE "type is not user.<name>"
#define X10 "xxxxxxxxxx"
#define X100 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10

static void
faults(void **state)
{
	static const struct {
		const char *body, *why; /* why: all of it, or its beginning before a '~' */
	} rows[] = {
		{ "", "~" },
		{ "hello", "not valid JSON at byte ~" },
		{ "{\"id\":1", "not valid JSON at byte ~" },
		{ "[]", "the body is not an object" },
		{ "null", "the body is not an object" },
		{ "\"x\"", "the body is not an object" },
		/* the envelope */
		{ "{}", "id is missing" },
		{ "{\"type\":\"user.login\",\"timestamp\":\"" WHEN "\",\"payload\":{}}",
			"id is missing" },
		{ "{\"id\":5,\"type\":\"user.login\",\"timestamp\":\"" WHEN "\",\"payload\":{}}",
			"id is not a string" },
		{ "{\"id\":\"5\",\"type\":\"user.login\",\"timestamp\":\"" WHEN
		  "\",\"payload\":{}}",
			"id is no UUID" },
		{ "{\"id\":\"" ID "\",\"type\":\"user.login\",\"payload\":{}}",
			"timestamp is missing" },
		{ "{\"id\":\"" ID "\",\"timestamp\":\"" WHEN "\",\"payload\":{}}",
			"type is missing" },
		{ OF("login", "{\"user_id\":1}"), NO_TYPE },
		{ OF("user.", "{\"user_id\":1}"), NO_TYPE },
		{ OF("user", "{\"user_id\":1}"), NO_TYPE },
		{ OF("user.Login", "{\"user_id\":1}"), NO_TYPE },
		{ OF("user.1st", "{\"user_id\":1}"), NO_TYPE },
		{ OF("user.log in", "{\"user_id\":1}"), NO_TYPE },
		{ OF("user.login.", "{\"user_id\":1}"), NO_TYPE },
		{ OF("order.created", "{\"user_id\":1}"), NO_TYPE },
		{ OF("user." X10 X10 X10 X10 X10 X10, "{\"user_id\":1}"), NO_TYPE },
		{ OF("user.login", "[]"), "payload is not an object" },
		{ OF("user.login", "null"), "payload is missing" },
		/* every payload */
		{ OF("user.login", "{}"), "user_id is missing" },
		{ OF("user.login", "{\"user_id\":\"7\",\"geo\":5}"), "user_id is not a number" },
		{ OF("user.login", "{\"user_id\":0}"), "user_id is not a whole number from 1 on" },
		{ OF("user.login", "{\"user_id\":-1}"), "user_id is not a whole number from 1 on" },
		{ OF("user.login", "{\"user_id\":1.5}"),
			"user_id is not a whole number from 1 on" },
		{ OF("user.login", "{\"user_id\":1,\"version\":0}"),
			"version is not a whole number from 1 on" },
		{ OF("user.deleted", "{\"version\":2}"), "user_id is missing" },
		/* users */
		{ OF("user.created", "{\"user_id\":7,\"email\":\"a@b.co\"}"),
			"username is missing" },
		{ OF("user.created", "{\"user_id\":7,\"username\":\"ann\"}"), "email is missing" },
		{ OF("user.updated", "{\"user_id\":7,\"username\":\"ann\"}"), "email is missing" },
		{ OF("user.created", "{\"user_id\":7,\"username\":\"a n\",\"email\":\"a@b.co\"}"),
			"username ~" },
		{ OF("user.created", "{\"user_id\":7,\"username\":\"ann\",\"email\":\"ab\"}"),
			"email needs an @" },
		{ OF("user.created", "{\"user_id\":7,\"username\":\"ann\",\"email\":5}"),
			"email is not a string" },
		{ CREATED(",\"name\":5"), "name is not a string" },
		{ CREATED(",\"name\":\"" X100 X100 X100 X100 "x\""), "name is empty or too long" },
		{ CREATED(",\"country\":[]"), "country is not a string" },
		{ CREATED(",\"city\":{}"), "city is not a string" },
		{ OF("user.updated", "{" USER ",\"previous_country\":1}"),
			"previous_country is not a string" },
		/* activity */
		{ OF("user.login", "{\"user_id\":1,\"event_type\":\"logout\"}"),
			"event_type is another than the event's type says" },
		{ OF("user.login", "{\"user_id\":1,\"metadata\":[]}"),
			"metadata is not an object" },
		{ OF("user.login", "{\"user_id\":1,\"session_info\":\"x\"}"),
			"session_info is not an object" },
		{ GEO("5"), "geo is not an object" },
		{ GEO("{\"country\":5}"), "country is not a string" },
		{ GEO("{\"coordinates\":5}"), NO_POINT },
		{ GEO("{\"coordinates\":[]}"), NO_POINT },
		{ GEO("{\"coordinates\":[1]}"), NO_POINT },
		{ GEO("{\"coordinates\":[1,2,3]}"), NO_POINT },
		{ GEO("{\"coordinates\":[\"1\",2]}"), NO_POINT },
		{ GEO("{\"coordinates\":[180.1,2]}"), NO_POINT },
		{ GEO("{\"coordinates\":[1,-90.1]}"), NO_POINT },
		{ GEO("{\"coordinates\":{}}"), NO_POINT },
		{ GEO("{\"coordinates\":{\"type\":5,\"coordinates\":[1,2]}}"), NO_POINT },
		{ GEO("{\"coordinates\":{\"type\":\"Polygon\",\"coordinates\":[1,2]}}"), NO_POINT },
		{ GEO("{\"coordinates\":{\"type\":\"Point\"}}"), NO_POINT },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct err e = ERR_INIT;
		struct event ev;
		size_t n = strcspn(rows[i].why, "~");
		bool whole = rows[i].why[n] != '~';

		if (event_parse(mem, rows[i].body, strlen(rows[i].body), &ev, &e) == 0)
			fail_msg("taken: %s", rows[i].body);
		assert_int_equal(e.kind, ERR_INVALID);
		if (strncmp(e.text, rows[i].why, n) != 0 || (whole && strlen(e.text) != n))
			fail_msg("%s: %s", rows[i].body, e.text);
		assert_non_null(*e.text ? e.text : NULL);
	}
}

/* The reason goes into headers and logs: nothing of what came may be in it. */
static void
reasons_repeat_no_value(void **state)
{
	static const char *const bodies[] = {
		OF("user.created",
			"{\"user_id\":7,\"username\":\"ann SECRET\",\"email\":\"a@b.co\"}"),
		OF("user.created", "{\"user_id\":7,\"username\":\"ann\",\"email\":\"SECRET\"}"),
		OF("SECRET", "{\"user_id\":7}"),
		OF("user.login", "{\"user_id\":7,\"event_type\":\"SECRET\"}"),
		"{\"SECRET\"}",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
		struct err e = ERR_INIT;
		struct event ev;

		assert_int_equal(event_parse(mem, bodies[i], strlen(bodies[i]), &ev, &e), -1);
		assert_null(strstr(e.text, "SECRET"));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(sound_users, make, end),
		cmocka_unit_test_setup_teardown(sound_activity, make, end),
		cmocka_unit_test_setup_teardown(times, make, end),
		cmocka_unit_test_setup_teardown(points, make, end),
		cmocka_unit_test_setup_teardown(faults, make, end),
		cmocka_unit_test_setup_teardown(reasons_repeat_no_value, make, end),
	};

	return cmocka_run_group_tests_name("event", tests, NULL, NULL);
}
