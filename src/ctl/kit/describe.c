/* SPDX-License-Identifier: MIT */
/*
 * What the table of verbs and the table of keys say of themselves, for the
 * manuals that `make install` writes and for the shell's completion.
 */
#include <stdio.h>
#include <string.h>

#include "ctl/kit/ctl.h"

/* Text for mdoc: what would begin a request or an escape does not. */
static void
mdoc(const char *text, size_t n)
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
describe_verbs(const struct ctl_verb *verbs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		printf(".Ss ");
		mdoc(verbs[i].name, strlen(verbs[i].name));
		if (*verbs[i].arguments) {
			putchar(' ');
			mdoc(verbs[i].arguments, strlen(verbs[i].arguments));
		}
		putchar('\n');
		if (*verbs[i].summary >= 'a' && *verbs[i].summary <= 'z') {
			putchar(*verbs[i].summary - ('a' - 'A'));
			mdoc(verbs[i].summary + 1, strlen(verbs[i].summary + 1));
		} else {
			mdoc(verbs[i].summary, strlen(verbs[i].summary));
		}
		puts(".\n.Bd -literal");
		for (const char *p = verbs[i].help; *p; p += strcspn(p, "\n"), p += *p == '\n') {
			const char *line = p + (strncmp(p, "  ", 2) == 0 ? 2 : 0);

			mdoc(line, strcspn(line, "\n"));
			putchar('\n');
		}
		puts(".Ed");
	}
}

static bool
letter(char c)
{
	return c >= 'a' && c <= 'z';
}

/* Options, and where bare is set the other words in small letters, one a line. */
static void
words_print(const char *text, bool bare)
{
	for (const char *p = text; *p;) {
		size_t n = strncmp(p, "--", 2) == 0 && letter(p[2]) ? 2 : 0;
		bool begins = p == text || strchr(" [|(`\n", p[-1]);

		if (!begins || (!n && !(bare && letter(*p)))) {
			p++;
			continue;
		}
		while (letter(p[n]) || p[n] == '-')
			n++;
		if (n > 1)
			printf("%.*s\n", (int)n, p);
		p += n;
	}
}

static int
describe_words(const struct ctl_verb *verbs, size_t n, const char *verb)
{
	for (size_t i = 0; i < n; i++) {
		if (!verb) {
			puts(verbs[i].name);
		} else if (strcmp(verbs[i].name, verb) == 0) {
			words_print(verbs[i].arguments, true);
			words_print(verbs[i].help, false);
			puts("--json\n--help");
			return CTL_DONE;
		}
	}
	return verb ? CTL_NOTHING : CTL_DONE;
}

int
ctl_describe(const struct ctl *c, const struct ctl_verb *verbs, size_t n, const char *what,
	char **words)
{
	if (strcmp(what, "verbs") == 0)
		describe_verbs(verbs, n);
	else if (strcmp(what, "keys") == 0)
		conf_print_manual(conf_keys, stdout);
	else if (strcmp(what, "words") == 0)
		return describe_words(verbs, n, words[0]);
	else
		return ctl_fail(c, CTL_USAGE, "--describe wants verbs, keys or words");
	return CTL_DONE;
}
