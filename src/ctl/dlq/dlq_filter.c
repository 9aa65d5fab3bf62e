/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/rnd.h"
#include "ctl/dlq/dlq.h"
#include "model/event.h"

#define SECOND 1000000LL

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
			*us = v * units[i].seconds * SECOND;
			return true;
		}
	return false;
}

int
dlq_time_parse(const char *text, int64_t now_us, int64_t *out, struct err *e)
{
	char day[40];
	int64_t ago;

	if (ago_parse(text, &ago)) {
		*out = now_us - ago < 1 ? 1 : now_us - ago;
		return 0;
	}
	snprintf(day, sizeof day, "%s%s", text, strlen(text) == 10 ? "T00:00:00Z" : "");
	if (strlen(text) >= sizeof day || clock_parse_rfc3339(day, strlen(day), out, NULL))
		return err_set(e, ERR_INVALID,
			"\"%.40s\" is no time: want 2h, 3d, 2026-11-20 or 2026-11-20T12:00:00Z",
			text);
	return 0;
}

int
dlq_filter_error(struct dlq_filter *f, const char *regex, struct err *e)
{
	char why[128];
	int rc;

	if (f->has_error)
		return err_set(e, ERR_INVALID, "--error is given twice");
	rc = regcomp(&f->error, regex, REG_EXTENDED | REG_NOSUB);
	if (rc) {
		regerror(rc, &f->error, why, sizeof why);
		return err_set(e, ERR_INVALID, "--error is no regular expression: %s", why);
	}
	f->has_error = true;
	f->error_text = regex;
	return 0;
}

void
dlq_filter_fini(struct dlq_filter *f)
{
	if (f->has_error)
		regfree(&f->error);
	f->has_error = false;
}

bool
dlq_filter_any(const struct dlq_filter *f)
{
	return f->consumer || f->class || f->type || f->has_error || f->user || f->since_us ||
		f->until_us || f->limit;
}

static bool
same(const char *want, const char *is)
{
	return !want || (is && strcmp(want, is) == 0);
}

static bool
type_same(const char *want, const char *is)
{
	return same(want, is) || (is && strcmp(want, event_name(is)) == 0);
}

bool
dlq_filter_match(const struct dlq_filter *f, const struct dlq_entry *d)
{
	return same(f->consumer, d->consumer) && same(f->class, d->class) &&
		type_same(f->type, d->type) && (!f->user || f->user == d->user_id) &&
		(!f->since_us || d->failed_us >= f->since_us) &&
		(!f->until_us || (d->failed_us >= 0 && d->failed_us < f->until_us)) &&
		(!f->has_error || regexec(&f->error, d->error ? d->error : "", 0, NULL, 0) == 0);
}

void
dlq_filter_json(const struct dlq_filter *f, struct buf *out)
{
	const struct {
		const char *name, *text;
	} texts[] = { { "consumer", f->consumer }, { "class", f->class }, { "type", f->type },
		{ "error", f->error_text } };
	const struct {
		const char *name;
		int64_t us;
	} times[] = { { "since", f->since_us }, { "until", f->until_us } };
	const char *comma = "";
	char when[CLOCK_RFC3339_SIZE];

	buf_add_char(out, '{');
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		if (texts[i].text) {
			buf_printf(out, "%s\"%s\":", comma, texts[i].name);
			dlq_json_text(out, texts[i].text);
			comma = ",";
		}
	for (size_t i = 0; i < ARRAY_LEN(times); i++)
		if (times[i].us) {
			clock_format_rfc3339(times[i].us, when);
			buf_printf(out, "%s\"%s\":\"%s\"", comma, times[i].name, when);
			comma = ",";
		}
	if (f->user) {
		buf_printf(out, "%s\"user\":%" PRId64, comma, f->user);
		comma = ",";
	}
	if (f->limit)
		buf_printf(out, "%s\"limit\":%" PRIu64, comma, f->limit);
	buf_add_char(out, '}');
}

bool
dlq_id_match(const struct dlq_entry *d, const char *word)
{
	size_t n = strlen(word);

	return strcmp(d->id, word) == 0 || (d->event_id && strcasecmp(d->event_id, word) == 0) ||
		(n >= DLQ_FRONT_MIN && strncmp(d->id, word, n) == 0);
}

/* Nobody outside can make two that are alike: each run has its own salt. 0 is an empty place. */
static uint64_t
hash_of(struct dlq_set *s, const char *a, const char *b)
{
	struct dlq_hash h;

	if (!s->salt)
		s->salt = rnd_u64() | 1;
	dlq_hash_begin(&h);
	dlq_hash_add(&h, &s->salt, sizeof s->salt);
	dlq_hash_add(&h, a, strlen(a));
	if (b)
		dlq_hash_add(&h, b, strlen(b));
	h.half[0] ^= h.half[1];
	return h.half[0] ? h.half[0] : 1;
}

/* Its place, or the empty one where it belongs. */
static uint64_t *
place_of(const struct dlq_set *s, uint64_t h)
{
	size_t i = h & (s->room - 1);

	while (s->list[i] && s->list[i] != h)
		i = (i + 1) & (s->room - 1);
	return &s->list[i];
}

static void
grow(struct dlq_set *s)
{
	struct dlq_set old = *s;

	s->room = old.room ? 2 * old.room : 64;
	s->list = must_calloc(s->room, sizeof *s->list);
	for (size_t i = 0; i < old.room; i++)
		if (old.list[i])
			*place_of(s, old.list[i]) = old.list[i];
	free(old.list);
}

static bool
hash_add(struct dlq_set *s, uint64_t h)
{
	uint64_t *at;

	if (4 * (s->count + 1) > 3 * s->room)
		grow(s);
	at = place_of(s, h);
	if (*at)
		return false;
	*at = h;
	s->count++;
	return true;
}

bool
dlq_set_add(struct dlq_set *s, const char *a, const char *b)
{
	return hash_add(s, hash_of(s, a, b));
}

bool
dlq_set_has(struct dlq_set *s, const char *a, const char *b)
{
	return s->count && *place_of(s, hash_of(s, a, b));
}

void
dlq_set_merge(struct dlq_set *s, struct dlq_set *from)
{
	if (s->count == 0) {
		dlq_set_fini(s);
		*s = *from;
	} else {
		must(from->count == 0 || from->salt == s->salt);
		for (size_t i = 0; i < from->room; i++)
			if (from->list[i])
				hash_add(s, from->list[i]);
		free(from->list);
	}
	*from = (struct dlq_set){ .salt = s->salt };
}

void
dlq_set_fini(struct dlq_set *s)
{
	free(s->list);
	*s = (struct dlq_set){ 0 };
}
