/* SPDX-License-Identifier: MIT */
/*
 * The five kinds of server URL, checked before a library sees them, so that
 * each fault gets one clear message: postgresql:// (postgres://), amqp(s)://,
 * mongodb:// (mongodb+srv://), redis(s)://, smtp(s)://. Percent escapes are
 * decoded; control bytes, NUL and spaces are refused.
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
	bool tls; /* by its scheme: amqps, rediss, smtps */
	const char *scheme;
	const char *user, *password; /* decoded; NULL when not given */
	const char *host;            /* decoded, IPv6 without brackets; of several the first */
	uint16_t port;               /* the kind's default when not given */
	const char *
		path; /* decoded, without the first slash; "" when not given: database, vhost, number */
	const struct url_param *params; /* decoded */
	size_t param_count;
};

/* All of out lives in mem. */
int url_parse(enum url_kind kind, const char *text, struct arena *mem, struct url *out,
	struct err *e) MUST_CHECK;
const char *url_param(const struct url *u, const char *name); /* NULL when absent */
/* The URL with the password as ***: fit for logs; mem's. NULL when it can't be parsed. */
const char *url_redact(enum url_kind kind, const char *text, struct arena *mem);
