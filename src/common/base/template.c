/* SPDX-License-Identifier: MIT */
#include "base/template.h"

#include <string.h>

#include "base/utf8.h"

#define NAMES_MAX 64
#define NAME_MAX_BYTES 32 /* shown of a name in a message */

struct part {
	const char *text; /* written unchanged */
	size_t length;
	int value; /* the value written after the text; -1: none, at the end */
	struct part *next;
};

struct template
{
	struct part *first;
};

static int
line_of(const char *text, const char *at)
{
	int line = 1;

	for (; text < at; text++)
		line += *text == '\n';
	return line;
}

static int
bytes_check(const char *text, struct err *e)
{
	size_t left = strlen(text);

	for (const char *p = text; left > 0;) {
		size_t n = utf8_length(p, left);
		unsigned char c = (unsigned char)*p;

		if (n == 0)
			return err_set(e, ERR_INVALID, "line %d: not UTF-8", line_of(text, p));
		if ((c < 0x20 && c != '\n' && c != '\t' && !(c == '\r' && p[1] == '\n')) ||
			c == 0x7f)
			return err_set(e, ERR_INVALID, "line %d: a control byte", line_of(text, p));
		p += n;
		left -= n;
	}
	return 0;
}

static int
name_find(const char *const *names, const char *name, size_t length)
{
	for (int i = 0; names[i]; i++) {
		must(i < NAMES_MAX);
		if (strlen(names[i]) == length && memcmp(names[i], name, length) == 0)
			return i;
	}
	return -1;
}

static int
unknown(const char *const *names, const char *name, size_t length, int line, struct err *e)
{
	size_t shown = utf8_cut(name, length, NAME_MAX_BYTES);
	char list[256];
	size_t n = 0;

	for (int i = 0; names[i] && n + strlen(names[i]) + 3 < sizeof list; i++)
		n += (size_t)(stpcpy(stpcpy(list + n, i ? ", " : ""), names[i]) - (list + n));
	list[n] = '\0';
	return err_set(e, ERR_INVALID, "line %d: no placeholder is called \"%.*s\"; there are %s",
		line, (int)shown, name, list);
}

/* p follows "{{". Stores the index of the name, and in *end the byte after "}}". */
static int
place_parse(const char *text, const char *p, const char *const *names, const char **end, int *value,
	struct err *e)
{
	int line = line_of(text, p);
	size_t line_length = strcspn(p, "\n");
	const char *close = memmem(p, line_length, "}}", 2);
	size_t length;

	if (!close)
		return err_set(e, ERR_INVALID, "line %d: \"{{\" without \"}}\" in its line", line);
	*end = close + 2;
	p += strspn(p, " ");
	length = close > p ? (size_t)(close - p) : 0;
	while (length > 0 && p[length - 1] == ' ')
		length--;
	*value = name_find(names, p, length);
	return *value < 0 ? unknown(names, p, length, line, e) : 0;
}

int
template_parse(const char *text, const char *const *names, struct arena *mem,
	const struct template **out, struct err *e)
{
	struct template *t = arena_alloc(mem, sizeof *t);
	struct part **tail = t ? &t->first : NULL;
	const char *p = text;

	if (!t)
		return err_set(e, ERR_LIMIT, "no room for the template");
	if (bytes_check(text, e))
		return -1;
	for (;;) {
		const char *open = strstr(p, "{{"), *end = NULL;
		struct part *part = arena_alloc(mem, sizeof *part);

		if (!part)
			return err_set(e, ERR_LIMIT, "no room for the template");
		*part = (struct part){ p, open ? (size_t)(open - p) : strlen(p), -1, NULL };
		*tail = part;
		tail = &part->next;
		if (!open)
			break;
		if (place_parse(text, open + 2, names, &end, &part->value, e))
			return -1;
		p = end;
	}
	*out = t;
	return 0;
}

static void
value_add(struct buf *out, const char *text, enum template_form form)
{
	for (const char *p = text; *p; p++) {
		unsigned char c = (unsigned char)*p;
		const char *as = NULL;

		if (c < 0x20 || c == 0x7f)
			as = " ";
		else if (form == TEMPLATE_HTML)
			as = c == '&'       ? "&amp;"
				: c == '<'  ? "&lt;"
				: c == '>'  ? "&gt;"
				: c == '"'  ? "&quot;"
				: c == '\'' ? "&#39;"
					    : NULL;
		if (as)
			buf_add_text(out, as);
		else
			buf_add_char(out, *p);
	}
}

void
template_render(const struct template *t, const char *const *values, enum template_form form,
	struct buf *out)
{
	for (const struct part *p = t->first; p; p = p->next) {
		buf_add(out, p->text, p->length);
		if (p->value >= 0 && values[p->value])
			value_add(out, values[p->value], form);
	}
}
