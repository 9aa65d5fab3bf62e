/* SPDX-License-Identifier: MIT */
#include "user_input.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"

static void
fault_add(struct user_input *in, const char *field, const char *reason)
{
	if (in->error_count < USER_ERRORS_MAX)
		in->errors[in->error_count++] = (struct problem_field){ field, reason };
}

static size_t
characters(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

/* One line of text, 1 to max characters, not only blanks. */
static const char *
line_read(struct user_input *in, struct arena *mem, const char *field, const struct json *v,
	size_t max)
{
	const char *text = json_string(v);
	bool blank = true;

	if (!text) {
		fault_add(in, field, "is not a string");
		return NULL;
	}
	for (const char *p = text; *p; p++) {
		if ((unsigned char)*p < 0x20 || *p == 0x7f) {
			fault_add(in, field, "holds control characters");
			return NULL;
		}
		blank &= *p == ' ';
	}
	if (blank || characters(text) > max) {
		char *reason = arena_printf(mem, "needs 1 to %zu characters, not only blanks", max);

		fault_add(in, field, reason ? reason : "has a wrong length");
		return NULL;
	}
	return text;
}

static void
username_read(struct user_input *in, struct arena *mem, const struct json *v)
{
	struct err e = ERR_INIT;
	const char *text = json_string(v);

	if (!text)
		fault_add(in, "username", "is not a string");
	else if (username_check(text, strlen(text), &e))
		fault_add(in, "username", arena_strdup(mem, e.text));
	else
		in->username = text;
}

static void
email_read(struct user_input *in, struct arena *mem, const struct json *v)
{
	struct err e = ERR_INIT;
	const char *text = json_string(v);

	if (!text)
		fault_add(in, "email", "is not a string");
	else if (email_normalize(text, strlen(text), in->email, &e))
		fault_add(in, "email", arena_strdup(mem, e.text));
}

static void
address_read(struct user_input *in, struct arena *mem, const struct json *v)
{
	struct address_input *a = &in->address;
	const struct {
		const char *name, *field;
		size_t max;
		bool required;
		const char **out;
	} rows[] = { { "street", "address.street", 200, true, &a->street },
		{ "postal_code", "address.postal_code", 10, true, &a->postal_code },
		{ "city", "address.city", 100, true, &a->city },
		{ "region", "address.region", 100, false, &a->region },
		{ "country", "address.country", COUNTRY_MAX, true, &a->country } };
	bool seen[ARRAY_LEN(rows)] = { false };

	in->has_address = true;
	if (json_type(v) == JSON_NULL) {
		in->address_null = true;
		return;
	}
	if (json_type(v) != JSON_OBJECT) {
		fault_add(in, "address", "is not an object");
		return;
	}
	for (const struct json *m = json_first(v); m; m = json_next(m)) {
		size_t i = 0;

		while (i < ARRAY_LEN(rows) && strcmp(rows[i].name, json_name(m)) != 0)
			i++;
		if (i == ARRAY_LEN(rows)) {
			fault_add(in, "address", "has a field that is not known");
			continue;
		}
		seen[i] = true;
		if (rows[i].required || json_type(m) != JSON_NULL)
			*rows[i].out = line_read(in, mem, rows[i].field, m, rows[i].max);
	}
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (rows[i].required && !seen[i])
			fault_add(in, rows[i].field, "is missing");
}

void
user_input_read(const struct json *v, bool whole, struct arena *mem, struct user_input *out)
{
	bool has_username = false, has_email = false;

	*out = (struct user_input){ 0 };
	if (json_type(v) != JSON_OBJECT) {
		fault_add(out, "", "the body is not an object");
		return;
	}
	for (const struct json *m = json_first(v); m; m = json_next(m)) {
		const char *name = json_name(m);

		if (strcmp(name, "username") == 0) {
			has_username = true;
			username_read(out, mem, m);
		} else if (strcmp(name, "email") == 0) {
			has_email = true;
			email_read(out, mem, m);
		} else if (strcmp(name, "name") == 0) {
			out->has_name = true;
			if (json_type(m) != JSON_NULL)
				out->name = line_read(out, mem, "name", m, 100);
		} else if (strcmp(name, "address") == 0) {
			address_read(out, mem, m);
		} else if (strcmp(name, "profile_score") == 0 || strcmp(name, "version") == 0 ||
			strcmp(name, "id") == 0) {
			fault_add(out, name, "cannot be set by a client");
		} else {
			char *field = arena_strndup(mem, name, utf8_cut(name, strlen(name), 64));

			fault_add(out, field ? field : "", "is not a known field");
		}
	}
	if (whole && !has_username)
		fault_add(out, "username", "is missing");
	if (whole && !has_email)
		fault_add(out, "email", "is missing");
}
