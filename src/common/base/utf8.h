/* SPDX-License-Identifier: MIT */
/* UTF-8 by RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF. */
#pragma once

#include <stddef.h>

size_t utf8_length_long(const char *p, size_t left); /* p begins with no ASCII byte */

/* The bytes of the character at p; 0: invalid. left > 0. */
static inline size_t
utf8_length(const char *p, size_t left)
{
	return (unsigned char)*p < 0x80 ? 1 : utf8_length_long(p, left);
}

/* The length of the longest prefix of at most max bytes that cuts no character. */
size_t utf8_cut(const char *text, size_t length, size_t max);
