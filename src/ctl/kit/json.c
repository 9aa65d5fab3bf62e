/* SPDX-License-Identifier: MIT */
#include "ctl/kit/json.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define LINE_MAX_BYTES (64u << 20)
#define JSON_PART 65536

/* A terminal's second set of control characters, or what some take for a line end; 0: neither. */
static unsigned
terminal_escape(const char *p, size_t left, size_t *bytes)
{
	const uint8_t *u = (const uint8_t *)p;

	if (left >= 2 && u[0] == 0xc2 && u[1] >= 0x80 && u[1] < 0xa0) {
		*bytes = 2;
		return u[1];
	}
	if (left >= 3 && u[0] == 0xe2 && u[1] == 0x80 && (u[2] == 0xa8 || u[2] == 0xa9)) {
		*bytes = 3;
		return 0x2000u | (u[2] & 0x3fu);
	}
	return 0;
}

void
ctl_json_quote(struct buf *out, const char *text, size_t length)
{
	size_t plain = 0, n = 0;
	struct buf part;
	unsigned c;

	buf_init(&part, 6 * length + 16);
	buf_add_char(out, '"');
	for (size_t i = 0; i <= length; i++) {
		bool part_full = i - plain >= JSON_PART && i < length &&
			((uint8_t)text[i] & 0xc0) != 0x80; /* between two characters */

		c = i < length ? terminal_escape(text + i, length - i, &n) : 0;
		if (!c && i < length && !part_full)
			continue;
		buf_clear(&part);
		buf_add_json_string(&part, text + plain, i - plain);
		buf_add(out, part.data + 1, part.length - 2);
		plain = i;
		if (c) {
			buf_printf(out, "\\u%04x", c);
			plain = i + n;
			i += n - 1;
		}
	}
	buf_add_char(out, '"');
	buf_fini(&part);
}

void
ctl_json_bytes(struct json_out *o, const char *name, const char *text, size_t length)
{
	json_out_name(o, name);
	ctl_json_quote(o->to, text, length);
}

void
ctl_json_text(struct json_out *o, const char *name, const char *text)
{
	if (text)
		ctl_json_bytes(o, name, text, strlen(text));
	else
		json_out_null(o, name);
}

struct json_out *
ctl_line_begin(struct ctl_line *l)
{
	buf_init(&l->text, LINE_MAX_BYTES);
	json_out_init(&l->json, &l->text);
	json_out_object(&l->json, NULL);
	return &l->json;
}

void
ctl_line_print(struct ctl_line *l)
{
	json_out_end(&l->json);
	buf_add_char(&l->text, '\n');
	if (buf_failed(&l->text))
		fputs("onboardctl: a line of JSON is over 64 MiB and is left out\n", stderr);
	else
		fputs(buf_text(&l->text), stdout);
	fflush(stdout);
	buf_fini(&l->text);
}
