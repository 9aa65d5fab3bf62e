/* SPDX-License-Identifier: MIT */
#include "ctl/kit/table.h"

#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/utf8.h"

#define HELD_ROWS 200
#define CELL_MAX 4096 /* bytes; an entry's headers are no longer */
#define HELD_BYTES (HELD_ROWS * TABLE_COLUMNS_MAX * (CELL_MAX + 1))
#define GAP 2

static uint32_t
code_point(const char *p, size_t n)
{
	const uint8_t *u = (const uint8_t *)p;
	uint32_t c = n == 1 ? u[0] : u[0] & (0x7fu >> n);

	for (size_t i = 1; i < n; i++)
		c = c << 6 | (u[i] & 0x3f);
	return c;
}

static bool
steers_terminal(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x200b && c <= 0x200f) ||
		(c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff ||
		(c >= 0xfff0 && c <= 0xfffb) || c >= 0xe0000;
}

static unsigned
cells_of(uint32_t c)
{
	return (c >= 0x1100 && c <= 0x115f) || (c >= 0x2e80 && c <= 0xa4cf) ||
			(c >= 0xac00 && c <= 0xd7a3) || (c >= 0xf900 && c <= 0xfaff) ||
			(c >= 0xfe30 && c <= 0xfe6f) || (c >= 0xff00 && c <= 0xff60) ||
			(c >= 0x1f300 && c <= 0x1faff) || (c >= 0x20000 && c <= 0x3fffd)
		? 2
		: 1;
}

void
table_clean(struct buf *out, const char *text, size_t length)
{
	for (size_t i = 0; i < length;) {
		size_t n = utf8_length(text + i, length - i);
		uint32_t c = n ? code_point(text + i, n) : 0;

		if (n && (c == '\n' || c == '\t'))
			buf_add_char(out, ' ');
		else if (!n || steers_terminal(c))
			buf_add_char(out, '?');
		else
			buf_add(out, text + i, n);
		i += n ? n : 1;
	}
}

/* Columns that clean text takes; at most max of them, and the bytes that those are. */
static unsigned
text_width(const char *text, unsigned max, size_t *bytes)
{
	size_t length = strlen(text), i = 0;
	unsigned w = 0;

	while (i < length) {
		size_t n = utf8_length(text + i, length - i);
		unsigned one;

		if (n == 0)
			n = 1;
		one = cells_of(code_point(text + i, n));
		if (w + one > max)
			break;
		w += one;
		i += n;
	}
	*bytes = i;
	return w;
}

unsigned
table_line_width(void)
{
	struct winsize w;

	if (!isatty(STDOUT_FILENO))
		return UINT_MAX;
	return ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col >= 40 ? w.ws_col : 80;
}

void
table_begin(struct table *t, const struct table_column *columns, size_t count, bool colour)
{
	must(count > 0 && count <= TABLE_COLUMNS_MAX);
	*t = (struct table){ .columns = columns,
		.count = count,
		.colour = colour,
		.line_width = table_line_width() };
	buf_init(&t->held, HELD_BYTES);
}

static unsigned
column_width_min(const struct table_column *c)
{
	size_t bytes;

	return c->min ? c->min : text_width(c->title, UINT_MAX, &bytes);
}

static void
widths_settle(struct table *t)
{
	unsigned sum = 0;

	for (size_t i = 0; i < t->count; i++)
		sum += t->width[i] + (i ? GAP : 0);
	while (sum > t->line_width) {
		size_t widest = t->count;

		for (size_t i = 0; i < t->count; i++)
			if (t->width[i] > column_width_min(&t->columns[i]) &&
				(widest == t->count || t->width[i] >= t->width[widest]))
				widest = i;
		if (widest == t->count)
			break;
		t->width[widest]--;
		sum--;
	}
	t->settled = true;
}

static void
cell_print(const struct table *t, size_t i, const char *text)
{
	unsigned width = t->width[i], w;
	size_t bytes;

	if (i)
		printf("%*s", GAP, "");
	w = text_width(text, t->line_width == UINT_MAX ? UINT_MAX : width, &bytes);
	if (text[bytes]) {
		w = text_width(text, width ? width - 1 : 0, &bytes);
		printf("%.*s…", (int)bytes, text);
		w++;
	} else if (t->columns[i].right && w < width) {
		printf("%*s%s", (int)(width - w), "", text);
		w = width;
	} else {
		fputs(text, stdout);
	}
	if (i + 1 < t->count && w < width)
		printf("%*s", (int)(width - w), "");
}

static void
titles_print(const struct table *t)
{
	if (t->colour)
		fputs("\033[1m", stdout);
	for (size_t i = 0; i < t->count; i++)
		cell_print(t, i, t->columns[i].title);
	puts(t->colour ? "\033[0m" : "");
}

static void
held_print(struct table *t)
{
	const char *p = buf_text(&t->held);

	widths_settle(t);
	titles_print(t);
	for (size_t row = 0; row < t->held_rows; row++) {
		for (size_t i = 0; i < t->count; i++, p += strlen(p) + 1)
			cell_print(t, i, p);
		putchar('\n');
	}
	buf_fini(&t->held);
}

static void
cell_clean(struct buf *out, const char *cell)
{
	if (!cell)
		cell = "-";
	table_clean(out, cell, utf8_cut(cell, strlen(cell), CELL_MAX));
}

static void
row_hold(struct table *t, const char *const *cells)
{
	for (size_t i = 0; i < t->count; i++) {
		size_t start = t->held.length, bytes;
		unsigned w;

		cell_clean(&t->held, cells[i]);
		w = text_width(buf_text(&t->held) + start, UINT_MAX, &bytes);
		if (t->held_rows == 0)
			t->width[i] = column_width_min(&t->columns[i]);
		if (w > t->width[i])
			t->width[i] = w;
		buf_add_char(&t->held, '\0');
	}
	must(!buf_failed(&t->held));
	t->held_rows++;
}

void
table_row(struct table *t, const char *const *cells)
{
	struct buf clean;

	if (!t->settled && t->held_rows < HELD_ROWS) {
		row_hold(t, cells);
		return;
	}
	if (!t->settled)
		held_print(t);
	buf_init(&clean, 1 << 16);
	for (size_t i = 0; i < t->count; i++) {
		buf_clear(&clean);
		cell_clean(&clean, cells[i]);
		cell_print(t, i, buf_text(&clean));
	}
	putchar('\n');
	buf_fini(&clean);
}

void
table_end(struct table *t)
{
	if (!t->settled && t->held_rows)
		held_print(t);
	buf_fini(&t->held);
}

void
table_wrap(unsigned indent, const char *text)
{
	unsigned width = table_line_width(), at = indent;

	while (*text) {
		size_t n = strcspn(text, " ");
		unsigned columns = 0;

		for (size_t i = 0; i < n; i++) /* UTF-8: bytes that begin a character */
			columns += ((unsigned char)text[i] & 0xc0) != 0x80;
		if (at > indent && at + 1 + columns > width) {
			printf("\n%*s", (int)indent, "");
			at = indent;
		} else if (at > indent) {
			putchar(' ');
			at++;
		}
		fwrite(text, 1, n, stdout);
		at += columns;
		text += n;
		text += *text == ' ';
	}
	putchar('\n');
}
