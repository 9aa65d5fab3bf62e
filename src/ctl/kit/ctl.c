/* SPDX-License-Identifier: MIT */
#include "ctl/kit/ctl.h"

#include <stdarg.h>
#include <stdio.h>

#include "ctl/kit/json.h"
#include "ctl/kit/table.h"

int
ctl_fail(const struct ctl *c, int code, const char *format, ...)
{
	va_list args;

	fflush(stdout);
	fprintf(stderr, "onboardctl%s%s: ", c->verb ? " " : "", c->verb ? c->verb : "");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return code;
}

int
ctl_fail_err(const struct ctl *c, const struct err *e)
{
	int code = e->kind == ERR_AWAY   ? CTL_AWAY
		: e->kind == ERR_MISSING ? CTL_NOTHING
					 : CTL_FAILED;

	return ctl_fail(c, code, "%s", e->text);
}

const char *
ctl_mark(const struct ctl *c, enum ctl_mark m)
{
	static const char *const plain[] = { "ok  ", "warn", "BAD " };
	static const char *const coloured[] = { "\033[32mok\033[0m  ", "\033[33mwarn\033[0m",
		"\033[31mBAD\033[0m " };

	return c->colour ? coloured[m] : plain[m];
}

void
ctl_finding(const struct ctl *c, enum ctl_mark m, const char *subject, const char *text,
	const char *fix)
{
	static const char *const states[] = { "ok", "warn", "bad" };
	struct ctl_line line;
	struct json_out *o;

	if (c->json) {
		o = ctl_line_begin(&line);
		ctl_json_text(o, "state", states[m]);
		ctl_json_text(o, "subject", subject);
		ctl_json_text(o, "text", text);
		if (fix)
			ctl_json_text(o, "fix", fix);
		ctl_line_print(&line);
		return;
	}
	printf("%s %-10s ", ctl_mark(c, m), subject);
	table_wrap(16, text);
	if (fix) {
		printf("%16s-> ", "");
		table_wrap(19, fix);
	}
	fflush(stdout);
}

void
ctl_age(int64_t s, char out[static CTL_AGE_SIZE])
{
	static const struct {
		int64_t from, unit;
		const char *name;
	} units[] = { { 172800, 86400, "d" }, { 7200, 3600, "h" }, { 120, 60, "min" },
		{ INT64_MIN, 1, "s" } };
	size_t i = 0;

	while (s < units[i].from)
		i++;
	snprintf(out, CTL_AGE_SIZE, "%d %s", (int)(s / units[i].unit), units[i].name);
}
