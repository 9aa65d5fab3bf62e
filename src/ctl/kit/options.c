/* SPDX-License-Identifier: MIT */
#include "ctl/kit/options.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define SECOND_US 1000000LL

/* ---- values ---- */

bool
option_number(const char *text, int64_t min, int64_t max, int64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoll(text, &end, 10);
	return *text >= '0' && *text <= '9' && errno == 0 && *end == '\0' && *out >= min &&
		*out <= max;
}

bool
option_rate(const char *text, int64_t *out)
{
	size_t n = strspn(text, "0123456789");
	char digits[20];

	if (n == 0 || n >= sizeof digits || (text[n] && strcmp(text + n, "/s") != 0))
		return false;
	memcpy(digits, text, n);
	digits[n] = '\0';
	return option_number(digits, 1, OPTION_RATE_MAX, out);
}

bool
option_day(const char *text)
{
	char whole[CLOCK_RFC3339_SIZE], back[CLOCK_RFC3339_SIZE];
	int64_t us;

	if (strlen(text) != 10)
		return false;
	snprintf(whole, sizeof whole, "%.10sT00:00:00Z", text);
	if (clock_parse_rfc3339(whole, strlen(whole), &us, NULL))
		return false;
	clock_format_rfc3339(us, back);
	return memcmp(back, text, 10) == 0;
}

/* "90s", "5m", "2h", "3d", "1w"; false: not of that form. */
static bool
ago_parse(const char *text, int64_t *us)
{
	static const struct {
		char unit;
		int64_t seconds;
	} units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 }, { 'w', 604800 } };
	size_t n = strspn(text, "0123456789");
	int64_t v = 0;

	if (n == 0 || n > 6 || strlen(text) != n + 1)
		return false;
	for (size_t i = 0; i < n; i++)
		v = v * 10 + (text[i] - '0');
	for (size_t i = 0; i < ARRAY_LEN(units); i++)
		if (units[i].unit == text[n]) {
			*us = v * units[i].seconds * SECOND_US;
			return true;
		}
	return false;
}

int
option_time(const char *text, int64_t now_us, int64_t *out, struct err *e)
{
	char whole[40];
	int64_t ago;

	if (ago_parse(text, &ago)) {
		*out = now_us - ago < 1 ? 1 : now_us - ago;
		return 0;
	}
	snprintf(whole, sizeof whole, "%s%s", text, strlen(text) == 10 ? "T00:00:00Z" : "");
	if (strlen(text) >= sizeof whole || clock_parse_rfc3339(whole, strlen(whole), out, NULL))
		return err_set(e, ERR_INVALID,
			"\"%.40s\" is no time: want 2h, 3d, 2026-11-20 or 2026-11-20T12:00:00Z",
			text);
	return 0;
}

static int
value_take(const struct ctl_option *o, const char *value, struct err *e)
{
	if (o->parse)
		return o->parse(o->to, value, e);
	if (o->time_us)
		return option_time(value, clock_wall_us(), o->time_us, e);
	if (o->number && !option_number(value, o->min, o->max, o->number))
		return err_set(e, ERR_INVALID,
			"%s wants a whole number from %" PRId64 " to %" PRId64 ", not \"%.40s\"",
			o->name, o->min, o->max, value);
	if (o->rate && !option_rate(value, o->rate))
		return err_set(e, ERR_INVALID, "%s wants N/s, such as 100/s, not \"%.40s\"",
			o->name, value);
	if (o->day && !option_day(value))
		return err_set(e, ERR_INVALID, "%s wants a day like 2026-11-20, not \"%.40s\"",
			o->name, value);
	if (o->day)
		*o->day = value;
	if (o->text)
		*o->text = value;
	return 0;
}

/* ---- words ---- */

/* The option of this name, or the only one whose name begins so; NULL: there is none. */
static const struct ctl_option *
option_find(const struct ctl_option *options, const char *word, size_t length)
{
	const struct ctl_option *found = NULL;
	bool several = false;

	for (const struct ctl_option *o = options; o->name; o++) {
		if (strncmp(o->name, word, length) != 0)
			continue;
		if (!o->name[length])
			return o;
		several = found != NULL;
		found = o;
	}
	return length > 2 && !several ? found : NULL;
}

/* The option at argv[*i]; *i is moved onto its last word. */
static int
option_take(const struct ctl *c, const struct ctl_option *options, int argc, char **argv, int *i,
	struct err *e)
{
	const char *word = argv[*i], *value = strchr(word, '=');
	size_t length = value ? (size_t)(value - word) : strlen(word);
	const struct ctl_option *o = option_find(options, word, length);

	if (!o)
		return err_set(e, ERR_INVALID,
			"%s takes no option \"%.*s\"; `onboardctl %s --help` lists them", argv[0],
			(int)length, word, c->verb);
	if (o->flag && value)
		return err_set(e, ERR_INVALID, "%s takes no value", o->name);
	if (o->flag) {
		*o->flag = true;
		return 0;
	}
	if (!value && *i + 1 == argc)
		return err_set(e, ERR_INVALID, "%s wants a value", o->name);
	return value_take(o, value ? value + 1 : argv[++*i], e);
}

int
options_take(const struct ctl *c, const struct ctl_option *options, int max, int argc, char **argv)
{
	bool ended = false;
	struct err e;
	int words = 0;

	for (int i = 1; i < argc; i++) {
		if (ended || argv[i][0] != '-' || !argv[i][1]) {
			argv[1 + words++] = argv[i];
		} else if (strcmp(argv[i], "--") == 0) {
			ended = true;
		} else if (option_take(c, options, argc, argv, &i, &e)) {
			ctl_fail(c, CTL_USAGE, "%s", e.text);
			return -1;
		}
	}
	argv[1 + words] = NULL;
	if (words > max) {
		ctl_fail(c, CTL_USAGE, "what is \"%s\"?", argv[1 + max]);
		return -1;
	}
	return words;
}

const struct consumer_row *
option_consumer(const struct ctl *c, const char *name)
{
	const struct consumer_row *row = consumer_row_find(name);

	if (!row)
		ctl_fail(c, CTL_USAGE, "no consumer is called \"%s\"; there are:" CONSUMER_NAMES,
			name);
	return row;
}
