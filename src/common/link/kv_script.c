/* SPDX-License-Identifier: MIT */
/* Redis: the name of a script is the SHA-1 of its text. */
#include "link/kv.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static uint32_t
roll(uint32_t x, int n)
{
	return x << n | x >> (32 - n);
}

/* One block of SHA-1 (FIPS 180-4). Redis names scripts with it; it protects nothing. */
static void
sha1_block(uint32_t h[static 5], const unsigned char *p)
{
	uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], x = h[4], f, t;

	for (int i = 0; i < 16; i++)
		w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 |
			(uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
	for (int i = 16; i < 80; i++)
		w[i] = roll(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
	for (int i = 0; i < 80; i++) {
		if (i < 20)
			f = ((b & c) | (~b & d)) + 0x5a827999u;
		else if (i < 40)
			f = (b ^ c ^ d) + 0x6ed9eba1u;
		else if (i < 60)
			f = ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdcu;
		else
			f = (b ^ c ^ d) + 0xca62c1d6u;
		t = roll(a, 5) + f + x + w[i];
		x = d;
		d = c;
		c = roll(b, 30);
		b = a;
		a = t;
	}
	h[0] += a;
	h[1] += b;
	h[2] += c;
	h[3] += d;
	h[4] += x;
}

void
kv_script_init(struct kv_script *s, const char *text)
{
	uint32_t h[5] = { 0x67452301u, 0xefcdab89u, 0x98badcfeu, 0x10325476u, 0xc3d2e1f0u };
	size_t length = strlen(text), rest = length % 64, last = rest < 56 ? 64 : 128;
	unsigned char end[128] = { 0 };

	for (size_t i = 0; i + 64 <= length; i += 64)
		sha1_block(h, (const unsigned char *)text + i);
	memcpy(end, text + length - rest, rest);
	end[rest] = 0x80;
	for (size_t i = 0; i < 8; i++)
		end[last - 1 - i] = (unsigned char)((uint64_t)length * 8 >> (8 * i));
	sha1_block(h, end);
	if (last == 128)
		sha1_block(h, end + 64);
	s->text = text;
	snprintf(s->sha, sizeof s->sha,
		"%08" PRIx32 "%08" PRIx32 "%08" PRIx32 "%08" PRIx32 "%08" PRIx32, h[0], h[1], h[2],
		h[3], h[4]);
}
