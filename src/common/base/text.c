/* SPDX-License-Identifier: MIT */
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Opens regular files only: a daemon could wait for ever on a pipe or a terminal. */
static FILE *
file_open(const char *path, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	FILE *f;

	if (fd < 0) {
		err_set(e, errno == ENOENT ? ERR_MISSING : ERR_INVALID, "cannot read %s: %s", path,
			strerror(errno));
		return NULL;
	}
	must(fstat(fd, &st) == 0);
	if (!S_ISREG(st.st_mode)) {
		err_set(e, ERR_INVALID, "cannot read %s: it is %s", path,
			S_ISDIR(st.st_mode) ? "a directory" : "not a regular file");
		close(fd);
		return NULL;
	}
	f = fdopen(fd, "r");
	must(f);
	return f;
}

int
text_file_read(const char *path, size_t max, struct arena *mem, const char **out, struct err *e)
{
	FILE *f = file_open(path, e);
	char *text;
	size_t n;
	int rc = -1;

	if (!f)
		return -1;
	text = must_malloc(max + 1);
	n = fread(text, 1, max + 1, f);
	if (ferror(f))
		err_set(e, ERR_INVALID, "cannot read %s: %s", path, strerror(errno));
	else if (n > max)
		err_set(e, ERR_INVALID, "%s is larger than %zu bytes", path, max);
	else if (memchr(text, '\0', n))
		err_set(e, ERR_INVALID, "%s holds a NUL byte: it is not text", path);
	else if (!(*out = arena_strndup(mem, text, n)))
		err_set(e, ERR_LIMIT, "no room for %s", path);
	else
		rc = 0;
	fclose(f);
	free(text);
	return rc;
}

size_t
text_i64(int64_t n, char out[static TEXT_I64_SIZE])
{
	char digits[TEXT_I64_SIZE], *p = digits + sizeof digits;
	uint64_t u = n < 0 ? -(uint64_t)n : (uint64_t)n;
	size_t length;

	do
		*--p = (char)('0' + u % 10);
	while (u /= 10);
	if (n < 0)
		*--p = '-';
	length = (size_t)(digits + sizeof digits - p);
	memcpy(out, p, length);
	out[length] = '\0';
	return length;
}

int
text_hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}
