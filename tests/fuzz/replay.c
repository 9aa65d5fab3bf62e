/* SPDX-License-Identifier: MIT */
/* Replays a fuzz target's corpus: every file of the folders and every file given. TAP. */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/must.h"

#define INPUT_MAX (1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned replayed;

static void
file_replay(const char *path)
{
	uint8_t *data = must_malloc(INPUT_MAX);
	FILE *f = fopen(path, "re");
	size_t n;

	if (!f) {
		printf("not ok - %s: %s\n", path, strerror(errno));
		exit(1);
	}
	/* said before, so that a crash leaves the name behind */
	printf("# %s\n", path);
	fflush(stdout);
	n = fread(data, 1, INPUT_MAX, f);
	fclose(f);
	data = must_realloc(data,
		n); /* exactly so large, for the sanitizer to see a step past it */
	LLVMFuzzerTestOneInput(data, n);
	free(data);
	replayed++;
}

static void
path_replay(const char *path)
{
	struct dirent *entry;
	struct stat st;
	char inner[4096];
	DIR *d;

	if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode)) {
		file_replay(path);
		return;
	}
	d = opendir(path);
	if (!d) {
		printf("not ok - %s: %s\n", path, strerror(errno));
		exit(1);
	}
	while ((entry = readdir(d)))
		if (entry->d_name[0] != '.') {
			must(snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name) <
				(int)sizeof inner);
			file_replay(inner);
		}
	closedir(d);
}

int
main(int argc, char **argv)
{
	puts("1..1");
	for (int i = 1; i < argc; i++)
		path_replay(argv[i]);
	printf("%s 1 - %u inputs\n", replayed ? "ok" : "not ok", replayed);
	return replayed ? 0 : 1;
}
