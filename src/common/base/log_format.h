/* SPDX-License-Identifier: MIT */
/* How one log line looks in each of its three forms; of log.c alone and its test. */
#pragma once

#include "base/buf.h"
#include "base/log.h"

#define LOG_LINE_MAX 8192
#define LOG_VALUE_MAX 1024

struct log_line {
	int64_t wall_us;
	enum log_level level;
	const char *program, *message;
	const struct log_field *fields; /* ended by LOG_FIELD_END */
	uint64_t repeated;              /* lines like this one that were not written; 0: none */
};

void log_format_text(const struct log_line *l, bool colour, struct buf *out);
void log_format_json(const struct log_line *l, struct buf *out);
void log_format_journal(const struct log_line *l, struct buf *out);
