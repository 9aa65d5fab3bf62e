/* SPDX-License-Identifier: MIT */
/* The configuration file: a bad one is one line with its place, a good one prints and loads again. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Bytes as a file that has a name and no place on disk. */
static int
file_of(const void *bytes, size_t size, char path[64])
{
	int fd = memfd_create("conf", MFD_CLOEXEC);

	must(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
	snprintf(path, 64, "/proc/self/fd/%d", fd);
	return fd;
}

static char *
printed(const struct conf *c, size_t *size)
{
	char *text = NULL;
	FILE *f = open_memstream(&text, size);

	must(f);
	conf_print(c, f);
	must(fclose(f) == 0);
	return text;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct conf *c, *again;
	char path[64];
	struct err e = ERR_INIT;
	char *text;
	size_t n;
	int fd;

	if (size > 65536)
		return 0;
	fd = file_of(data, size, path);
	if (conf_load(conf_keys, path, NULL, &c, &e) < 0) {
		must(e.kind == ERR_INVALID && strstr(e.text, "/proc/self/fd/"));
		close(fd);
		return 0;
	}
	close(fd);
	must(conf_int(c, "topology", "check_every") >= 1000);
	text = printed(c, &n);
	conf_free(c);
	fd = file_of(text, n, path);
	if (conf_load(conf_keys, path, NULL, &again, &e) < 0) {
		fprintf(stderr, "%s\n%s", e.text, text);
		must(!"what was printed does not load");
	}
	conf_free(again);
	close(fd);
	free(text);
	return 0;
}
