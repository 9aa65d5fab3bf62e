/* SPDX-License-Identifier: MIT */
/*
 * One log line has a constant message and typed fields. A terminal gets text;
 * the journal (JOURNAL_STREAM) gets its own protocol; anything else gets one JSON
 * object a line. Never put an e-mail address, a secret or a body into a field.
 * Strings from outside are escaped and cut.
 *
 *	log_info("event stored", LOG_S("event_id", id), LOG_I("attempt", n));
 *
 * Repeats: after 10 lines with the same message in a second, further ones are
 * only counted. The next line with that message gives the count ("repeated": 1234).
 *
 * Threads: any; one line is one write(2). A line never waits for the journal,
 * except after log_last_words.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };
enum log_format { LOG_FORMAT_AUTO, LOG_FORMAT_TEXT, LOG_FORMAT_JSON, LOG_FORMAT_JOURNAL };

struct log_field {
	const char *name; /* snake_case; upper case in the journal */
	enum {
		LOG_FIELD_END,
		LOG_FIELD_STRING,
		LOG_FIELD_INT,
		LOG_FIELD_DOUBLE,
		LOG_FIELD_BOOL
	} type;
	union {
		const char *s; /* NULL: the field is left out */
		int64_t i;
		double d;
	} u;
};

#define LOG_S(field, value) ((struct log_field){ (field), LOG_FIELD_STRING, { .s = (value) } })
#define LOG_I(field, value) ((struct log_field){ (field), LOG_FIELD_INT, { .i = (value) } })
#define LOG_D(field, value) ((struct log_field){ (field), LOG_FIELD_DOUBLE, { .d = (value) } })
#define LOG_B(field, value) ((struct log_field){ (field), LOG_FIELD_BOOL, { .i = (value) } })
#define LOG_E(error) \
	LOG_S("error_kind", err_kind_name((error)->kind)), LOG_S("error", (error)->text)

/* name: the daemon's name, in each line. May be called again. */
void log_init(const char *name, enum log_level level, enum log_format format);
void log_level_set(enum log_level level);
/* The process ends soon: from now on a line waits up to 200 ms for room in the journal. */
void log_last_words(void);
int log_level_parse(const char *text, enum log_level *out, struct err *e) MUST_CHECK;
int log_format_parse(const char *text, enum log_format *out, struct err *e) MUST_CHECK;
extern enum log_level log_level_now;

/* A LOG_FIELD_END ends fields. Use the macros below. */
void log_write(enum log_level level, const char *message, const struct log_field *fields);

/* The first element makes an empty list of fields legal C. */
#define LOG_AT(level, message, ...) \
	((level) < __atomic_load_n(&log_level_now, __ATOMIC_RELAXED) \
			? (void)0 \
			: log_write((level), "" message, \
				  &(const struct log_field[]){ { 0 }, ##__VA_ARGS__, { 0 } }[1]))
#define log_debug(message, ...) LOG_AT(LOG_LEVEL_DEBUG, message, ##__VA_ARGS__)
#define log_info(message, ...) LOG_AT(LOG_LEVEL_INFO, message, ##__VA_ARGS__)
#define log_warn(message, ...) LOG_AT(LOG_LEVEL_WARN, message, ##__VA_ARGS__)
#define log_error(message, ...) LOG_AT(LOG_LEVEL_ERROR, message, ##__VA_ARGS__)
