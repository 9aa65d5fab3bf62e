/* SPDX-License-Identifier: MIT */
/*
 * What people call themselves: usernames and e-mail addresses, checked before
 * anything stores, compares or sends them.
 *
 * Threads: any. Errors: ERR_INVALID with a text that fits behind the field's
 * name; it never repeats the value.
 */
#pragma once

#include <stddef.h>

#include "base/err.h"

#define USERNAME_MIN 3
#define USERNAME_MAX 50
#define EMAIL_MAX 100 /* bytes, in the form in which it is stored */

/* 3 to 50 of letters, digits, '_', '.', '-'; the case is kept. */
int username_check(const char *text, size_t length, struct err *e) MUST_CHECK;

/*
 * The address as it is stored, answered and published: lower case, the domain
 * as A-labels. The local part is a dot-atom (RFC 5322) of at most 64 bytes:
 * no quotes, no comments, no spaces; so nothing in it needs escaping in mail
 * headers. The domain has two labels or more and a top label with a letter.
 */
int email_normalize(const char *text, size_t length, char out[static EMAIL_MAX + 1], struct err *e)
	MUST_CHECK;
