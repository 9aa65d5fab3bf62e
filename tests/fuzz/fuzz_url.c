/* SPDX-License-Identifier: MIT */
/* Server URLs: every part is text, and the redacted form never holds the password. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena *mem;
	const char *red, *first;
	char text[4200];
	struct url u;
	struct err e;

	if (size < 1 || size > sizeof text - 1 || memchr(data, '\0', size))
		return 0;
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	mem = arena_new(1024, 1 << 20);
	if (url_parse(data[0] % 5, text, mem, &u, &e) == 0) {
		must(u.host && *u.host && u.port > 0 && u.path && u.scheme);
		red = url_redact(data[0] % 5, text, mem);
		must(red);
		/* where it stands once, and is long enough not to stand in "***" or a scheme by chance */
		first = u.password && strlen(u.password) >= 8 ? strstr(text, u.password) : NULL;
		if (first && !strstr(first + 1, u.password))
			must(!strstr(red, u.password));
	} else {
		must(e.kind == ERR_INVALID || e.kind == ERR_LIMIT);
	}
	arena_free(mem);
	return 0;
}
