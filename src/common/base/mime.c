/* SPDX-License-Identifier: MIT */
#include "base/mime.h"

#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "base/utf8.h"

#define LINE_MAX_BYTES 76 /* an encoded line without its CRLF */
#define QUOTED_BYTES 60   /* a name within quotes */
#define WORD_BYTES 42     /* in one encoded word: 56 letters of base64, 68 bytes with the frame */

static char
clean(char c)
{
	return (unsigned char)c < 0x20 || c == 0x7f ? ' ' : c;
}

/* Needs no encoding: ASCII, no part looks like an encoded word, every line can be folded. */
static bool
plain(const char *text)
{
	size_t word = 0, space = 0;

	for (const char *p = text; *p; p++) {
		if ((unsigned char)*p >= 0x80 || (*p == '=' && p[1] == '?'))
			return false;
		word = *p == ' ' ? 0 : word + 1;
		space = *p == ' ' ? space + 1 : 0;
		if (word > 60 || space > 10)
			return false;
	}
	return true;
}

/* Adds ASCII text. Breaks the line before a space when the next word does not fit. */
static void
plain_add(struct buf *out, const char *text, size_t column)
{
	while (*text) {
		size_t space = strspn(text, " "), word;

		word = space + strcspn(text + space, " ");
		if (space > 0 && word > space && column + word > LINE_MAX_BYTES) {
			buf_add_text(out, "\r\n");
			column = 0;
		}
		buf_add(out, text, word);
		column += word;
		text += word;
	}
}

static void
base64_add(struct buf *out, const unsigned char *p, size_t length)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < length; i += 3) {
		unsigned n = (unsigned)p[i] << 16 | (i + 1 < length ? (unsigned)p[i + 1] << 8 : 0) |
			(i + 2 < length ? p[i + 2] : 0);

		buf_add_char(out, digits[n >> 18]);
		buf_add_char(out, digits[n >> 12 & 63]);
		buf_add_char(out, i + 1 < length ? digits[n >> 6 & 63] : '=');
		buf_add_char(out, i + 2 < length ? digits[n & 63] : '=');
	}
}

/* Adds encoded words, one a line. No word cuts a character. */
static void
encoded_add(struct buf *out, const char *text, size_t length)
{
	bool first = true;

	while (length > 0) {
		size_t n = utf8_cut(text, length, WORD_BYTES);

		if (n == 0)
			n = length < WORD_BYTES ? length
						: WORD_BYTES; /* not UTF-8: take the bytes */
		buf_add_text(out, first ? "=?UTF-8?B?" : "\r\n =?UTF-8?B?");
		base64_add(out, (const unsigned char *)text, n);
		buf_add_text(out, "?=");
		text += n;
		length -= n;
		first = false;
	}
}

static void
text_clean(struct buf *to, const char *text)
{
	for (; *text; text++)
		buf_add_char(to, clean(*text));
}

/* Cuts spaces at both ends: a folded header must have no blank line. */
static const char *
trimmed(struct buf *b)
{
	const char *text;

	while (b->length > 0 && b->data[b->length - 1] == ' ')
		b->data[--b->length] = '\0';
	text = buf_text(b);
	return text + strspn(text, " ");
}

void
mime_header(struct buf *out, const char *name, const char *text)
{
	struct buf own;

	buf_init(&own, strlen(text) + 2);
	text_clean(&own, text);
	text = trimmed(&own);
	buf_add_text(out, name);
	buf_add_text(out, ": ");
	if (plain(text))
		plain_add(out, text, strlen(name) + 2);
	else
		encoded_add(out, text, strlen(text));
	buf_add_text(out, "\r\n");
	buf_fini(&own);
}

static size_t
quoted_length(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += *text == '"' || *text == '\\' ? 2 : 1;
	return n;
}

void
mime_header_address(struct buf *out, const char *name, const char *display, const char *address)
{
	struct buf own;

	buf_init(&own, strlen(display ? display : "") + 2);
	text_clean(&own, display ? display : "");
	display = trimmed(&own);
	buf_add_text(out, name);
	buf_add_text(out, ": ");
	if (*display && plain(display) && quoted_length(display) <= QUOTED_BYTES) {
		buf_add_char(out, '"');
		for (const char *p = display; *p; p++) {
			if (*p == '"' || *p == '\\')
				buf_add_char(out, '\\');
			buf_add_char(out, *p);
		}
		buf_add_text(out, "\"\r\n ");
	} else if (*display) {
		encoded_add(out, display, strlen(display));
		buf_add_text(out, "\r\n ");
	}
	buf_add_char(out, '<');
	buf_add_text(out, address);
	buf_add_text(out, ">\r\n");
	buf_fini(&own);
}

void
mime_header_date(struct buf *out, int64_t wall_us)
{
	/* strftime would use the locale's names */
	static const char *const days[] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
	static const char *const months[] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul",
		"Aug", "Sep", "Oct", "Nov", "Dec" };
	time_t seconds = (time_t)(wall_us / 1000000);
	struct tm tm;

	must(gmtime_r(&seconds, &tm));
	buf_printf(out, "Date: %s, %02d %s %04d %02d:%02d:%02d +0000\r\n", days[tm.tm_wday],
		tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

void
mime_quoted_printable(struct buf *out, const char *text, size_t length)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t column = 0;

	for (size_t i = 0; i < length; i++) {
		unsigned char c = (unsigned char)text[i];
		bool at_end = i + 1 == length || text[i + 1] == '\n' ||
			(text[i + 1] == '\r' && i + 2 < length && text[i + 2] == '\n');
		bool as_is =
			(c > ' ' && c < 0x7f && c != '=') || ((c == ' ' || c == '\t') && !at_end);

		if (c == '\n' || (c == '\r' && i + 1 < length && text[i + 1] == '\n')) {
			i += c == '\r';
			buf_add_text(out, "\r\n");
			column = 0;
			continue;
		}
		/* one byte stays free for the = at the end of a line */
		if (column + (as_is ? 1 : 3) > LINE_MAX_BYTES - 1) {
			buf_add_text(out, "=\r\n");
			column = 0;
		}
		if (as_is) {
			buf_add_char(out, (char)c);
		} else {
			buf_add_char(out, '=');
			buf_add_char(out, hex[c >> 4]);
			buf_add_char(out, hex[c & 15]);
		}
		column += as_is ? 1 : 3;
	}
	if (column > 0 || length == 0)
		buf_add_text(out, "\r\n");
}
