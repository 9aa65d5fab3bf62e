/* SPDX-License-Identifier: MIT */
/*
 * Server URLs: every part is text, and the redacted form is the same URL but for
 * its password and its parameters' values, which are "***".
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool
same(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena *mem;
	const char *red;
	char text[4200];
	struct url u, shown;
	struct err e;

	if (size < 1 || size > sizeof text - 1 || memchr(data, '\0', size))
		return 0;
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	mem = arena_new(1024, 1 << 20);
	if (url_parse(data[0] % 5, text, mem, &u, &e) == 0) {
		must(u.host && *u.host && u.port > 0 && u.path && u.scheme);
		red = url_redact(data[0] % 5, text, mem);
		must(red && url_parse(data[0] % 5, red, mem, &shown, &e) == 0);
		must(same(shown.password, u.password ? "***" : NULL) && same(shown.user, u.user));
		must(same(shown.scheme, u.scheme) && same(shown.host, u.host) &&
			shown.port == u.port);
		must(same(shown.path, u.path) && shown.param_count == u.param_count);
		for (size_t i = 0; i < u.param_count; i++)
			must(same(shown.params[i].name, u.params[i].name) &&
				same(shown.params[i].value, "***"));
	} else {
		must(e.kind == ERR_INVALID || e.kind == ERR_LIMIT);
	}
	arena_free(mem);
	return 0;
}
