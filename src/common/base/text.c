/* SPDX-License-Identifier: MIT */
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int
text_file_read(const char *path, size_t max, struct arena *mem, const char **out, struct err *e)
{
	FILE *f = fopen(path, "re");
	char *text = NULL;
	size_t n = 0;
	int rc = -1;

	if (f) {
		text = must_malloc(max + 1);
		n = fread(text, 1, max + 1, f);
	}
	if (!f || ferror(f))
		err_set(e, errno == ENOENT ? ERR_MISSING : ERR_INVALID, "cannot read %s: %s", path,
			strerror(errno));
	else if (n > max)
		err_set(e, ERR_INVALID, "%s is larger than %zu bytes", path, max);
	else if (memchr(text, '\0', n))
		err_set(e, ERR_INVALID, "%s holds a NUL byte: it is not text", path);
	else if (!(*out = arena_strndup(mem, text, n)))
		err_set(e, ERR_LIMIT, "no room for %s", path);
	else
		rc = 0;
	if (f)
		fclose(f);
	free(text);
	return rc;
}

int
text_hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}
