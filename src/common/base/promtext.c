/* SPDX-License-Identifier: MIT */
#include "base/promtext.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_MAX 40

static size_t
name_span(const char *p, const char *end)
{
	size_t n = 0;

	while (p + n < end &&
		((p[n] >= 'a' && p[n] <= 'z') || (p[n] >= 'A' && p[n] <= 'Z') || p[n] == '_' ||
			p[n] == ':' || (n > 0 && p[n] >= '0' && p[n] <= '9')))
		n++;
	return n;
}

/* Returns the byte after the closing brace, or NULL. A brace within quotes does not count. */
static const char *
labels_end(const char *p, const char *end)
{
	bool quoted = false;

	for (; p < end; p++) {
		if (quoted && *p == '\\' && p + 1 < end)
			p++;
		else if (*p == '"')
			quoted = !quoted;
		else if (*p == '}' && !quoted)
			return p + 1;
	}
	return NULL;
}

static bool
value_read(const char *p, const char *end, double *out)
{
	char text[NUMBER_MAX + 1], *rest;
	size_t n = 0;

	if (p == end || *p != ' ')
		return false;
	while (p < end && *p == ' ')
		p++;
	while (p + n < end && p[n] != ' ' && n < NUMBER_MAX)
		n++;
	snprintf(text, sizeof text, "%.*s", (int)n, p);
	*out = strtod(text, &rest);
	return n > 0 && n < NUMBER_MAX && rest == text + n;
}

static bool
line_read(const char *p, const char *end, struct promtext_sample *out)
{
	const char *close;

	*out = (struct promtext_sample){ .name = p, .name_length = name_span(p, end) };
	p += out->name_length;
	if (out->name_length == 0)
		return false;
	if (p < end && *p == '{') {
		close = labels_end(p + 1, end);
		if (!close)
			return false;
		out->labels = p + 1;
		out->labels_length = (size_t)(close - 1 - out->labels);
		p = close;
	}
	return value_read(p, end, &out->value);
}

bool
promtext_next(const char **at, const char *end, struct promtext_sample *out)
{
	while (*at < end) {
		const char *line = *at, *stop = memchr(line, '\n', (size_t)(end - line));

		if (!stop)
			stop = end;
		*at = stop < end ? stop + 1 : end;
		if (line_read(line, stop, out))
			return true;
	}
	return false;
}

bool
promtext_is(const struct promtext_sample *s, const char *name)
{
	return strlen(name) == s->name_length && memcmp(name, s->name, s->name_length) == 0;
}

bool
promtext_label(const struct promtext_sample *s, const char *label, char *out, size_t size)
{
	const char *p = s->labels, *end = p ? p + s->labels_length : NULL;

	while (p && p < end) {
		size_t n = name_span(p, end), length = 0;
		const char *value = p + n + 2;

		if (n == 0 || value > end || p[n] != '=' || p[n + 1] != '"')
			return false;
		while (value + length < end && value[length] != '"')
			length += value[length] == '\\' && value + length + 1 < end ? 2 : 1;
		if (value + length >= end)
			return false;
		if (n == strlen(label) && memcmp(p, label, n) == 0) {
			snprintf(out, size, "%.*s", (int)length, value);
			return true;
		}
		p = value + length + 1;
		while (p < end && (*p == ',' || *p == ' '))
			p++;
	}
	return false;
}
