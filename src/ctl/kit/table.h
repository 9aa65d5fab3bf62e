/* SPDX-License-Identifier: MIT */
/*
 * A table on stdout that fits the terminal, or 80 columns where there is none.
 * Columns are as wide as the first rows want; when that is too much the widest
 * gives way, and a cell that is cut ends in "…". Cells may be foreign text:
 * what could steer a terminal is shown as "?".
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
	unsigned width[TABLE_COLUMNS_MAX];
	struct buf held; /* the first rows, cell by cell, until the widths are known */
	size_t held_rows;
	bool settled;
};

/* columns must outlive the table. */
void table_begin(struct table *t, const struct table_column *columns, size_t count, bool colour);
void table_row(struct table *t, const char *const *cells); /* NULL: "-" */
void table_end(struct table *t);
unsigned table_line_width(void); /* of the terminal, 80 where there is none */

/* Words to stdout, broken between words where the line is full; go on below column indent. */
void table_wrap(unsigned indent, const char *text);

/* The text with control, bidirectional and broken characters as "?", line ends as blanks. */
void table_clean(struct buf *out, const char *text, size_t length);
