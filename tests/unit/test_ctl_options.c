/* SPDX-License-Identifier: MIT */
#include "cm.h"

#include <fcntl.h>
#include <unistd.h>

#include "ctl/kit/options.h"

#define NOW 1795176000123456LL /* 2026-11-20T12:00:00.123456Z */

static void
times_are_ago_or_given(void **state)
{
	static const struct {
		const char *text;
		int64_t us;
	} rows[] = { { "90s", NOW - 90000000LL }, { "2h", NOW - 7200000000LL },
		{ "3d", NOW - 3 * 86400000000LL }, { "1w", NOW - 7 * 86400000000LL },
		{ "2026-11-20T12:00:00.123456Z", NOW }, { "2026-11-20", NOW - 43200123456LL },
		{ "2026-11-20T14:00:00.123456+02:00", NOW } };
	static const char *const bad[] = { "", "h", "2", "2y", "-2h", "1.5h", "yesterday",
		"2026-13-01", "9999999h", "2h ", "2026-11-20T12:00:00Zx" };
	struct err e = ERR_INIT;
	int64_t us;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(option_time(rows[i].text, NOW, &us, &e), 0);
		assert_true(us == rows[i].us);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (option_time(bad[i], NOW, &us, &e) == 0)
			fail_msg("\"%s\" was taken for a time", bad[i]);
}

static void
numbers_and_rates_have_bounds(void **state)
{
	static const char *const bad[] = { "", "x", "-1", "+1", " 1", "1 ", "1x", "0", "11",
		"99999999999999999999" };
	static const char *const bad_rates[] = { "", "0", "fast", "/s", "1/m", "1/s ", "10000001",
		"99999999999999999999/s" };
	int64_t n = 0;

	(void)state;
	assert_true(option_number("10", 1, 10, &n) && n == 10);
	assert_true(option_number("9223372036854775807", 1, INT64_MAX, &n) && n == INT64_MAX);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (option_number(bad[i], 1, 10, &n))
			fail_msg("\"%s\" was taken for a number from 1 to 10", bad[i]);
	assert_true(option_rate("100", &n) && n == 100);
	assert_true(option_rate("10000000/s", &n) && n == 10000000);
	for (size_t i = 0; i < ARRAY_LEN(bad_rates); i++)
		if (option_rate(bad_rates[i], &n))
			fail_msg("\"%s\" was taken for a rate", bad_rates[i]);
}

static void
days_exist(void **state)
{
	static const char *const bad[] = { "", "yesterday", "2026-02-29", "2026-13-01", "2026-1-1",
		"2026-11-20Z", "20261120" };

	(void)state;
	assert_true(option_day("2026-11-20") && option_day("2028-02-29"));
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (option_day(bad[i]))
			fail_msg("\"%s\" was taken for a day", bad[i]);
}

/* ---- command lines ---- */

struct wanted {
	bool all;
	const char *consumer, *class, *day;
	int64_t limit, rate, since_us;
	int parsed;
};

static int
seven_parse(void *to, const char *value, struct err *e)
{
	if (strcmp(value, "seven") != 0)
		return err_set(e, ERR_INVALID, "--seven wants seven");
	*(int *)to = 7;
	return 0;
}

/* The words of the line, and how many the options left; said gets what stderr got. */
static int
line_take(const char *line, struct wanted *w, char **words, char *said, size_t size)
{
	static char text[400];
	static const struct ctl c = { .verb = "dlq" };
	const struct ctl_option options[] = { { "--all", .flag = &w->all },
		{ "--consumer", .text = &w->consumer }, { "--class", .text = &w->class },
		{ "--limit", .number = &w->limit, .min = 1, .max = 100 },
		{ "--rate", .rate = &w->rate }, { "--day", .day = &w->day },
		{ "--since", .time_us = &w->since_us },
		{ "--seven", .parse = seven_parse, .to = &w->parsed }, { 0 } };
	char path[] = "/tmp/onboard-test-XXXXXX", *rest;
	int saved = dup(STDERR_FILENO), file = mkstemp(path), argc = 0, left;
	ssize_t n;

	*w = (struct wanted){ .limit = 5 };
	snprintf(text, sizeof text, "%s", line);
	for (char *word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
		words[argc++] = strcmp(word, "EMPTY") == 0 ? word + 5 : word;
	words[argc] = NULL;
	fflush(stderr);
	dup2(file, STDERR_FILENO);
	left = options_take(&c, options, 2, argc, words);
	fflush(stderr);
	dup2(saved, STDERR_FILENO);
	close(saved);
	n = pread(file, said, size - 1, 0);
	said[n > 0 ? n : 0] = '\0';
	close(file);
	unlink(path);
	return left;
}

static void
options_stand_anywhere(void **state)
{
	char *words[40], said[400];
	struct wanted w;

	(void)state;
	assert_int_equal(line_take("list", &w, words, said, sizeof said), 0);
	assert_true(w.limit == 5 && !w.all && !w.consumer && !words[1]);
	assert_int_equal(
		line_take("list a --all --limit 7 b --rate=9/s", &w, words, said, sizeof said), 2);
	assert_true(w.all && w.limit == 7 && w.rate == 9);
	assert_string_equal(words[0], "list");
	assert_string_equal(words[1], "a");
	assert_string_equal(words[2], "b");
	assert_null(words[3]);
	/* the beginning of a name; the last one counts; values may begin with "-", or be empty */
	assert_int_equal(line_take("list --cons x --co=-y", &w, words, said, sizeof said), 0);
	assert_string_equal(w.consumer, "-y");
	assert_int_equal(line_take("list --consumer= --class EMPTY", &w, words, said, sizeof said),
		0);
	assert_string_equal(w.consumer, "");
	assert_string_equal(w.class, "");
	/* "-" is a word, and so is everything behind "--" */
	assert_int_equal(line_take("list - --all -- --limit", &w, words, said, sizeof said), 2);
	assert_true(w.all && w.limit == 5);
	assert_string_equal(words[1], "-");
	assert_string_equal(words[2], "--limit");
	assert_int_equal(line_take("list --day 2026-11-20 --since 2026-11-20 --seven seven", &w,
				 words, said, sizeof said),
		0);
	assert_string_equal(w.day, "2026-11-20");
	assert_true(w.since_us == NOW - 43200123456LL && w.parsed == 7);
	assert_string_equal(said, "");
}

static void
faults_are_told(void **state)
{
	static const struct {
		const char *line, *said;
	} rows[] = {
		{ "list --yes",
			"list takes no option \"--yes\"; `onboardctl dlq --help` lists them" },
		{ "list --yes=1",
			"list takes no option \"--yes\"; `onboardctl dlq --help` lists them" },
		{ "list -a", "list takes no option \"-a\"; `onboardctl dlq --help` lists them" },
		{ "list --c x",
			"list takes no option \"--c\"; `onboardctl dlq --help` lists them" },
		{ "list --all=1", "--all takes no value" },
		{ "list --limit", "--limit wants a value" },
		{ "list --limit 0", "--limit wants a whole number from 1 to 100, not \"0\"" },
		{ "list --rate x", "--rate wants N/s, such as 100/s, not \"x\"" },
		{ "list --day x", "--day wants a day like 2026-11-20, not \"x\"" },
		{ "list --since x",
			"\"x\" is no time: want 2h, 3d, 2026-11-20 or 2026-11-20T12:00:00Z" },
		{ "list --seven eight", "--seven wants seven" },
		{ "list a b c", "what is \"c\"?" },
	};
	char *words[40], said[400], want[400];
	struct wanted w;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(line_take(rows[i].line, &w, words, said, sizeof said), -1);
		snprintf(want, sizeof want, "onboardctl dlq: %s\n", rows[i].said);
		assert_string_equal(said, want);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(times_are_ago_or_given),
		cmocka_unit_test(numbers_and_rates_have_bounds),
		cmocka_unit_test(days_exist),
		cmocka_unit_test(options_stand_anywhere),
		cmocka_unit_test(faults_are_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
