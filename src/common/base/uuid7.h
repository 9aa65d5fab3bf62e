/* SPDX-License-Identifier: MIT */
/*
 * UUIDs: makes version 7 (RFC 9562), reads any version. The UUIDs of one thread
 * sort in the order of their making, also within a millisecond and after the wall
 * clock stepped back.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UUID_TEXT_SIZE 37

struct uuid {
	uint8_t bytes[16];
};

struct uuid uuid7_new(void);
void uuid_format(const struct uuid *u, char out[static UUID_TEXT_SIZE]); /* lower case */
bool uuid_parse(const char *text, size_t length, struct uuid *out); /* 8-4-4-4-12, either case */
bool uuid_is_v7(const struct uuid *u);
int64_t uuid7_time_ms(const struct uuid *u); /* u must be a version 7 */
