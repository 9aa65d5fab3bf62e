/* SPDX-License-Identifier: MIT */
/*
 * Text with places for values: "Hello {{name}}". A template is parsed once
 * against the list of known names, so rendering cannot fail on a name. There are
 * no conditions, no loops, and no escape for {{.
 *
 * Values are never trusted: HTML escapes them, and every form turns their
 * control bytes, including line ends, into spaces.
 *
 * Threads: any. Ownership: the template lives in the caller's arena and borrows the text.
 */
#pragma once

#include <stddef.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

struct template;

enum template_form { TEMPLATE_PLAIN, TEMPLATE_HTML };

/*
 * NULL ends names; at most 64. ERR_INVALID names the line: an unknown name, a
 * {{ without its }}, invalid UTF-8, a control byte.
 */
int template_parse(const char *text, const char *const *names, struct arena *mem,
	const struct template **out, struct err *e) MUST_CHECK;
/* values: in the order of the names; NULL stands for "". */
void template_render(const struct template *t, const char *const *values, enum template_form form,
	struct buf *out);
