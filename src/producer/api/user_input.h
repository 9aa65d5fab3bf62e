/* SPDX-License-Identifier: MIT */
/*
 * Checks what a client says about a user. Reports the faults of all fields at
 * once, and never repeats a value.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "model/identity.h"
#include "http/problem.h"

struct json;

#define USER_ERRORS_MAX 16
#define COUNTRY_MAX 100 /* characters: a name or a code */

struct address_input {
	const char *street, *postal_code, *city, *region, *country; /* region may be NULL */
};

struct user_input {
	const char *username;       /* NULL: not given */
	char email[EMAIL_MAX + 1];  /* "": not given */
	const char *name;           /* NULL: none, or not given */
	bool has_name, has_address; /* given, even as null */
	bool address_null;
	struct address_input address; /* set when has_address and not address_null */
	struct problem_field errors[USER_ERRORS_MAX];
	size_t error_count;
};

/* whole: username and email are required. Texts live as long as v and mem. */
void user_input_read(const struct json *v, bool whole, struct arena *mem, struct user_input *out);
