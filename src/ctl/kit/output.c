/* SPDX-License-Identifier: MIT */
#include "ctl/kit/output.h"

#include <errno.h>
#include <stdio.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/must.h"

static int first_fault;

/* A stdio stream's writer: answers how many bytes went out, fewer after a fault. */
static ssize_t
output_write(void *cookie, const char *bytes, size_t length)
{
	size_t done = 0;

	(void)cookie;
	while (done < length) {
		ssize_t n = write(STDOUT_FILENO, bytes + done, length - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			if (!first_fault)
				first_fault = errno;
			break;
		}
		done += (size_t)n;
	}
	return (ssize_t)done;
}

void
output_begin(void)
{
	FILE *f = fopencookie(NULL, "w", (cookie_io_functions_t){ .write = output_write });

	must(f);
	setvbuf(f, NULL, isatty(STDOUT_FILENO) ? _IOLBF : _IOFBF, 1 << 16);
	stdout = f;
}

int
output_end(void)
{
	fflush(stdout);
	return first_fault;
}
