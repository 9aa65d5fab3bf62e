/* SPDX-License-Identifier: MIT */
#include "model/identity.h"

#include <idn2.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#define LOCAL_MAX 64
#define LABEL_MAX 63
#define RAW_MAX 400 /* bytes of UTF-8: a longer domain has over 100 bytes as A-labels */

/* <ctype.h> would depend on the locale. */
static bool
is_letter(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool
is_digit(unsigned char c)
{
	return c >= '0' && c <= '9';
}

static char
lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

int
username_check(const char *text, size_t length, struct err *e)
{
	if (length < USERNAME_MIN || length > USERNAME_MAX)
		return err_set(e, ERR_INVALID, "must have %d to %d characters", USERNAME_MIN,
			USERNAME_MAX);
	for (size_t i = 0; i < length; i++) {
		unsigned char c = (unsigned char)text[i];

		if (!is_letter(c) && !is_digit(c) && c != '_' && c != '.' && c != '-')
			return err_set(e, ERR_INVALID,
				"may only have letters, digits, '_', '.' and '-'");
	}
	return 0;
}

/* A dot-atom: no part between, before or after the dots is empty. */
static int
local_check(const char *text, size_t length, struct err *e)
{
	if (length == 0 || length > LOCAL_MAX)
		return err_set(e, ERR_INVALID, "must have 1 to %d characters before the @",
			LOCAL_MAX);
	for (size_t i = 0; i < length; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c == '.' && (i == 0 || i + 1 == length || text[i + 1] == '.'))
			return err_set(e, ERR_INVALID, "has a misplaced dot before the @");
		if (c == '.' || is_letter(c) || is_digit(c))
			continue;
		if (c == '\0' || !strchr("!#$%&'*+-/=?^_`{|}~", c))
			return err_set(e, ERR_INVALID,
				"has a character before the @ that is not allowed");
	}
	return 0;
}

/* Two or more labels of letters, digits and inner hyphens; the last one is no number. */
static int
domain_check(const char *domain, struct err *e)
{
	size_t labels = 0, label = 0;
	bool letter = false;

	for (const char *p = domain;; p++) {
		unsigned char c = (unsigned char)*p;

		if (c == '.' || c == '\0') {
			if (label == 0 || label > LABEL_MAX || p[-1] == '-')
				return err_set(e, ERR_INVALID, "has a domain that can't exist");
			labels++;
			if (c == '\0')
				break;
			label = 0;
			letter = false;
		} else if (is_letter(c) || is_digit(c) || (c == '-' && label > 0)) {
			label++;
			letter |= is_letter(c);
		} else {
			return err_set(e, ERR_INVALID, "has a domain that can't exist");
		}
	}
	if (labels < 2 || !letter)
		return err_set(e, ERR_INVALID, "needs a whole domain name after the @");
	return 0;
}

static bool
needs_idn(const char *domain, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if ((unsigned char)domain[i] >= 0x80 ||
			(i + 4 <= length && strncasecmp(domain + i, "xn--", 4) == 0))
			return true;
	return false;
}

/* Writes the A-label form to out, which has room bytes. domain ends with a NUL byte. */
static int
domain_normalize(const char *domain, size_t length, char *out, size_t room, struct err *e)
{
	uint8_t *ascii = NULL;
	const char *from = domain;
	size_t n;
	int rc = -1;

	if (needs_idn(domain, length)) {
		if (idn2_lookup_u8((const uint8_t *)domain, &ascii,
			    IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL | IDN2_USE_STD3_ASCII_RULES) !=
			IDN2_OK)
			return err_set(e, ERR_INVALID, "has a domain that can't exist");
		from = (const char *)ascii;
	}
	n = strlen(from);
	if (n >= room) {
		err_set(e, ERR_INVALID, "must have at most %d characters", EMAIL_MAX);
		goto out;
	}
	for (size_t i = 0; i <= n; i++)
		out[i] = lower(from[i]);
	rc = domain_check(out, e);
out:
	if (ascii)
		idn2_free(ascii);
	return rc;
}

int
email_normalize(const char *text, size_t length, char out[static EMAIL_MAX + 1], struct err *e)
{
	const char *at = memrchr(text, '@', length);
	char domain[RAW_MAX + 1];
	size_t local, rest;

	if (!at)
		return err_set(e, ERR_INVALID, "needs an @");
	local = (size_t)(at - text);
	rest = length - local - 1;
	if (local_check(text, local, e) < 0)
		return -1;
	if (rest == 0 || rest > RAW_MAX || memchr(at + 1, '\0', rest))
		return err_set(e, ERR_INVALID, "has a domain that can't exist");
	memcpy(domain, at + 1, rest);
	domain[rest] = '\0';
	for (size_t i = 0; i < local; i++)
		out[i] = lower(text[i]);
	out[local] = '@';
	return domain_normalize(domain, rest, out + local + 1, EMAIL_MAX + 1 - local - 1, e);
}
