/* SPDX-License-Identifier: MIT */
#include "base/err.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

const char *
err_kind_name(enum err_kind kind)
{
	static const char *const names[] = {
		[ERR_NONE] = "none",
		[ERR_AWAY] = "away",
		[ERR_LIMIT] = "limit",
		[ERR_INVALID] = "invalid",
		[ERR_CONFLICT] = "conflict",
		[ERR_MISSING] = "missing",
		[ERR_INTERNAL] = "internal",
	};

	must((size_t)kind < ARRAY_LEN(names));
	return names[kind];
}

/*
 * Logs and terminals show the text as one line, so bytes that end a line or move a
 * cursor become spaces.
 */
static void
text_tidy(char *text, size_t size, bool cut)
{
	size_t n = strlen(text);

	if (cut) {
		n = size - 1 - strlen("...");
		while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
			n--;
		memcpy(text + n, "...", sizeof "...");
	}
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = ' ';
	for (n = strlen(text); n > 0 && text[n - 1] == ' '; n--)
		text[n - 1] = '\0';
}

/* Writes one tidy line to out, which has the size of an error's text. */
PRINTF_LIKE(2, 0)
static void
text_format(char *out, const char *format, va_list args)
{
	int n = vsnprintf(out, sizeof((struct err *)0)->text, format, args);

	must(n >= 0);
	text_tidy(out, sizeof((struct err *)0)->text, (size_t)n >= sizeof((struct err *)0)->text);
}

int
err_set(struct err *e, enum err_kind kind, const char *format, ...)
{
	char text[sizeof e->text];
	va_list args;

	if (!e)
		return -1;
	/* through a copy: an argument may be the old text */
	va_start(args, format);
	text_format(text, format, args);
	va_end(args);
	e->kind = kind;
	memcpy(e->text, text, strlen(text) + 1);
	return -1;
}

int
err_wrap(struct err *e, const char *format, ...)
{
	char context[sizeof e->text];
	va_list args;

	if (!e)
		return -1;
	va_start(args, format);
	text_format(context, format, args);
	va_end(args);
	return err_set(e, e->kind, "%s: %s", context, e->text);
}
