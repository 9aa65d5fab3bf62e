/* SPDX-License-Identifier: MIT */
#include "base/must.h"

#include <stdio.h>
#include <string.h>

void
must_failed(const char *claim, const char *file, int line, const char *function)
{
	/* to stderr, since the log itself may be broken */
	fprintf(stderr, "bug: %s:%d: %s: must(%s)\n", file, line, function, claim);
	abort();
}

void *
must_malloc(size_t size)
{
	void *p = malloc(size ? size : 1);

	must(p);
	return p;
}

void *
must_calloc(size_t count, size_t size)
{
	void *p = calloc(count ? count : 1, size ? size : 1);

	must(p);
	return p;
}

void *
must_realloc(void *old, size_t size)
{
	void *p = realloc(old, size ? size : 1);

	must(p);
	return p;
}

char *
must_strdup(const char *text)
{
	size_t n = strlen(text) + 1;

	return memcpy(must_malloc(n), text, n);
}
