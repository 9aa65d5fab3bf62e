/* SPDX-License-Identifier: MIT */
/* show: everything about an entry, and what to do with it. */
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/utf8.h"
#include "ctl/dlq/dlq.h"
#include "ctl/dlq/dlq_line.h"
#include "ctl/kit/json.h"
#include "ctl/kit/table.h"
#include "model/dead_letter.h"

#define SORT_MEMORY (8u << 20)
#define BODY_SHOWN 16384

struct show {
	struct dlq *d;
	struct dlq_selection s;
	struct dlq_sort *sort;
	struct buf text;
	uint64_t shown;
};

static void PRINTF_LIKE(3, 4) row(struct buf *out, const char *name, const char *format, ...)
{
	char text[2048];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	buf_printf(out, "%-12s ", name);
	table_clean(out, text, strlen(text));
	buf_add_char(out, '\n');
}

static void
line_indent(struct buf *out, unsigned depth)
{
	buf_printf(out, "\n%*s", (int)(2 * depth), "");
}

static void
json_show(struct buf *out, const struct json *v, unsigned depth)
{
	bool object = json_type(v) == JSON_OBJECT;

	if ((!object && json_type(v) != JSON_ARRAY) || !json_first(v)) {
		if (json_string(v))
			ctl_json_quote(out, json_string(v), strlen(json_string(v)));
		else
			json_write(v, out);
		return;
	}
	buf_add_char(out, object ? '{' : '[');
	for (const struct json *p = json_first(v); p; p = json_next(p)) {
		line_indent(out, depth + 1);
		if (object) {
			ctl_json_quote(out, json_name(p), strlen(json_name(p)));
			buf_add_text(out, ": ");
		}
		json_show(out, p, depth + 1);
		if (json_next(p))
			buf_add_char(out, ',');
	}
	line_indent(out, depth);
	buf_add_char(out, object ? '}' : ']');
}

static void
body_show(struct buf *out, const struct broker_message *m, struct arena *mem)
{
	const struct json *v;
	size_t n = m->length < BODY_SHOWN ? m->length : BODY_SHOWN;
	struct err why = ERR_INIT;

	if (m->length <= BODY_SHOWN && json_parse(mem, m->body, m->length, &v, &why) == 0) {
		json_show(out, v, 0);
		buf_add_char(out, '\n');
		return;
	}
	buf_printf(out, "%zu bytes%s%s\n", m->length, *why.text ? ", no JSON: " : "", why.text);
	table_clean(out, m->body, utf8_cut(m->body, m->length, n));
	buf_add_text(out, n < m->length ? "\n… (`dlq export` has all of it)\n" : "\n");
}

static void
value_json(struct buf *out, const struct broker_value *v)
{
	struct json_out o;

	buf_clear(out);
	json_out_init(&o, out);
	json_out_object(&o, NULL);
	dlq_value_write(&o, v, 0);
	json_out_end(&o);
}

static void
headers_show(struct buf *out, const struct broker_table *t)
{
	const char *name, *text;
	struct broker_value v;
	size_t at = 0, n, length;
	struct buf one;

	buf_init(&one, 1 << 20);
	while (broker_table_next(t, &at, &name, &n, &v)) {
		if (dead_letter_of_delivery(name, n))
			continue;
		buf_add_text(out, "  ");
		table_clean(out, name, n);
		buf_add_text(out, ": ");
		if (broker_value_text(&v, &text, &length)) {
			table_clean(out, text, length < 2048 ? length : 2048);
		} else if (v.kind && strchr("bBsuIilL", v.kind)) {
			buf_add_i64(out, v.number);
		} else {
			value_json(&one, &v);
			/* without the braces */
			table_clean(out, buf_text(&one) + 1, one.length - 2);
		}
		buf_add_char(out, '\n');
	}
	buf_fini(&one);
}

static void
deaths_show(struct buf *out, const struct broker_message *m, struct arena *mem)
{
	struct broker_table t;
	size_t at = 0, n = 0;

	while (dead_letter_death(m, &at, &t)) {
		int64_t s = dead_letter_death_s(&t);
		char when[CLOCK_RFC3339_SIZE] = "at no known time";
		const char *queue = broker_table_text(&t, "queue", &n), *reason;

		queue = queue ? arena_strndup(mem, queue, n) : "?";
		reason = broker_table_text(&t, "reason", &n);
		reason = reason ? arena_strndup(mem, reason, n) : "?";
		if (s >= 0)
			clock_format_rfc3339(s * 1000000, when);
		row(out, "  x-death", "%s  %s in %s, %" PRId64 " times", when, reason, queue,
			broker_table_int(&t, "count", 0));
	}
}

static void
timeline_show(struct buf *out, const struct dlq_entry *d, const struct broker_message *m,
	struct arena *mem)
{
	static const int64_t waits[] = { 1, 2, 4 };
	int64_t first, last;

	buf_add_text(out, "\nTimeline\n");
	row(out, "  failed", "%s  for the first time",
		d->first_failed_at ? d->first_failed_at : "at no known time");
	for (int64_t i = 0; i < d->retry_count && i < 3; i++)
		row(out, "  retried", "%" PRId64 " s later, in vain", waits[i]);
	row(out, "  gave up", "%s  %s", d->failed_at ? d->failed_at : "at no known time",
		d->by_broker       ? "by the broker itself"
			: d->class ? d->class
				   : "no class");
	if (d->first_failed_at && d->failed_at &&
		clock_parse_rfc3339(d->first_failed_at, strlen(d->first_failed_at), &first, NULL) ==
			0 &&
		clock_parse_rfc3339(d->failed_at, strlen(d->failed_at), &last, NULL) == 0 &&
		last > first)
		row(out, "  in all", "%" PRId64 ".%03" PRId64 " s", (last - first) / 1000000,
			(last - first) / 1000 % 1000);
	deaths_show(out, m, mem);
}

static void
next_steps_show(struct buf *out, const struct dlq_entry *d)
{
	const char *class = d->class ? d->class : "";
	struct err why = ERR_INIT;

	buf_add_text(out, "\nWhat next\n");
	if (dlq_return_check(d, &why))
		buf_printf(out,
			"  Entries like this one cannot go back by themselves: %s.\n"
			"  Look at it, then: onboardctl dlq purge %s --yes   (keeps a copy in a file)\n",
			why.text, d->id);
	else if (strcmp(class, "permanent") == 0)
		buf_printf(out,
			"  As it is it can never succeed. Mend it: onboardctl dlq replay %s --edit\n"
			"  or let it go:            onboardctl dlq purge %s --yes\n",
			d->id, d->id);
	else if (strcmp(class, "poison") == 0)
		buf_printf(out,
			"  The consumer ended while it handled this. Read its log around that time;\n"
			"  once it is mended:   onboardctl dlq replay %s\n",
			d->id);
	else
		buf_printf(out,
			"  It failed each time. Once the cause is gone: onboardctl dlq replay %s\n"
			"  and all like it: onboardctl dlq replay --consumer NAME --error REGEX --canary\n",
			d->id);
}

static void
entry_show(struct show *s, const struct dlq_entry *d, const struct broker_message *m)
{
	struct buf *out = &s->text;
	const char *none = "-";

	row(out, "ID", "%s", d->id);
	row(out, "event", "%s", d->event_id ? d->event_id : none);
	row(out, "type", "%s", d->type ? d->type : none);
	row(out, "consumer", "%s", d->consumer ? d->consumer : none);
	row(out, "queue", "%s", d->queue ? d->queue : none);
	row(out, "class", "%s", d->class ? d->class : none);
	row(out, "error", "%s", d->error ? d->error : none);
	timeline_show(out, d, m, s->d->mem);
	buf_add_text(out, "\nBody\n");
	body_show(out, m, s->d->mem);
	buf_add_text(out, "\nHeaders\n");
	headers_show(out, &m->props.headers);
	next_steps_show(out, d);
}

static int
show_message(void *arg, const struct broker_message *m, struct err *e)
{
	struct show *s = arg;
	struct dlq_entry d;

	dlq_entry_read(&d, m, s->d->mem);
	if (!dlq_selected(&s->s, &d, m))
		return 0;
	s->shown++;
	buf_clear(&s->text);
	if (!s->d->ctl->json)
		entry_show(s, &d, m);
	else if (dlq_line_write(&s->text, &d, m, e))
		return -1;
	return dlq_sort_add(s->sort, d.failed_us < 0 ? INT64_MAX : d.failed_us, buf_text(&s->text),
		s->text.length, e);
}

static int
show_print(void *arg, const char *bytes, size_t length, struct err *e)
{
	struct show *s = arg;

	(void)e;
	if (!s->d->ctl->json && s->shown++ > 0) {
		for (unsigned i = 0; i < 40; i++)
			fputs("--", stdout);
		putchar('\n');
	}
	fwrite(bytes, 1, length, stdout);
	return 0;
}

int
dlq_show(struct dlq *d)
{
	struct show s = { .d = d };
	struct dlq_reader r = { .what = "reading", .message = show_message, .arg = &s };
	struct err e = ERR_INIT;
	uint64_t found;
	int rc;

	s.sort = dlq_sort_new(0, SORT_MEMORY);
	buf_init(&s.text, DLQ_LINE_MAX);
	rc = dlq_connect(d, &e) || dlq_select(d, &s.s, &e) || dlq_read(d, &r, &e) ? -1 : 0;
	dlq_disconnect(d);
	found = s.shown;
	s.shown = 0;
	if (rc == 0)
		rc = dlq_sort_each(s.sort, show_print, &s, &e);
	dlq_sort_free(s.sort);
	dlq_selection_fini(&s.s);
	buf_fini(&s.text);
	if (rc)
		return e.kind == ERR_INVALID ? ctl_fail(d->ctl, CTL_USAGE, "%s", e.text)
					     : ctl_fail_err(d->ctl, &e);
	if (found == 0)
		return ctl_fail(d->ctl, CTL_NOTHING,
			"no entry has the id %s; `onboardctl dlq list` has those that are there",
			d->o.words[0]);
	return CTL_DONE;
}
