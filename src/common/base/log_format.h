/* SPDX-License-Identifier: MIT */
/* Formats one log line as text, as JSON or for the journal. Only log.c and its test include it. */
#pragma once

#include "base/buf.h"
#include "base/log.h"

#define LOG_LINE_MAX 8192
#define LOG_VALUE_MAX 1024

struct log_line {
	int64_t wall_us;
	enum log_level level;
	const char *program, *message;
	const struct log_field *fields; /* LOG_FIELD_END ends them */
	uint64_t repeated;              /* earlier lines with this message that were not written */
};

void log_format_text(const struct log_line *l, bool colour, struct buf *out);
void log_format_json(const struct log_line *l, struct buf *out);
void log_format_journal(const struct log_line *l, struct buf *out);
