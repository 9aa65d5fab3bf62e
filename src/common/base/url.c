/* SPDX-License-Identifier: MIT */
#include "base/url.h"

#include <string.h>

#include "base/text.h"
#include "base/utf8.h"

#define PARAMS_MAX 32
#define URL_BYTES_MAX 4096

static const struct kind {
	const char *what;
	struct {
		const char *scheme;
		uint16_t port;
		bool tls;
	} schemes[3];
} kinds[] = {
	[URL_POSTGRES] = { "PostgreSQL",
		{ { "postgresql", 5432, false }, { "postgres", 5432, false } } },
	[URL_AMQP] = { "RabbitMQ", { { "amqp", 5672, false }, { "amqps", 5671, true } } },
	[URL_MONGO] = { "MongoDB",
		{ { "mongodb", 27017, false }, { "mongodb+srv", 27017, true } } },
	[URL_REDIS] = { "Redis", { { "redis", 6379, false }, { "rediss", 6379, true } } },
	[URL_SMTP] = { "SMTP", { { "smtp", 25, false }, { "smtps", 465, true } } },
};

/* Decodes percent escapes. The result must be UTF-8 without control bytes. */
static int
decode(const char *text, size_t length, struct arena *mem, const char *part, const char **out,
	struct err *e)
{
	char *to = arena_alloc(mem, length + 1);
	size_t n = 0;

	if (!to)
		return err_set(e, ERR_LIMIT, "the URL is too long");
	for (size_t i = 0; i < length; i++) {
		int high, low;

		if (text[i] != '%') {
			to[n++] = text[i];
			continue;
		}
		high = i + 2 < length ? text_hex_digit(text[i + 1]) : -1;
		low = i + 2 < length ? text_hex_digit(text[i + 2]) : -1;
		if (high < 0 || low < 0)
			return err_set(e, ERR_INVALID,
				"the URL's %s has a %% without two hex digits (%%25 is a %%)",
				part);
		to[n++] = (char)(high << 4 | low);
		i += 2;
	}
	for (size_t i = 0; i < n;) {
		size_t step = utf8_length(to + i, n - i);

		if (step == 0 || (unsigned char)to[i] < 0x20 || to[i] == 0x7f)
			return err_set(e, ERR_INVALID,
				"the URL's %s holds a control byte or is not UTF-8", part);
		i += step;
	}
	*out = to;
	return 0;
}

/* The whole text must be a decimal number from 1 to 65535. */
static int
port_parse(const char *text, size_t length, uint16_t *out, struct err *e)
{
	unsigned n = 0;

	for (size_t i = 0; i < length && n <= 65535; i++)
		n = text[i] >= '0' && text[i] <= '9' ? n * 10 + (unsigned)(text[i] - '0') : 65536;
	if (length == 0 || n == 0 || n > 65535)
		return err_set(e, ERR_INVALID, "the URL's port is not a number from 1 to 65535");
	*out = (uint16_t)n;
	return 0;
}

/* "user:password" */
static int
login_parse(const char *text, size_t length, struct arena *mem, struct url *out, struct err *e)
{
	const char *colon = memchr(text, ':', length);
	size_t user = colon ? (size_t)(colon - text) : length;

	if (user > 0 && decode(text, user, mem, "user", &out->user, e) < 0)
		return -1;
	if (colon)
		return decode(colon + 1, length - user - 1, mem, "password", &out->password, e);
	return 0;
}

/* "host", "host:port", "[v6]:port" */
static int
host_parse(const char *text, size_t length, struct arena *mem, struct url *out, struct err *e)
{
	const char *end = text + length, *colon;

	if (length > 0 && *text == '[') {
		const char *closing = memchr(text, ']', length);

		if (!closing || (closing + 1 < end && closing[1] != ':'))
			return err_set(e, ERR_INVALID, "the URL's IPv6 address has no ]");
		if (decode(text + 1, (size_t)(closing - text) - 1, mem, "host", &out->host, e) < 0)
			return -1;
		colon = closing + 1 < end ? closing + 1 : NULL;
	} else {
		colon = memchr(text, ':', length);
		if (decode(text, colon ? (size_t)(colon - text) : length, mem, "host", &out->host,
			    e) < 0)
			return -1;
	}
	if (!*out->host)
		return err_set(e, ERR_INVALID, "the URL names no host");
	return colon ? port_parse(colon + 1, (size_t)(end - colon) - 1, &out->port, e) : 0;
}

/* Checks each host of a comma list; out gets the first. */
static int
hosts_parse(const char *text, size_t length, struct arena *mem, struct url *out, struct err *e)
{
	const char *end = text + length, *comma = memchr(text, ',', length);

	if (host_parse(text, (size_t)((comma ? comma : end) - text), mem, out, e) < 0)
		return -1;
	while (comma) {
		struct url other = *out;

		text = comma + 1;
		comma = memchr(text, ',', (size_t)(end - text));
		if (host_parse(text, (size_t)((comma ? comma : end) - text), mem, &other, e) < 0)
			return -1;
	}
	return 0;
}

/* "a=b&c=d" */
static int
params_parse(const char *text, struct arena *mem, struct url *out, struct err *e)
{
	struct url_param *list = arena_alloc(mem, PARAMS_MAX * sizeof *list);

	if (!list)
		return err_set(e, ERR_LIMIT, "the URL is too long");
	out->params = list;
	while (*text) {
		size_t n = strcspn(text, "&");
		const char *equals = memchr(text, '=', n);

		if (out->param_count == PARAMS_MAX)
			return err_set(e, ERR_INVALID, "the URL has more than %d parameters",
				PARAMS_MAX);
		if (!equals || equals == text)
			return err_set(e, ERR_INVALID,
				"the URL's parameters are not name=value, joined by &");
		if (decode(text, (size_t)(equals - text), mem, "parameter",
			    &list[out->param_count].name, e) < 0 ||
			decode(equals + 1, n - (size_t)(equals - text) - 1, mem, "parameter",
				&list[out->param_count].value, e) < 0)
			return -1;
		out->param_count++;
		text += n + (text[n] == '&');
	}
	return 0;
}

static int
scheme_parse(enum url_kind kind, const char *text, struct url *out, const char **rest,
	struct err *e)
{
	const struct kind *k = &kinds[kind];

	for (size_t i = 0; i < ARRAY_LEN(k->schemes) && k->schemes[i].scheme; i++) {
		size_t n = strlen(k->schemes[i].scheme);

		if (strncmp(text, k->schemes[i].scheme, n) != 0 || strncmp(text + n, "://", 3) != 0)
			continue;
		*out = (struct url){ .kind = kind,
			.scheme = k->schemes[i].scheme,
			.tls = k->schemes[i].tls,
			.port = k->schemes[i].port,
			.path = "" };
		*rest = text + n + 3;
		return 0;
	}
	return err_set(e, ERR_INVALID, "not a %s URL: it begins with %s:// or %s://", k->what,
		k->schemes[0].scheme, k->schemes[1].scheme);
}

int
url_parse(enum url_kind kind, const char *text, struct arena *mem, struct url *out, struct err *e)
{
	const char *rest = NULL, *at, *end, *question;
	size_t authority;

	if (strlen(text) > URL_BYTES_MAX)
		return err_set(e, ERR_INVALID, "the URL is longer than %d bytes", URL_BYTES_MAX);
	for (const char *p = text; *p; p++)
		if ((unsigned char)*p <= ' ' || *p == 0x7f)
			return err_set(e, ERR_INVALID,
				"the URL has a space or a control byte; %%20 is a space");
	if (scheme_parse(kind, text, out, &rest, e) < 0)
		return -1;
	authority = strcspn(rest, "/?#");
	end = rest + authority;
	if (strchr(rest, '#'))
		return err_set(e, ERR_INVALID, "the URL has a #; in a password write %%23");
	at = memrchr(rest, '@', authority);
	if (at && memchr(rest, '@', (size_t)(at - rest)))
		return err_set(e, ERR_INVALID, "the URL has two @; in a password write %%40");
	if (at && login_parse(rest, (size_t)(at - rest), mem, out, e) < 0)
		return -1;
	at = at ? at + 1 : rest;
	if (hosts_parse(at, (size_t)(end - at), mem, out, e) < 0) {
		if (strchr(end, '@') && at == rest)
			err_wrap(e, "in a password a / is written %%2F, a ? %%3F");
		return -1;
	}
	question = strchrnul(end, '?');
	if (*end == '/' &&
		decode(end + 1, (size_t)(question - end) - 1, mem, "path", &out->path, e) < 0)
		return -1;
	return *question ? params_parse(question + 1, mem, out, e) : 0;
}

const char *
url_param(const struct url *u, const char *name)
{
	for (size_t i = 0; i < u->param_count; i++)
		if (strcmp(u->params[i].name, name) == 0)
			return u->params[i].value;
	return NULL;
}

/* Keeps the text as it was written, so that it parses again, and cuts out the secrets. */
const char *
url_redact(enum url_kind kind, const char *text, struct arena *mem)
{
	const char *rest, *end, *at, *colon;
	struct url u;
	char *out, *to;

	if (url_parse(kind, text, mem, &u, NULL) < 0)
		return NULL;
	rest = strstr(text, "://") + 3;
	end = rest + strcspn(rest, "/?");
	at = memrchr(rest, '@', (size_t)(end - rest));
	colon = at ? memchr(rest, ':', (size_t)(at - rest)) : NULL;
	/* room for "***", which may replace an empty password or value */
	out = to = arena_alloc(mem, strlen(text) + 3 * (u.param_count + 1) + 1);
	if (!out)
		return NULL;
	if (colon) {
		to = mempcpy(to, text, (size_t)(colon + 1 - text));
		to = stpcpy(to, "***");
		text = at;
	}
	end = strchrnul(end, '?');
	to = mempcpy(to, text, (size_t)(end - text));
	/* parameters may hold secrets: show their names alone */
	for (; *end; end += strcspn(end, "&")) {
		size_t n = strcspn(end, "=");

		if (!end[n])
			break;
		to = mempcpy(to, end, n + 1);
		to = stpcpy(to, "***");
		end += n + 1;
	}
	return out;
}
