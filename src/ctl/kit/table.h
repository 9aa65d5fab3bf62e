/* SPDX-License-Identifier: MIT */
/*
 * A table on stdout. Columns are as wide as the first rows need. On a terminal
 * the widest columns give way until a row fits, and a cell that is cut ends in
 * "…". In a pipe or a file every cell is whole (up to 4096 bytes). Cells may be
 * foreign text: characters that could steer a terminal are shown as "?".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

#define TABLE_COLUMNS_MAX 12

struct table_column {
	const char *title;
	unsigned min; /* never narrower; 0: as wide as the title */
	bool right;   /* numbers */
};

struct table {
	const struct table_column *columns;
	size_t count;
	bool colour;
	unsigned line_width;
	unsigned width[TABLE_COLUMNS_MAX];
	struct buf held; /* the first rows, cell by cell, until the widths are known */
	size_t held_rows;
	bool settled;
};

/* columns must outlive the table. */
void table_begin(struct table *t, const struct table_column *columns, size_t count, bool colour);
void table_row(struct table *t, const char *const *cells); /* NULL: "-" */
void table_end(struct table *t);
unsigned table_line_width(void); /* of the terminal; UINT_MAX: stdout is a pipe or a file */

/* Words to stdout; a full line is broken between words, the next one begins in column indent. */
void table_wrap(unsigned indent, const char *text);

/* Appends the text; control, bidirectional and broken characters become "?", line ends blanks. */
void table_clean(struct buf *out, const char *text, size_t length);
