/* SPDX-License-Identifier: MIT */
#include "base/log_format.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/json_out.h"
#include "base/utf8.h"

static const struct {
	const char *name, *padded, *colour;
	int priority; /* of syslog */
} levels[] = {
	[LOG_LEVEL_DEBUG] = { "debug", "debug", "\033[2m", 7 },
	[LOG_LEVEL_INFO] = { "info", "info ", "", 6 },
	[LOG_LEVEL_WARN] = { "warn", "warn ", "\033[33m", 4 },
	[LOG_LEVEL_ERROR] = { "error", "error", "\033[31m", 3 },
};

static void
add_json_cut(struct buf *out, const char *text)
{
	size_t n = strlen(text), cut = utf8_cut(text, n, LOG_VALUE_MAX);

	buf_add_json_string(out, text, cut);
	if (cut < n && !out->failed) { /* the dots stand inside the quotes */
		out->length--;
		buf_add_text(out, "...\"");
	}
}

/*
 * Numbers and booleans look the same in every form. JSON has no infinite numbers, so
 * they become null.
 */
static void
add_plain(struct buf *out, const struct log_field *f)
{
	if (f->type == LOG_FIELD_INT)
		buf_add_i64(out, f->u.i);
	else if (f->type == LOG_FIELD_BOOL)
		buf_add_text(out, f->u.i ? "true" : "false");
	else if (isfinite(f->u.d))
		buf_printf(out, "%.6g", f->u.d);
	else
		buf_add_text(out, "null");
}

static bool
left_out(const struct log_field *f)
{
	return f->type == LOG_FIELD_STRING && !f->u.s;
}

static bool
bare(const char *text)
{
	size_t n = strspn(text,
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-:/+@%,*");

	return n > 0 && n < 200 && text[n] == '\0';
}

void
log_format_text(const struct log_line *l, bool colour, struct buf *out)
{
	char at[CLOCK_RFC3339_SIZE];

	clock_format_rfc3339(l->wall_us, at);
	buf_add(out, at, 23); /* milliseconds are enough to read */
	buf_add_text(out, "Z ");
	if (colour)
		buf_add_text(out, levels[l->level].colour);
	buf_add_text(out, levels[l->level].padded);
	if (colour && *levels[l->level].colour)
		buf_add_text(out, "\033[0m");
	buf_printf(out, " %s: %s", l->program, l->message);
	for (const struct log_field *f = l->fields; f->type != LOG_FIELD_END; f++) {
		if (left_out(f))
			continue;
		buf_printf(out, " %s=", f->name);
		if (f->type != LOG_FIELD_STRING)
			add_plain(out, f);
		else if (bare(f->u.s))
			buf_add_text(out, f->u.s);
		else
			add_json_cut(out, f->u.s);
	}
	if (l->repeated)
		buf_printf(out, " repeated=%llu", (unsigned long long)l->repeated);
	buf_add_char(out, '\n');
}

void
log_format_json(const struct log_line *l, struct buf *out)
{
	char at[CLOCK_RFC3339_SIZE];
	struct json_out o;

	clock_format_rfc3339(l->wall_us, at);
	json_out_init(&o, out);
	json_out_object(&o, NULL);
	json_out_text(&o, "time", at);
	json_out_text(&o, "level", levels[l->level].name);
	json_out_name(&o, "program");
	add_json_cut(out, l->program);
	json_out_name(&o, "message");
	add_json_cut(out, l->message);
	for (const struct log_field *f = l->fields; f->type != LOG_FIELD_END; f++) {
		if (left_out(f))
			continue;
		json_out_name(&o, f->name);
		if (f->type == LOG_FIELD_STRING)
			add_json_cut(out, f->u.s);
		else
			add_plain(out, f);
	}
	if (l->repeated)
		json_out_i64(&o, "repeated", (int64_t)l->repeated);
	json_out_end(&o);
	buf_add_char(out, '\n');
}

/* Uses the protocol's form with a length, so no byte of a value can begin another field. */
static void
add_journal(struct buf *out, const char *name, const char *value, size_t length)
{
	uint64_t n = length;
	char little[8];

	for (int i = 0; i < 8; i++)
		little[i] = (char)(n >> (8 * i));
	for (const char *p = name; *p; p++)
		buf_add_char(out, *p >= 'a' && *p <= 'z' ? (char)(*p - ('a' - 'A')) : *p);
	buf_add_char(out, '\n');
	buf_add(out, little, sizeof little);
	buf_add(out, value, length);
	buf_add_char(out, '\n');
}

/* journalctl shows messages alone, so the message repeats the reason. */
static const char *
reason_of(const struct log_line *l)
{
	for (const struct log_field *f = l->fields; f->type != LOG_FIELD_END; f++)
		if (f->type == LOG_FIELD_STRING && f->u.s &&
			(strcmp(f->name, "error") == 0 || strcmp(f->name, "why") == 0 ||
				strcmp(f->name, "state") == 0))
			return f->u.s;
	return NULL;
}

void
log_format_journal(const struct log_line *l, struct buf *out)
{
	const char *reason = reason_of(l);
	struct buf value;

	buf_printf(out, "PRIORITY=%d\n", levels[l->level].priority);
	add_journal(out, "syslog_identifier", l->program, strlen(l->program));
	buf_init(&value, LOG_LINE_MAX);
	buf_add_text(&value, l->message);
	if (reason) {
		buf_add_text(&value, ": ");
		buf_add(&value, reason, utf8_cut(reason, strlen(reason), LOG_VALUE_MAX));
	}
	add_journal(out, "message", buf_text(&value), value.length);
	buf_fini(&value);
	for (const struct log_field *f = l->fields; f->type != LOG_FIELD_END; f++) {
		if (left_out(f))
			continue;
		if (f->type == LOG_FIELD_STRING) {
			add_journal(out, f->name, f->u.s,
				utf8_cut(f->u.s, strlen(f->u.s), LOG_VALUE_MAX));
			continue;
		}
		buf_init(&value, 64);
		add_plain(&value, f);
		add_journal(out, f->name, buf_text(&value), value.length);
		buf_fini(&value);
	}
	if (l->repeated)
		buf_printf(out, "REPEATED=%llu\n", (unsigned long long)l->repeated);
}
