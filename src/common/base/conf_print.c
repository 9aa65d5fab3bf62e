/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "base/conf_own.h"

/* The value to print. A secret URL hides its password; any other secret hides everything. */
static const char *
shown(const struct conf_key *k, const char *text, struct arena *mem)
{
	const char *answer = NULL;

	if (!(k->flags & CONF_SECRET) || !*text)
		return text;
	if (!conf_is_url(k->type))
		return "***";
	for (const char *p = text; *p; p += *p == ',') {
		size_t n = k->type == CONF_URL_AMQP ? strcspn(p, ",") : strlen(p);
		const char *one = arena_strndup(mem, p, n);
		const char *red = one ? url_redact(conf_url_kind(k->type), one, mem) : NULL;

		if (!red)
			return "***";
		answer = answer ? arena_printf(mem, "%s,%s", answer, red) : red;
		if (!answer)
			return "***";
		p += n;
	}
	return answer ? answer : "***";
}

static void
section_begin(const struct conf_key *keys, size_t i, FILE *out)
{
	if (i == 0 || strcmp(keys[i - 1].section, keys[i].section) != 0)
		fprintf(out, "%s[%s]\n", i ? "\n" : "", keys[i].section);
}

void
conf_print(const struct conf *c, FILE *out)
{
	struct arena *mem = arena_new(4096, 1 << 20);

	for (size_t i = 0; i < c->count; i++) {
		const struct conf_value *v = &c->values[i];

		section_begin(c->keys, i, out);
		if (v->text)
			fprintf(out, "# %s\n%s = %s\n", v->origin, c->keys[i].key,
				shown(&c->keys[i], v->text, mem));
		else
			fprintf(out, "# %s\n# %s is not set\n", v->origin, c->keys[i].key);
	}
	arena_free(mem);
}

/* Prints words after "# ", folded at column 96. */
static void
comment_print(const char *text, FILE *out)
{
	size_t column = 0;

	while (*text) {
		size_t n = strcspn(text, " ");

		if (column == 0 || column + 1 + n > 96)
			column =
				(size_t)fprintf(out, "%s# %.*s", column ? "\n" : "", (int)n, text) -
				(column > 0);
		else
			column += (size_t)fprintf(out, " %.*s", (int)n, text);
		text += n;
		text += strspn(text, " ");
	}
	fputc('\n', out);
}

static const char *
default_shown(const struct conf_key *k)
{
	return k->fallback && !(k->flags & CONF_FALLBACK) ? k->fallback : "";
}

void
conf_print_sample(const struct conf_key *keys, FILE *out)
{
	fputs("# onboard.conf: every key with its default. A line takes effect without its leading #.\n"
	      "# The environment (ONBOARD_SECTION_KEY) wins over this file, and a flag wins over both.\n\n",
		out);
	for (size_t i = 0; keys[i].section; i++) {
		char type[160];

		section_begin(keys, i, out);
		comment_print(keys[i].help, out);
		conf_type_describe(&keys[i], type, sizeof type);
		fprintf(out, "# A value is: %s.", type);
		if (keys[i].flags & CONF_FALLBACK)
			fprintf(out, " When unset, the value of %s applies.", keys[i].choices);
		if (keys[i].flags & CONF_SECRET)
			fprintf(out, " %s_file = PATH reads it from a file.", keys[i].key);
		if (keys[i].flags & CONF_RELOAD)
			fputs(" SIGHUP applies a new one.", out);
		fprintf(out, "\n#%s =%s%s\n", keys[i].key, *default_shown(&keys[i]) ? " " : "",
			default_shown(&keys[i]));
	}
}

/* Prints text as mdoc: escapes requests and backslashes; each sentence begins a line. */
static void
mdoc_print(const char *text, FILE *out)
{
	must(*text != ' ');
	if (*text == '.' || *text == '\'')
		fputs("\\&", out);
	for (; *text; text++)
		if (*text == '\\')
			fputs("\\e", out);
		else if (*text == '-')
			fputs("\\-", out);
		else if (*text == ' ' && text[-1] == '.' && text[1] >= 'A' && text[1] <= 'Z')
			fputc('\n', out);
		else
			fputc(*text, out);
}

void
conf_print_manual(const struct conf_key *keys, FILE *out)
{
	for (size_t i = 0; keys[i].section; i++) {
		char type[160];

		if (i == 0 || strcmp(keys[i - 1].section, keys[i].section) != 0)
			fprintf(out, "%s.Ss [%s]\n.Bl -tag -width Ds\n", i ? ".El\n" : "",
				keys[i].section);
		fprintf(out, ".It Cm %s\n", keys[i].key);
		mdoc_print(keys[i].help, out);
		conf_type_describe(&keys[i], type, sizeof type);
		fputs("\n.Pp\nA value is: ", out);
		mdoc_print(type, out);
		fputs(".\n", out);
		if (keys[i].flags & CONF_FALLBACK)
			fprintf(out, "When unset, the value of\n.Cm %s\napplies.\n",
				keys[i].choices);
		else if (keys[i].fallback && *keys[i].fallback) {
			fputs("Default:\n.Li \\&", out);
			mdoc_print(keys[i].fallback, out);
			fputs(" .\n", out);
		}
		if (keys[i].flags & CONF_SECRET)
			fputs("A secret.\n", out);
		if (keys[i].flags & CONF_RELOAD)
			fputs(".Dv SIGHUP\napplies a new value.\n", out);
	}
	fputs(".El\n", out);
}
