/* SPDX-License-Identifier: MIT */
/*
 * --json: one object a line. Texts may be anybody's, so what a terminal might take
 * for a command or a line end is escaped.
 *
 *	struct ctl_line line;
 *	struct json_out *o = ctl_line_begin(&line);
 *
 *	json_out_i64(o, "purged", 3);
 *	ctl_json_text(o, "file", path);
 *	ctl_line_print(&line);		{"purged":3,"file":"/tmp/x"}
 */
#pragma once

#include <stddef.h>

#include "base/buf.h"
#include "base/json_out.h"

struct ctl_line {
	struct buf text;
	struct json_out json;
};

struct json_out *ctl_line_begin(struct ctl_line *l); /* opens the object */
void ctl_line_print(struct ctl_line *l); /* closes it, to stdout with a line end; frees l */

/* A member; NULL: null. */
void ctl_json_text(struct json_out *o, const char *name, const char *text);
void ctl_json_bytes(struct json_out *o, const char *name, const char *text, size_t length);
/* The string alone, with its quotes. */
void ctl_json_quote(struct buf *out, const char *text, size_t length);
