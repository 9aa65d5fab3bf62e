/* SPDX-License-Identifier: MIT */
/* Prometheus text: each sample lies within the text, and its name and labels can be asked for. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/promtext.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* a copy of its exact size, with no NUL behind it */
	char *copy = malloc(size ? size : 1), out[16];
	const char *at, *end;
	struct promtext_sample s;

	must(copy);
	if (size)
		memcpy(copy, data, size);
	at = copy;
	end = copy + size;
	while (promtext_next(&at, end, &s)) {
		must(s.name >= copy && s.name + s.name_length <= end && s.name_length > 0);
		must(!s.labels || s.labels + s.labels_length <= end);
		if (promtext_label(&s, "daemon", out, sizeof out))
			must(strlen(out) < sizeof out);
		(void)promtext_is(&s, "onboard_build_info");
	}
	must(at == end);
	free(copy);
	return 0;
}
