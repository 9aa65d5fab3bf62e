/* SPDX-License-Identifier: MIT */
/*
 * Reads Prometheus text, the format of a daemon's /metrics, one sample after
 * another. Skips lines that are no samples. Copies nothing: a sample points into
 * the text.
 *
 * Threads: any.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct promtext_sample {
	const char *name,
		*labels; /* labels: the text between the braces; neither ends with a NUL */
	size_t name_length, labels_length;
	double value;
};

/* Reads the next sample between *at and end; false: there is none. */
bool promtext_next(const char **at, const char *end, struct promtext_sample *out);
bool promtext_is(const struct promtext_sample *s, const char *name);
/* Copies a label's value, cut to size; false: no such label. Escapes stay as they are. */
bool promtext_label(const struct promtext_sample *s, const char *label, char *out, size_t size);
