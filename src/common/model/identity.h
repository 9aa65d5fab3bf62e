/* SPDX-License-Identifier: MIT */
/*
 * Usernames and e-mail addresses, checked before anything stores, compares or
 * sends them.
 *
 * Threads: any. Errors: ERR_INVALID with a text that continues the field's name
 * ("must have ..."); it never repeats the value.
 */
#pragma once

#include <stddef.h>

#include "base/err.h"

#define USERNAME_MIN 3
#define USERNAME_MAX 50
#define EMAIL_MAX 100 /* bytes, in the stored form */

/* Letters, digits, '_', '.', '-'. The case is kept. */
int username_check(const char *text, size_t length, struct err *e) MUST_CHECK;

/*
 * Writes the address as we store, answer and publish it: in lower case, the
 * domain as A-labels. The local part is a dot-atom (RFC 5322) of at most 64
 * bytes. It has no quotes, comments or spaces, so mail headers need no escapes.
 * The domain has two labels or more, and its top label has a letter.
 */
int email_normalize(const char *text, size_t length, char out[static EMAIL_MAX + 1], struct err *e)
	MUST_CHECK;
