/* SPDX-License-Identifier: MIT */
/*
 * Checks the five kinds of server URL before a library sees them, so that each
 * fault gets one clear message: postgresql:// (postgres://), amqp(s)://,
 * mongodb:// (mongodb+srv://), redis(s)://, smtp(s)://. Decodes percent escapes;
 * refuses control bytes, NUL and spaces.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"

enum url_kind { URL_POSTGRES, URL_AMQP, URL_MONGO, URL_REDIS, URL_SMTP };

struct url_param {
	const char *name, *value;
};

struct url {
	enum url_kind kind;
	bool tls; /* its scheme is amqps, rediss or smtps */
	const char *scheme;
	const char *user, *password; /* decoded; NULL: not given */
	const char *host;            /* the first one, decoded; IPv6 without brackets */
	uint16_t port;               /* the kind's default when not given */
	const char *
		path; /* decoded, without the first slash; "" when not given: database, vhost, number */
	const struct url_param *params; /* decoded */
	size_t param_count;
};

/* out and its texts live in mem. */
int url_parse(enum url_kind kind, const char *text, struct arena *mem, struct url *out,
	struct err *e) MUST_CHECK;
const char *url_param(const struct url *u, const char *name); /* NULL when absent */
/* The URL for logs, in mem: *** replaces the password and the parameters' values. NULL: invalid. */
const char *url_redact(enum url_kind kind, const char *text, struct arena *mem);
