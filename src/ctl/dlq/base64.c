/* SPDX-License-Identifier: MIT */
#include "ctl/dlq/base64.h"

#include <stdint.h>
#include <string.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void
base64_add(struct buf *out, const void *bytes, size_t length)
{
	const uint8_t *p = bytes;

	for (size_t i = 0; i < length; i += 3) {
		size_t n = length - i < 3 ? length - i : 3;
		uint32_t v = (uint32_t)p[i] << 16 | (n > 1 ? (uint32_t)p[i + 1] << 8 : 0) |
			(n > 2 ? p[i + 2] : 0);

		buf_add(out,
			(char[]){ digits[v >> 18], digits[v >> 12 & 63],
				n > 1 ? digits[v >> 6 & 63] : '=', n > 2 ? digits[v & 63] : '=' },
			4);
	}
}

bool
base64_read(struct buf *out, const char *text)
{
	size_t before = out->length, n = strlen(text), pad = 0;
	uint32_t v = 0;

	if (n % 4)
		return false;
	while (pad < 2 && pad < n && text[n - 1 - pad] == '=')
		pad++;
	for (size_t i = 0; i < n - pad; i++) {
		const char *d = strchr(digits, text[i]);

		if (!d) {
			out->length = before;
			return false;
		}
		v = v << 6 | (uint32_t)(d - digits);
		if (i % 4 == 3)
			buf_add(out, (char[]){ (char)(v >> 16), (char)(v >> 8), (char)v }, 3);
	}
	if (pad == 1)
		buf_add(out, (char[]){ (char)(v >> 10), (char)(v >> 2) }, 2);
	else if (pad == 2)
		buf_add(out, (char[]){ (char)(v >> 4) }, 1);
	return true;
}
