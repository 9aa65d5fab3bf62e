/* SPDX-License-Identifier: MIT */
#include "cm.h"

#include "base/clock.h"

static void
parses_and_formats(void **state)
{
	/* NULL: refused */
	static const struct {
		const char *text, *same;
	} rows[] = {
		{ "2026-11-20T12:00:00.123456Z", "2026-11-20T12:00:00.123456Z" },
		{ "2026-11-20T12:00:00Z", "2026-11-20T12:00:00.000000Z" },
		{ "2026-11-20t12:00:00.5z", "2026-11-20T12:00:00.500000Z" },
		{ "2026-11-20 12:00:00.123456789+02:00", "2026-11-20T10:00:00.123456Z" },
		{ "2026-11-20T00:30:00+0200", "2026-11-19T22:30:00.000000Z" },
		{ "2026-12-31T23:30:00-01", "2027-01-01T00:30:00.000000Z" },
		{ "2026-11-20T12:00:00", "2026-11-20T12:00:00.000000Z" },
		{ "2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000000Z" },
		{ "2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000000Z" },
		{ "1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000000Z" },
		{ "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z" },
		{ "2000-02-29T12:00:00Z", "2000-02-29T12:00:00.000000Z" },
		{ "2100-02-29T12:00:00Z", NULL },
		{ "2025-02-29T00:00:00Z", NULL },
		{ "2026-13-01T00:00:00Z", NULL },
		{ "2026-04-31T00:00:00Z", NULL },
		{ "2026-11-20T24:00:00Z", NULL },
		{ "2026-11-20T12:60:00Z", NULL },
		{ "2026-11-20T12:00:61Z", NULL },
		{ "2026-11-20T12:00:00.Z", NULL },
		{ "2026-11-20T12:00:00Zx", NULL },
		{ "2026-11-20T12:00:00+24:00", NULL },
		{ "2026-11-20T12:00:00+02:", NULL },
		{ "2026-11-20T12:00:00+2", NULL },
		{ "1969-12-31T23:59:59Z", NULL },
		{ "1970-01-01T00:00:00+01:00", NULL },
		{ "9999-12-31T23:59:59-01:00", NULL },
		{ "2026-11-20", NULL },
		{ "20261120T120000Z", NULL },
		{ "+026-11-20T12:00:00Z", NULL },
		{ " 2026-11-20T12:00:00Z", NULL },
		{ "", NULL },
	};
	char out[CLOCK_RFC3339_SIZE];
	struct err e;
	int64_t us;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int rc = clock_parse_rfc3339(rows[i].text, strlen(rows[i].text), &us, &e);

		if (rc != (rows[i].same ? 0 : -1))
			fail_msg("row %zu: %s", i, rows[i].text);
		if (rc == 0) {
			clock_format_rfc3339(us, out);
			assert_string_equal(out, rows[i].same);
		}
	}
}

/* Every day from 1970 to 2200 goes through format and parse. */
static void
every_day_comes_back(void **state)
{
	char out[CLOCK_RFC3339_SIZE];
	struct err e;
	int64_t back;

	(void)state;
	for (int64_t day = 0; day < 84000; day++) {
		clock_format_rfc3339(day * 86400000000, out);
		assert_int_equal(clock_parse_rfc3339(out, strlen(out), &back, &e), 0);
		assert_int_equal(back, day * 86400000000);
	}
}

static void
a_test_turns_it(void **state)
{
	(void)state;
	clock_test_set(5000, 7000);
	assert_int_equal(clock_mono_ms(), 5);
	clock_test_advance_ms(10);
	assert_int_equal(clock_mono_us(), 15000);
	assert_int_equal(clock_wall_us(), 17000);
	clock_test_release();
	assert_true(clock_wall_us() > 1700000000000000);
	assert_true(clock_mono_us() <= clock_mono_us());
	assert_true(clock_cpu_us() > 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parses_and_formats),
		cmocka_unit_test(every_day_comes_back),
		cmocka_unit_test(a_test_turns_it),
	};

	return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
