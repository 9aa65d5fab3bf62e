/* SPDX-License-Identifier: MIT */
/*
 * Our own few lines read the file. Debian's build of inih ends a value at " ;",
 * joins an indented line to the line before it, and cuts a line at 200 bytes.
 * Each of these spoils a URL without an error.
 */
#include "base/conf.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/conf_own.h"
#include "base/text.h"
#include "base/utf8.h"

#define FILE_MAX (1 << 20)
#define DEFAULT_PATH "/etc/onboard/onboard.conf"
#define ARENA_MAX (8 << 20)

static struct conf_value *
value_find(const struct conf *c, const char *section, const char *key)
{
	for (size_t i = 0; i < c->count; i++)
		if (strcmp(c->keys[i].section, section) == 0 && strcmp(c->keys[i].key, key) == 0)
			return &c->values[i];
	return NULL;
}

static const struct conf_key *
key_of(const struct conf *c, const struct conf_value *v)
{
	return &c->keys[v - c->values];
}

static bool
section_known(const struct conf *c, const char *section)
{
	for (size_t i = 0; i < c->count; i++)
		if (strcmp(c->keys[i].section, section) == 0)
			return true;
	return false;
}

static int
value_set(struct conf *c, struct conf_value *v, const char *text, const char *origin, struct err *e)
{
	const struct conf_key *k = key_of(c, v);

	*v = (struct conf_value){ .origin = origin };
	if (!origin || !text)
		return err_set(e, ERR_LIMIT, "configuration too large");
	/*
	 * "KEY =" and "ONBOARD_KEY=" (compose passes unset variables so) unset a key
	 * without default
	 */
	if (!*text && (!k->fallback || k->flags & CONF_FALLBACK))
		return 0;
	if (conf_value_parse(k, text, c->mem, v, e) < 0)
		return err_wrap(e, "%s: %s.%s", origin, k->section, k->key);
	return 0;
}

/* Takes a secret from a file of its own. An editor adds one line end, which is cut. */
static int
secret_take(struct conf *c, struct conf_value *v, const char *path, const char *origin,
	struct err *e)
{
	const char *text;
	size_t n;

	if (text_file_read(path, 65536, c->mem, &text, e) < 0)
		return err_wrap(e, "%s", origin);
	n = strlen(text);
	if (n > 0 && text[n - 1] == '\n')
		n--;
	if (n > 0 && text[n - 1] == '\r')
		n--;
	if (n == 0)
		return err_set(e, ERR_INVALID, "%s: %s is empty", origin, path);
	return value_set(c, v, arena_strndup(c->mem, text, n), origin, e);
}

/* The secret that a key such as password_file stands for; NULL: there is none. */
static struct conf_value *
find_secret(const struct conf *c, const char *section, const char *key)
{
	size_t n = strlen(key);
	struct conf_value *v;
	char base[64];

	if (n <= 5 || n - 5 >= sizeof base || strcmp(key + n - 5, "_file") != 0)
		return NULL;
	memcpy(base, key, n - 5);
	base[n - 5] = '\0';
	v = value_find(c, section, base);
	return v && (key_of(c, v)->flags & CONF_SECRET) ? v : NULL;
}

static char *
trim(char *text)
{
	size_t n;

	text += strspn(text, " \t");
	for (n = strlen(text); n > 0 && strchr(" \t\r", text[n - 1]); n--)
		text[n - 1] = '\0';
	return text;
}

struct reader {
	const char *path, *section;
	int line;
	int *seen; /* for each value: the line that gave it; 0: none */
};

static int
pair_read(struct conf *c, struct reader *r, char *text, struct err *e)
{
	const char *origin = arena_printf(c->mem, "%s:%d", r->path, r->line);
	char *equals = strchr(text, '='), *key, *value;
	struct conf_value *v, *secret = NULL;

	if (!equals)
		return err_set(e, ERR_INVALID,
			"%s:%d: neither [section], key = value nor a # comment", r->path, r->line);
	*equals = '\0';
	key = trim(text);
	value = trim(equals + 1);
	if (!r->section)
		return err_set(e, ERR_INVALID, "%s:%d: \"%.60s\" stands before the first [section]",
			r->path, r->line, key);
	v = value_find(c, r->section, key);
	if (!v)
		v = secret = find_secret(c, r->section, key);
	if (!v)
		return err_set(e, ERR_INVALID,
			"%s:%d: there is no key \"%.60s\" in [%s]; see onboard.conf(5)", r->path,
			r->line, key, r->section);
	if (r->seen[v - c->values])
		return err_set(e, ERR_INVALID, "%s:%d: %s.%s was already given in line %d", r->path,
			r->line, r->section, key, r->seen[v - c->values]);
	r->seen[v - c->values] = r->line;
	if (secret)
		return secret_take(c, v, value, origin, e);
	return value_set(c, v, value, origin, e);
}

static int
section_read(struct conf *c, struct reader *r, char *text, struct err *e)
{
	char *end = strchr(text, ']');

	if (!end || end[1] != '\0')
		return err_set(e, ERR_INVALID, "%s:%d: a [section] without its ] at the end",
			r->path, r->line);
	*end = '\0';
	r->section = trim(text + 1);
	if (!section_known(c, r->section))
		return err_set(e, ERR_INVALID,
			"%s:%d: there is no section [%.60s]; see onboard.conf(5)", r->path, r->line,
			r->section);
	return 0;
}

static int
lines_read(struct conf *c, const char *path, char *text, struct err *e)
{
	struct reader r = { .path = path };
	char *next, *line;
	int rc = 0;

	r.seen = must_calloc(c->count, sizeof *r.seen);
	if (strncmp(text, "\xef\xbb\xbf", 3) == 0) /* a byte order mark, which some editors write */
		text += 3;
	for (; text && rc == 0; text = next) {
		next = strchr(text, '\n');
		if (next)
			*next++ = '\0';
		r.line++;
		line = trim(text);
		for (const char *p = line; *p && rc == 0; p += utf8_length(p, strnlen(p, 4)))
			if (utf8_length(p, strnlen(p, 4)) == 0)
				rc = err_set(e, ERR_INVALID, "%s:%d: not UTF-8", path, r.line);
			else if ((unsigned char)*p < 0x20 && *p != '\t')
				rc = err_set(e, ERR_INVALID, "%s:%d: a control byte", path, r.line);
		if (rc < 0 || !*line || *line == '#' || *line == ';')
			continue;
		rc = *line == '[' ? section_read(c, &r, line, e) : pair_read(c, &r, line, e);
	}
	free(r.seen);
	return rc;
}

/* Reads the named file. Without a name, reads the default one, which may be missing. */
static int
file_take(struct conf *c, const char *path, struct err *e)
{
	const char *text;
	bool named = true;

	if (!path && (path = getenv("ONBOARD_CONFIG")) && !*path)
		path = NULL;
	if (!path) {
		named = false;
		path = DEFAULT_PATH;
	}
	if (text_file_read(path, FILE_MAX, c->mem, &text, e) < 0)
		return !named && e->kind == ERR_MISSING ? 0 : -1;
	c->path = arena_strdup(c->mem, path);
	if (!c->path)
		return err_set(e, ERR_LIMIT, "configuration too large");
	return lines_read(c, c->path, (char *)text,
		e); /* the text is our copy in the arena, so cutting it is fine */
}

/* ONBOARD_SECTION_KEY, upper case. */
static void
environment_name(const struct conf_key *k, const char *ending, char *out, size_t size)
{
	snprintf(out, size, "ONBOARD_%s_%s%s", k->section, k->key, ending);
	for (char *p = out; *p; p++)
		if (*p >= 'a' && *p <= 'z')
			*p -= 'a' - 'A';
}

static int
environment_take(struct conf *c, struct err *e)
{
	char name[128], file_name[128];

	for (size_t i = 0; i < c->count; i++) {
		const char *value, *file = NULL;

		environment_name(&c->keys[i], "", name, sizeof name);
		value = getenv(name);
		if (c->keys[i].flags & CONF_SECRET) {
			environment_name(&c->keys[i], "_FILE", file_name, sizeof file_name);
			file = getenv(file_name);
		}
		if (value && file)
			return err_set(e, ERR_INVALID, "%s and %s are both set; unset one", name,
				file_name);
		if (file &&
			secret_take(c, &c->values[i], file,
				arena_printf(c->mem, "environment %s", file_name), e) < 0)
			return -1;
		if (value &&
			value_set(c, &c->values[i], arena_strdup(c->mem, value),
				arena_printf(c->mem, "environment %s", name), e) < 0)
			return -1;
	}
	return 0;
}

/*
 * Takes secrets from credential files. A daemon finds systemd's copies
 * (LoadCredential=onboard:FOLDER). A user who can read the folder itself finds
 * it beside the configuration: credentials/.
 */
static int
credentials_take(struct conf *c, struct err *e)
{
	const char *held = getenv("CREDENTIALS_DIRECTORY");
	const char *beside = c->path ? c->path : DEFAULT_PATH, *slash = strrchr(beside, '/');

	for (size_t i = 0; i < c->count; i++) {
		const struct conf_key *k = &c->keys[i];
		const char *path;

		if (!(k->flags & CONF_SECRET))
			continue;
		path = held && *held
			? arena_printf(c->mem, "%s/onboard_%s.%s", held, k->section, k->key)
			: arena_printf(c->mem, "%.*scredentials/%s.%s",
				  slash ? (int)(slash - beside) + 1 : 0, beside, k->section,
				  k->key);
		if (!path)
			return err_set(e, ERR_LIMIT, "configuration too large");
		if (access(path, R_OK) != 0)
			continue;
		if (secret_take(c, &c->values[i], path, arena_printf(c->mem, "credential %s", path),
			    e) < 0)
			return -1;
	}
	return 0;
}

bool
conf_override_parse(char *text, struct conf_override *out)
{
	char *dot = strchr(text, '.'), *equals = strchr(text, '=');

	if (!dot || !equals || dot > equals || dot == text)
		return false;
	*dot = *equals = '\0';
	*out = (struct conf_override){ text, dot + 1, equals + 1 };
	return true;
}

static int
overrides_take(struct conf *c, const struct conf_override *o, struct err *e)
{
	for (; o && o->section; o++) {
		struct conf_value *v = value_find(c, o->section, o->key);

		if (!v)
			return err_set(e, ERR_INVALID,
				"there is no key %.60s.%.60s; see onboard.conf(5)", o->section,
				o->key);
		if (value_set(c, v, arena_strdup(c->mem, o->value), "flag", e) < 0)
			return -1;
	}
	return 0;
}

static int
defaults_take(struct conf *c, struct err *e)
{
	for (size_t i = 0; i < c->count; i++) {
		c->values[i].origin = "default";
		if (c->keys[i].fallback && !(c->keys[i].flags & CONF_FALLBACK) &&
			value_set(c, &c->values[i], c->keys[i].fallback, "default", e) < 0)
			return -1;
	}
	return 0;
}

/* Gives unset CONF_FALLBACK keys the value of the key that they name. */
static void
fallbacks_take(struct conf *c)
{
	for (size_t i = 0; i < c->count; i++) {
		const char *dot;
		char section[64];
		struct conf_value *from;

		if (!(c->keys[i].flags & CONF_FALLBACK) || c->values[i].text)
			continue;
		dot = strchr(c->keys[i].choices, '.');
		must(dot && (size_t)(dot - c->keys[i].choices) < sizeof section);
		memcpy(section, c->keys[i].choices, (size_t)(dot - c->keys[i].choices));
		section[dot - c->keys[i].choices] = '\0';
		from = value_find(c, section, dot + 1);
		must(from);
		c->values[i] = *from;
	}
}

int
conf_load(const struct conf_key *keys, const char *path, const struct conf_override *overrides,
	struct conf **out, struct err *e)
{
	struct conf *c = must_calloc(1, sizeof *c);

	c->mem = arena_new(1 << 14, ARENA_MAX);
	c->keys = keys;
	while (keys[c->count].section)
		c->count++;
	c->values = must_calloc(c->count, sizeof *c->values);
	if (defaults_take(c, e) < 0 || file_take(c, path, e) < 0 || credentials_take(c, e) < 0 ||
		environment_take(c, e) < 0 || overrides_take(c, overrides, e) < 0) {
		e->kind = ERR_INVALID;
		conf_free(c);
		return -1;
	}
	fallbacks_take(c);
	*out = c;
	return 0;
}

void
conf_free(struct conf *c)
{
	if (!c)
		return;
	arena_free(c->mem);
	free(c->values);
	free(c);
}

const char *
conf_path(const struct conf *c)
{
	return c->path;
}

static const struct conf_value *
value_of(const struct conf *c, const char *section, const char *key)
{
	const struct conf_value *v = value_find(c, section, key);

	must(v);
	return v;
}

const char *
conf_string(const struct conf *c, const char *section, const char *key)
{
	return value_of(c, section, key)->text;
}

int64_t
conf_int(const struct conf *c, const char *section, const char *key)
{
	return value_of(c, section, key)->number;
}

bool
conf_bool(const struct conf *c, const char *section, const char *key)
{
	return value_of(c, section, key)->number != 0;
}

const char *
conf_origin(const struct conf *c, const char *section, const char *key)
{
	return value_of(c, section, key)->origin;
}
