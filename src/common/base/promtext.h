/* SPDX-License-Identifier: MIT */
/*
 * Reading Prometheus text, as a daemon's /metrics gives it: one sample after
 * another. A line that is none is passed over. Nothing is copied: a sample
 * points into the text.
 *
 * Threads: any.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct promtext_sample {
	const char *name, *labels; /* labels: what stands between the braces; not NUL-ended */
	size_t name_length, labels_length;
	double value;
};

/* The next one of the text between *at and end, or false. */
bool promtext_next(const char **at, const char *end, struct promtext_sample *out);
bool promtext_is(const struct promtext_sample *s, const char *name);
/* A label's value, cut to size; false: it has none. Escapes stay as they are. */
bool promtext_label(const struct promtext_sample *s, const char *label, char *out, size_t size);
