/* SPDX-License-Identifier: MIT */
#include "base/uuid7.h"

#include "base/clock.h"
#include "base/rnd.h"
#include "base/text.h"

/* This thread's last UUID. Its time may run ahead of the clock but never goes back. */
static _Thread_local struct {
	uint64_t ms;
	unsigned counter; /* 12 bits, in rand_a */
} last;

struct uuid
uuid7_new(void)
{
	uint64_t now = (uint64_t)(clock_wall_us() / 1000);
	struct uuid u = { 0 };

	rnd_bytes(u.bytes + 6, 10);
	if (now > last.ms) {
		last.ms = now;
		/* begin in the lower half, to leave room for counting */
		last.counter = ((unsigned)u.bytes[6] << 8 | u.bytes[7]) & 0x7ff;
	} else if (++last.counter > 0xfff) {
		last.ms++;
		last.counter = 0;
	}
	for (int i = 0; i < 6; i++)
		u.bytes[i] = (uint8_t)(last.ms >> (40 - 8 * i));
	u.bytes[6] = (uint8_t)(0x70 | last.counter >> 8);
	u.bytes[7] = (uint8_t)last.counter;
	u.bytes[8] = 0x80 | (u.bytes[8] & 0x3f);
	return u;
}

void
uuid_format(const struct uuid *u, char out[static UUID_TEXT_SIZE])
{
	static const char hex[] = "0123456789abcdef";
	char *p = out;

	for (int i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*p++ = '-';
		*p++ = hex[u->bytes[i] >> 4];
		*p++ = hex[u->bytes[i] & 15];
	}
	*p = '\0';
}

bool
uuid_parse(const char *text, size_t length, struct uuid *out)
{
	struct uuid u = { 0 };
	const char *p = text;

	if (length != UUID_TEXT_SIZE - 1)
		return false;
	for (int i = 0; i < 16; i++, p += 2) {
		int high, low;

		if ((i == 4 || i == 6 || i == 8 || i == 10) && *p++ != '-')
			return false;
		high = text_hex_digit(p[0]);
		low = text_hex_digit(p[1]);
		if (high < 0 || low < 0)
			return false;
		u.bytes[i] = (uint8_t)(high << 4 | low);
	}
	*out = u;
	return true;
}

bool
uuid_is_v7(const struct uuid *u)
{
	return u->bytes[6] >> 4 == 7 && u->bytes[8] >> 6 == 2;
}

int64_t
uuid7_time_ms(const struct uuid *u)
{
	int64_t ms = 0;

	for (int i = 0; i < 6; i++)
		ms = ms << 8 | u->bytes[i];
	return ms;
}
