/* SPDX-License-Identifier: MIT */
/*
 * Checks the bytes against RFC 8259 and our bounds before any memory is spent
 * on them. cJSON reads checked text without surprises. Only duplicate names pass
 * this scan; json.c finds them in the tree.
 */
#include "base/json_scan.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "base/utf8.h"

#define NUMBER_MAX 63 /* cJSON reads no more: it would lose the 64th byte */

struct scan {
	const char *start, *p, *end;
	size_t nodes;
	struct err *e;
};

static int
refuse(struct scan *s, const char *why)
{
	return err_set(s->e, ERR_INVALID, "not valid JSON at byte %zu: %s",
		(size_t)(s->p - s->start), why);
}

static char
peek(const struct scan *s)
{
	return s->p < s->end ? *s->p : '\0'; /* at the end: a NUL, which is legal nowhere */
}

static void
space(struct scan *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
		s->p++;
}

static size_t
digits(struct scan *s)
{
	const char *from = s->p;

	while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
		s->p++;
	return (size_t)(s->p - from);
}

/*
 * A double must hold an integer exactly. Any other number must be finite, and
 * must not round to 2^53, where it would pass as an integer.
 */
static int
number_value(struct scan *s, const char *from, bool integer)
{
	char text[NUMBER_MAX + 1];
	size_t n = (size_t)(s->p - from);
	double value;

	if (n > NUMBER_MAX)
		return refuse(s, "a number of more than 63 characters");
	memcpy(text, from, n);
	text[n] = '\0';
	value = strtod(text, NULL);
	if (!isfinite(value))
		return refuse(s, "a number too large");
	if (fabs(value) < (double)JSON_INTEGER_MAX ||
		strcmp(text + (*text == '-'), "9007199254740992") == 0)
		return 0;
	if (integer || fabs(value) == (double)JSON_INTEGER_MAX)
		return refuse(s, "a whole number beyond 2^53 loses digits; give it as a string");
	return 0;
}

static int
number(struct scan *s)
{
	const char *from = s->p;
	bool integer = true;

	if (peek(s) == '-')
		s->p++;
	if (peek(s) == '0')
		s->p++;
	else if (digits(s) == 0)
		return refuse(s, "a value is expected");
	if (peek(s) == '.') {
		integer = false;
		s->p++;
		if (digits(s) == 0)
			return refuse(s, "a digit is missing after the point");
	}
	if (peek(s) == 'e' || peek(s) == 'E') {
		integer = false;
		s->p++;
		if (peek(s) == '+' || peek(s) == '-')
			s->p++;
		if (digits(s) == 0)
			return refuse(s, "a digit is missing in the exponent");
	}
	return number_value(s, from, integer);
}

/* The four hex digits after \u; -1: they are no hex digits. */
static int
hex4(struct scan *s)
{
	int value = 0;

	if (s->end - s->p < 4)
		return -1;
	for (int i = 0; i < 4; i++, s->p++) {
		int digit = text_hex_digit(*s->p);

		if (digit < 0)
			return -1;
		value = value * 16 + digit;
	}
	return value;
}

static int
escape(struct scan *s)
{
	int unit;

	s->p++;
	if (peek(s) != 'u') {
		if (!peek(s) || !strchr("\"\\/bfnrt", peek(s)))
			return refuse(s, "an escape that JSON does not know");
		s->p++;
		return 0;
	}
	s->p++;
	unit = hex4(s);
	if (unit < 0)
		return refuse(s, "\\u wants four hex digits");
	if (unit == 0)
		return refuse(s, "\\u0000 is not accepted");
	if (unit >= 0xdc00 && unit <= 0xdfff)
		return refuse(s, "half of a surrogate pair");
	if (unit >= 0xd800 && unit <= 0xdbff) {
		if (s->end - s->p < 2 || s->p[0] != '\\' || s->p[1] != 'u')
			return refuse(s, "half of a surrogate pair");
		s->p += 2;
		unit = hex4(s);
		if (unit < 0xdc00 || unit > 0xdfff)
			return refuse(s, "half of a surrogate pair");
	}
	return 0;
}

static int
string(struct scan *s)
{
	for (s->p++;;) {
		unsigned char c;
		size_t n;

		if (s->p == s->end)
			return refuse(s, "a string without its end");
		c = (unsigned char)*s->p;
		if (c == '"') {
			s->p++;
			return 0;
		}
		if (c < 0x20)
			return refuse(s, "a control byte in a string");
		if (c == '\\') {
			if (escape(s) < 0)
				return -1;
			continue;
		}
		n = utf8_length(s->p, (size_t)(s->end - s->p));
		if (n == 0)
			return refuse(s, "not UTF-8");
		s->p += n;
	}
}

static int
literal(struct scan *s, const char *word)
{
	size_t n = strlen(word);

	if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0)
		return refuse(s, "a value is expected");
	s->p += n;
	return 0;
}

static int
scalar(struct scan *s)
{
	switch (peek(s)) {
	case '"': return string(s);
	case 't': return literal(s, "true");
	case 'f': return literal(s, "false");
	case 'n': return literal(s, "null");
	default: return number(s);
	}
}

/* Reads the name and the colon before a member's value. */
static int
name(struct scan *s)
{
	space(s);
	if (peek(s) != '"')
		return refuse(s, "a name in quotes is expected");
	if (string(s) < 0)
		return -1;
	space(s);
	if (peek(s) != ':')
		return refuse(s, "a colon is expected");
	s->p++;
	return 0;
}

/*
 * Works without recursion: `closers` holds the closing byte of each open object
 * or array. Each turn of the loop begins where a value is expected.
 */
int
json_scan(const char *text, size_t length, struct err *e)
{
	struct scan s = { text, text, text + length, 0, e };
	char closers[JSON_DEPTH_MAX];
	size_t depth = 0;

	for (;;) {
		bool opened = false;

		if (depth > 0 && closers[depth - 1] == '}' && name(&s) < 0)
			return -1;
		space(&s);
		if (++s.nodes > JSON_NODES_MAX)
			return refuse(&s, "too many values");
		if (peek(&s) == '{' || peek(&s) == '[') {
			if (depth == JSON_DEPTH_MAX)
				return refuse(&s, "nested deeper than 32 levels");
			closers[depth++] = *s.p++ == '{' ? '}' : ']';
			space(&s);
			if (peek(&s) != closers[depth - 1])
				continue;
			opened = true;
		} else if (scalar(&s) < 0) {
			return -1;
		}
		/* a value ended, or an empty object or array was opened */
		for (;; opened = false) {
			space(&s);
			if (depth == 0) {
				if (s.p != s.end)
					return refuse(&s, "there are bytes after the value");
				return 0;
			}
			if (!opened && peek(&s) == ',') {
				s.p++;
				break;
			}
			if (peek(&s) != closers[depth - 1])
				return refuse(&s,
					closers[depth - 1] == '}' ? "a comma or } is expected"
								  : "a comma or ] is expected");
			s.p++;
			depth--;
		}
	}
}
