/* SPDX-License-Identifier: MIT */
#include "base/clock.h"

#include <stdatomic.h>
#include <time.h>

#include "base/fault.h"

static atomic_bool turned; /* a test has set the clocks */
static _Atomic int64_t turned_mono_us, turned_wall_us;

static int64_t
read_us(clockid_t id)
{
	struct timespec t;

	must(clock_gettime(id, &t) == 0);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t
clock_mono_us(void)
{
	return atomic_load_explicit(&turned, memory_order_relaxed) ? atomic_load(&turned_mono_us)
								   : read_us(CLOCK_MONOTONIC);
}

int64_t
clock_mono_ms(void)
{
	return clock_mono_us() / 1000;
}

int64_t
clock_wall_us(void)
{
	return atomic_load_explicit(&turned, memory_order_relaxed)
		? atomic_load(&turned_wall_us)
		: read_us(CLOCK_REALTIME) + fault_ahead_us(FAULT_clock_wall);
}

int64_t
clock_cpu_us(void)
{
	return read_us(CLOCK_PROCESS_CPUTIME_ID);
}

void
clock_test_set(int64_t mono_us, int64_t wall_us)
{
	atomic_store(&turned_mono_us, mono_us);
	atomic_store(&turned_wall_us, wall_us);
	atomic_store(&turned, true);
}

void
clock_test_advance_ms(int64_t ms)
{
	atomic_fetch_add(&turned_mono_us, ms * 1000);
	atomic_fetch_add(&turned_wall_us, ms * 1000);
}

void
clock_test_release(void)
{
	atomic_store(&turned, false);
}

/* Days from 1970-01-01 to a date. The year begins in March here, so that a leap day is its last. */
static int64_t
days_of(int64_t year, int month, int day)
{
	int64_t y = month <= 2 ? year - 1 : year;
	int64_t era = y / 400, of_era = y % 400;
	int64_t of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static int
days_in(int year, int month)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return days[month - 1] + (month == 2 && leap);
}

/* Writes n with `digits` digits, then the byte `end`; returns the byte after it. */
static char *
digits_put(char *out, int n, int digits, char end)
{
	for (int i = digits - 1; i >= 0; i--, n /= 10)
		out[i] = (char)('0' + n % 10);
	out[digits] = end;
	return out + digits + 1;
}

void
clock_format_rfc3339(int64_t wall_us, char out[static CLOCK_RFC3339_SIZE])
{
	time_t s = (time_t)(wall_us / 1000000);
	struct tm t;

	must(wall_us >= 0 && gmtime_r(&s, &t) && t.tm_year < 8100);
	out = digits_put(out, t.tm_year + 1900, 4, '-');
	out = digits_put(out, t.tm_mon + 1, 2, '-');
	out = digits_put(out, t.tm_mday, 2, 'T');
	out = digits_put(out, t.tm_hour, 2, ':');
	out = digits_put(out, t.tm_min, 2, ':');
	out = digits_put(out, t.tm_sec, 2, '.');
	*digits_put(out, (int)(wall_us % 1000000), 6, 'Z') = '\0';
}

struct scan {
	const char *p, *end;
};

/* Reads the next n digits; -1: they are no digits. */
static int
digits(struct scan *s, int n)
{
	int value = 0;

	if (s->end - s->p < n)
		return -1;
	for (; n > 0; n--, s->p++) {
		if (*s->p < '0' || *s->p > '9')
			return -1;
		value = value * 10 + (*s->p - '0');
	}
	return value;
}

static bool
literal(struct scan *s, char c)
{
	if (s->p == s->end || *s->p != c)
		return false;
	s->p++;
	return true;
}

/* ".123456789" as µs: at least one digit; digits after the sixth are ignored. -1: wrong */
static int
fraction_us(struct scan *s)
{
	int us = 0, n = 0;

	if (!literal(s, '.') && !literal(s, ','))
		return 0;
	for (; s->p < s->end && *s->p >= '0' && *s->p <= '9'; s->p++, n++)
		if (n < 6)
			us = us * 10 + (*s->p - '0');
	for (int i = n; i < 6; i++)
		us *= 10;
	return n > 0 ? us : -1;
}

/* "Z", "+02:00", "+0200", "+02" or nothing, up to the end of the text. */
static bool
offset_minutes(struct scan *s, int *out)
{
	int sign, hours, minutes = 0;

	*out = 0;
	if (s->p == s->end)
		return true;
	if (literal(s, 'Z') || literal(s, 'z'))
		return s->p == s->end;
	if (!literal(s, '+') && *s->p != '-')
		return false;
	sign = s->p[-1] == '+' ? 1 : -1;
	if (sign < 0)
		s->p++;
	hours = digits(s, 2);
	if (s->p < s->end) {
		literal(s, ':');
		minutes = digits(s, 2);
	}
	*out = sign * (hours * 60 + minutes);
	return hours >= 0 && hours <= 23 && minutes >= 0 && minutes <= 59 && s->p == s->end;
}

int
clock_parse_rfc3339(const char *text, size_t length, int64_t *wall_us, struct err *e)
{
	struct scan s = { text, text + length };
	int year, month, day, hour, minute, second, us, offset;
	int64_t at;

	year = digits(&s, 4);
	month = literal(&s, '-') ? digits(&s, 2) : -1;
	day = literal(&s, '-') ? digits(&s, 2) : -1;
	if (year < 1970 || month < 1 || month > 12 || day < 1 || day > days_in(year, month))
		return err_set(e, ERR_INVALID, "not a date from 1970 on as 2026-11-20T12:00:00Z");
	if (!literal(&s, 'T') && !literal(&s, 't') && !literal(&s, ' '))
		return err_set(e, ERR_INVALID, "not a time as 2026-11-20T12:00:00Z");
	hour = digits(&s, 2);
	minute = literal(&s, ':') ? digits(&s, 2) : -1;
	second = literal(&s, ':') ? digits(&s, 2) : -1;
	us = fraction_us(&s);
	if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60 ||
		us < 0 || !offset_minutes(&s, &offset))
		return err_set(e, ERR_INVALID, "not a time as 2026-11-20T12:00:00Z");
	at = days_of(year, month, day) * 86400 + hour * 3600 + (minute - offset) * 60 + second;
	if (at < 0 || at >= days_of(9999, 12, 31) * 86400 + 86400)
		return err_set(e, ERR_INVALID, "not a time between 1970 and 9999");
	*wall_us = at * 1000000 + us;
	return 0;
}
