/* SPDX-License-Identifier: MIT */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "base/utf8.h"

void
buf_init(struct buf *b, size_t max_bytes)
{
	must(max_bytes > 0 && max_bytes < SIZE_MAX / 4);
	*b = (struct buf){ .max_bytes = max_bytes };
}

void
buf_fini(struct buf *b)
{
	free(b->data);
	*b = (struct buf){ .max_bytes = b->max_bytes };
}

void
buf_clear(struct buf *b)
{
	b->length = 0;
	b->failed = false;
	if (b->data)
		b->data[0] = '\0';
}

bool
buf_failed(const struct buf *b)
{
	return b->failed;
}

const char *
buf_text(const struct buf *b)
{
	return b->data ? b->data : "";
}

char *
buf_reserve(struct buf *b, size_t n)
{
	size_t room = b->room;
	char *p;

	if (b->failed || n > b->max_bytes - b->length) {
		b->failed = true;
		return NULL;
	}
	if (b->length + n + 1 > room) {
		room = room ? room : 128;
		while (room < b->length + n + 1)
			room *= 2;
		if (room > b->max_bytes + 1)
			room = b->max_bytes + 1;
		b->data = must_realloc(b->data, room);
		b->room = room;
	}
	p = b->data + b->length;
	b->length += n;
	b->data[b->length] = '\0';
	return p;
}

void
buf_add(struct buf *b, const void *bytes, size_t length)
{
	char *p = buf_reserve(b, length);

	if (p && length)
		memcpy(p, bytes, length);
}

void
buf_add_text(struct buf *b, const char *text)
{
	buf_add(b, text, strlen(text));
}

void
buf_add_char(struct buf *b, char c)
{
	buf_add(b, &c, 1);
}

void
buf_add_i64(struct buf *b, int64_t n)
{
	char digits[TEXT_I64_SIZE];

	buf_add(b, digits, text_i64(n, digits));
}

void
buf_printf(struct buf *b, const char *format, ...)
{
	va_list args;
	char *p;
	int n;

	va_start(args, format);
	n = vsnprintf(NULL, 0, format, args);
	va_end(args);
	must(n >= 0);
	p = buf_reserve(b, (size_t)n);
	if (!p)
		return;
	va_start(args, format);
	must(vsnprintf(p, (size_t)n + 1, format, args) == n);
	va_end(args);
}

void
buf_add_json_string(struct buf *b, const char *text, size_t length)
{
	static const char hex[] = "0123456789abcdef";
	static const char short_form
		[32] = { ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r' };
	size_t before = b->length, plain = 0, i = 0;

	buf_add_char(b, '"');
	while (i < length) {
		unsigned char c = (unsigned char)text[i];
		size_t n = utf8_length(text + i, length - i);

		if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f && n > 0) {
			i += n;
			continue;
		}
		buf_add(b, text + plain, i - plain);
		if (n == 0)
			buf_add_text(b, "\xef\xbf\xbd");
		else if (c == '"' || c == '\\')
			buf_add(b, (char[]){ '\\', (char)c }, 2);
		else if (c < 0x20 && short_form[c])
			buf_add(b, (char[]){ '\\', short_form[c] }, 2);
		else
			buf_add(b, (char[]){ '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] }, 6);
		plain = ++i;
	}
	buf_add(b, text + plain, length - plain);
	buf_add_char(b, '"');
	if (b->failed && b->length > before) { /* leave no half string */
		b->length = before;
		b->data[before] = '\0';
	}
}

void
buf_drop_front(struct buf *b, size_t n)
{
	must(n <= b->length);
	if (n == 0)
		return;
	memmove(b->data, b->data + n, b->length - n + 1);
	b->length -= n;
}
