/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <string.h>

#include "base/utf8.h"
#include "ctl/dlq/dlq.h"

#define ID_MIN 8

static bool
word_char(char c)
{
	return isalnum((unsigned char)c) || c == '-' || c == '_' || c == '@' || c == '+' ||
		c == '.' || (c & 0x80);
}

/* Hex digits and dashes, a digit among them, long enough to be nobody's word. */
static bool
id_like(const char *p, size_t n)
{
	bool digit = false;

	for (size_t i = 0; i < n; i++) {
		if (!isxdigit((unsigned char)p[i]) && p[i] != '-')
			return false;
		digit |= isdigit((unsigned char)p[i]) != 0;
	}
	return n >= ID_MIN && digit && strspn(p, "0123456789") < n;
}

static void
word_add(struct buf *out, const char *p, size_t n)
{
	if (memchr(p, '@', n)) {
		buf_add_text(out, "<address>");
		return;
	}
	if (id_like(p, n)) {
		buf_add_text(out, "<id>");
		return;
	}
	for (size_t i = 0; i < n;) {
		size_t digits =
			i + strspn(p + i, "0123456789.") < n ? strspn(p + i, "0123456789.") : n - i;

		/* a digit behind a letter belongs to a name: E11000 */
		if (!isdigit((unsigned char)p[i]) || (i && isalpha((unsigned char)p[i - 1]))) {
			size_t end = i + 1;

			while (end < n && isalnum((unsigned char)p[end]) &&
				isalnum((unsigned char)p[i]))
				end++;
			buf_add(out, p + i, end - i);
			i = end;
			continue;
		}
		while (digits > 1 && p[i + digits - 1] == '.')
			digits--;
		buf_add_text(out, "<n>");
		i += digits;
	}
}

void
dlq_fingerprint(const char *error, char out[static DLQ_FINGERPRINT_MAX + 1])
{
	struct buf b;
	size_t n;

	buf_init(&b, 1 << 16);
	for (const char *p = error; *p && b.length < 4 * DLQ_FINGERPRINT_MAX;) {
		const char *end = strchr("'\"`", *p) ? strchr(p + 1, *p) : NULL;

		if (end) {
			buf_add(&b, p, 1);
			buf_add_text(&b, "…");
			buf_add(&b, p, 1);
			p = end + 1;
		} else if (word_char(*p)) {
			for (n = 0; word_char(p[n]) ||
				(p[n] == '\'' && isalpha((unsigned char)p[n + 1]));
				n++)
				;
			word_add(&b, p, n);
			p += n;
		} else {
			n = strspn(p, " \t\r\n");
			buf_add_char(&b, n ? ' ' : *p);
			p += n ? n : 1;
		}
	}
	n = utf8_cut(buf_text(&b), b.length, DLQ_FINGERPRINT_MAX);
	memcpy(out, buf_text(&b), n);
	out[n] = '\0';
	buf_fini(&b);
}
