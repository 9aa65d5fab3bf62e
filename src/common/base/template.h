/* SPDX-License-Identifier: MIT */
/*
 * Text with places for values: "Hello {{name}}". A template is parsed once,
 * against the list of names that there are, so rendering cannot fail over what
 * is in it. There is nothing else: no conditions, no loops, no escape for {{.
 *
 * Values are never trusted: as HTML they are escaped, and in every form their
 * control bytes, line ends among them, become spaces.
 *
 * Threads: any. Ownership: the caller's arena; the text is borrowed.
 */
#pragma once

#include <stddef.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

struct template;

enum template_form { TEMPLATE_PLAIN, TEMPLATE_HTML };

/*
 * names: NULL-ended, at most 64. ERR_INVALID with the line: an unknown name, a
 * {{ without its end, bytes that are no UTF-8, a control byte.
 */
int template_parse(const char *text, const char *const *names, struct arena *mem,
	const struct template **out, struct err *e) MUST_CHECK;
/* values: in the order of the names; NULL is "". */
void template_render(const struct template *t, const char *const *values, enum template_form form,
	struct buf *out);
