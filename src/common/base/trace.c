/* SPDX-License-Identifier: MIT */
#include "base/trace.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/rnd.h"

#define PARENT_LENGTH (TRACE_PARENT_SIZE - 1)
enum { ID_AT = 3, SPAN_AT = 36, FLAGS_AT = 53 };

/* Lower-case hex. All zeros mean "none", so only `zeros` allows them. */
static bool
hex_part(const char *p, size_t n, bool zeros)
{
	return strspn(p, "0123456789abcdef") >= n && (zeros || strspn(p, "0") < n);
}

/* A later version may have more after the flags; its first part reads like ours. */
static bool
parent_valid(const char *p, size_t length)
{
	if (length < PARENT_LENGTH || strncmp(p, "ff", 2) == 0 || !hex_part(p, 2, true))
		return false;
	if (length > PARENT_LENGTH && (strncmp(p, "00", 2) == 0 || p[PARENT_LENGTH] != '-'))
		return false;
	return p[2] == '-' && p[35] == '-' && p[52] == '-' && hex_part(p + ID_AT, 32, false) &&
		hex_part(p + SPAN_AT, 16, false) && hex_part(p + FLAGS_AT, 2, true);
}

static void
hex_random(char *out, size_t n)
{
	static const char digits[] = "0123456789abcdef";
	uint8_t bytes[16];

	rnd_bytes(bytes, n / 2);
	bytes[0] |= 1; /* never all zeros */
	for (size_t i = 0; i < n / 2; i++) {
		out[2 * i] = digits[bytes[i] >> 4];
		out[2 * i + 1] = digits[bytes[i] & 15];
	}
}

void
trace_begin(struct trace *t, const char *from, size_t length)
{
	memcpy(t->parent, "00-                                -                -01",
		TRACE_PARENT_SIZE);
	if (from && parent_valid(from, length)) {
		memcpy(t->parent + ID_AT, from + ID_AT, 32);
		memcpy(t->parent + FLAGS_AT, from + FLAGS_AT, 2);
	} else {
		hex_random(t->parent + ID_AT, 32);
	}
	hex_random(t->parent + SPAN_AT, 16);
	memcpy(t->id, t->parent + ID_AT, 32);
	t->id[32] = '\0';
}
