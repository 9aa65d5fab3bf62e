/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/conf_own.h"
#include "base/utf8.h"

struct unit {
	const char *name;
	int64_t factor;
};
static const struct unit durations[] = { { "ms", 1 }, { "s", 1000 }, { "m", 60000 },
	{ "h", 3600000 }, { "d", 86400000 }, { "", 1000 }, { NULL, 0 } };
static const struct unit sizes[] = { { "KiB", 1 << 10 }, { "MiB", 1 << 20 }, { "GiB", 1 << 30 },
	{ "B", 1 }, { "", 1 }, { NULL, 0 } };
static const struct unit none[] = { { "", 1 }, { NULL, 0 } };

bool
conf_is_url(enum conf_type t)
{
	return t >= CONF_URL_POSTGRES && t <= CONF_URL_SMTP;
}

enum url_kind
conf_url_kind(enum conf_type t)
{
	static const enum url_kind kinds[] = { URL_POSTGRES, URL_AMQP, URL_MONGO, URL_REDIS,
		URL_SMTP };

	must(conf_is_url(t));
	return kinds[t - CONF_URL_POSTGRES];
}

/* The whole text must be a whole number and a unit. */
static bool
with_unit(const char *text, const struct unit *units, int64_t *out)
{
	char *end;
	long long n;

	if ((*text < '0' || *text > '9') && !(*text == '-' && text[1] >= '0' && text[1] <= '9'))
		return false;
	errno = 0;
	n = strtoll(text, &end, 10);
	if (errno)
		return false;
	for (; units->name; units++)
		if (strcmp(end, units->name) == 0)
			return !__builtin_mul_overflow(n, units->factor, out);
	return false;
}

static const struct unit *
units_of(enum conf_type t)
{
	if (t == CONF_DURATION_MS)
		return durations;
	return t == CONF_SIZE_BYTES ? sizes : none;
}

/* Writes n in the largest unit that divides it, as a person would. */
static void
number_show(const struct conf_key *k, int64_t n, char out[32])
{
	const struct unit *u = units_of(k->type), *best = NULL;

	for (; u->name; u++)
		if (*u->name && n % u->factor == 0 && (!best || u->factor > best->factor) && n != 0)
			best = u;
	snprintf(out, 32, "%lld%s", (long long)(best ? n / best->factor : n),
		best ? best->name : "");
}

void
conf_type_describe(const struct conf_key *k, char *out, size_t size)
{
	static const char *const names[] = {
		[CONF_STRING] = "text",
		[CONF_INT] = "whole number",
		[CONF_BOOL] = "true or false",
		[CONF_DURATION_MS] = "duration (250ms, 5s, 2m, 1h, 7d)",
		[CONF_SIZE_BYTES] = "size (64KiB, 1MiB)",
		[CONF_ENUM] = "one of",
		[CONF_LISTEN] = "host:port, [v6]:port or :port",
		[CONF_URL_POSTGRES] = "postgresql:// URL",
		[CONF_URL_AMQP] = "amqp:// or amqps:// URL, or several with commas between",
		[CONF_URL_MONGO] = "mongodb:// URL",
		[CONF_URL_REDIS] = "redis:// or rediss:// URL",
		[CONF_URL_SMTP] = "smtp:// or smtps:// URL",
		[CONF_PATH] = "path",
	};
	char least[32], most[32];

	if (k->type == CONF_ENUM) {
		snprintf(out, size, "one of %s", k->choices);
	} else if (k->min || k->max) {
		number_show(k, k->min, least);
		number_show(k, k->max, most);
		snprintf(out, size, "%s from %s to %s", names[k->type], least, most);
	} else {
		snprintf(out, size, "%s", names[k->type]);
	}
}

static bool
in_bounds(const struct conf_key *k, int64_t n)
{
	return (!k->min && !k->max) || (n >= k->min && n <= k->max);
}

static bool
bool_parse(const char *text, int64_t *out)
{
	static const char *const words[] = { "false", "true", "no", "yes", "off", "on", "0", "1" };

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (strcasecmp(text, words[i]) == 0) {
			*out = (int64_t)(i & 1);
			return true;
		}
	return false;
}

static bool
choice_known(const char *choices, const char *text)
{
	size_t n = strcspn(text, "|");

	if (text[n])
		return false;
	for (const char *p = choices; n > 0 && *p; p += strcspn(p, "|"), p += *p == '|')
		if (strncmp(p, text, n) == 0 && (p[n] == '|' || p[n] == '\0'))
			return true;
	return false;
}

/* Accepts host:port, [v6]:port and :port; port 0 lets the system choose. */
static bool
listen_sound(const char *text)
{
	const char *colon = strrchr(text, ':');
	int64_t port;
	size_t n;

	if (!colon || colon[1] == '-' || !with_unit(colon + 1, none, &port) || port > 65535)
		return false;
	if (*text == '[') {
		n = strcspn(text + 1, "[] /@");
		return n > 0 && text + n + 2 == colon && *(colon - 1) == ']';
	}
	return strcspn(text, "[]: /@") == (size_t)(colon - text);
}

static int
urls_check(const struct conf_key *k, const char *text, struct arena *mem, struct err *e)
{
	struct url u;

	if (k->type != CONF_URL_AMQP)
		return url_parse(conf_url_kind(k->type), text, mem, &u, e);
	for (;;) {
		size_t n = strcspn(text, ",");
		const char *one = arena_strndup(mem, text, n);

		if (!one)
			return err_set(e, ERR_LIMIT, "the URL is too long");
		if (url_parse(URL_AMQP, one, mem, &u, e) < 0)
			return -1;
		if (!text[n])
			return 0;
		text += n + 1;
	}
}

int
conf_value_parse(const struct conf_key *k, const char *text, struct arena *mem,
	struct conf_value *out, struct err *e)
{
	char wanted[160];
	bool good = true;

	for (const char *p = text; *p; p += utf8_length(p, strnlen(p, 4)))
		if ((unsigned char)*p < 0x20 || *p == 0x7f || utf8_length(p, strnlen(p, 4)) == 0)
			return err_set(e, ERR_INVALID, "holds a control byte or is not UTF-8");
	out->text = text;
	if (conf_is_url(k->type))
		return urls_check(k, text, mem, e);
	switch (k->type) {
	case CONF_INT:
	case CONF_DURATION_MS:
	case CONF_SIZE_BYTES:
		good = with_unit(text, units_of(k->type), &out->number) &&
			in_bounds(k, out->number);
		break;
	case CONF_BOOL: good = bool_parse(text, &out->number); break;
	case CONF_ENUM: good = choice_known(k->choices, text); break;
	case CONF_LISTEN: good = listen_sound(text); break;
	default: break;
	}
	if (good)
		return 0;
	conf_type_describe(k, wanted, sizeof wanted);
	if (k->flags & CONF_SECRET)
		return err_set(e, ERR_INVALID, "want %s", wanted);
	return err_set(e, ERR_INVALID, "\"%.*s\" is not valid; want %s",
		(int)utf8_cut(text, strlen(text), 80), text, wanted);
}
