/* SPDX-License-Identifier: MIT */
/* UTF-8 as RFC 3629 has it: no overlong form, no surrogate, nothing past U+10FFFF. */
#pragma once

#include <stddef.h>

size_t utf8_length_long(const char *p, size_t left); /* of what is not ASCII */

/* Bytes of the character that p begins with; 0: none does. left > 0. */
static inline size_t
utf8_length(const char *p, size_t left)
{
	return (unsigned char)*p < 0x80 ? 1 : utf8_length_long(p, left);
}

/* The longest front of at most max bytes that does not cut a character. */
size_t utf8_cut(const char *text, size_t length, size_t max);
