/* SPDX-License-Identifier: MIT */
/*
 * --describe: the table of verbs and the table of configuration keys, for the
 * manuals that `make install` writes and for the shell's completion.
 */
#include <stdio.h>
#include <string.h>

#include "base/conf.h"
#include "ctl/verbs.h"

/* Text for mdoc, with the characters escaped that would begin a request or an escape. */
static void
mdoc_print(const char *text, size_t n)
{
	if (n && (*text == '.' || *text == '\''))
		fputs("\\&", stdout);
	for (size_t i = 0; i < n; i++)
		if (text[i] == '\\')
			fputs("\\e", stdout);
		else if (text[i] == '-')
			fputs("\\-", stdout);
		else
			putchar(text[i]);
}

static void
verb_describe(const struct ctl_verb *v)
{
	const char *summary = v->summary;

	printf(".Ss ");
	mdoc_print(v->name, strlen(v->name));
	if (*v->arguments) {
		putchar(' ');
		mdoc_print(v->arguments, strlen(v->arguments));
	}
	putchar('\n');
	if (*summary >= 'a' && *summary <= 'z')
		putchar(*summary++ - ('a' - 'A'));
	mdoc_print(summary, strlen(summary));
	puts(".\n.Bd -literal");
	for (const char *p = v->help; *p; p += strcspn(p, "\n"), p += *p == '\n') {
		const char *line = p + (strncmp(p, "  ", 2) == 0 ? 2 : 0);

		mdoc_print(line, strcspn(line, "\n"));
		putchar('\n');
	}
	puts(".Ed");
}

static bool
is_small_letter(char c)
{
	return c >= 'a' && c <= 'z';
}

/* The options in a text, one a line; bare: other words in small letters too. */
static void
words_print(const char *text, bool bare)
{
	for (const char *p = text; *p;) {
		size_t n = strncmp(p, "--", 2) == 0 && is_small_letter(p[2]) ? 2 : 0;
		bool begins = p == text || strchr(" [|(`\n", p[-1]);

		if (!begins || (!n && !(bare && is_small_letter(*p)))) {
			p++;
			continue;
		}
		while (is_small_letter(p[n]) || p[n] == '-')
			n++;
		if (n > 1)
			printf("%.*s\n", (int)n, p);
		p += n;
	}
}

static int
words_describe(const char *verb)
{
	for (const struct ctl_verb *v = ctl_verbs; v->name; v++) {
		if (!verb) {
			puts(v->name);
		} else if (strcmp(v->name, verb) == 0) {
			words_print(v->arguments, true);
			words_print(v->help, false);
			puts("--json\n--help");
			return CTL_DONE;
		}
	}
	return verb ? CTL_NOTHING : CTL_DONE;
}

int
ctl_describe(const struct ctl *c, const char *what, const char *verb)
{
	if (strcmp(what, "words") == 0)
		return words_describe(verb);
	if (strcmp(what, "keys") == 0)
		conf_print_manual(conf_keys, stdout);
	else if (strcmp(what, "verbs") == 0)
		for (const struct ctl_verb *v = ctl_verbs; v->name; v++)
			verb_describe(v);
	else
		return ctl_fail(c, CTL_USAGE, "--describe wants verbs, keys or words");
	return CTL_DONE;
}
