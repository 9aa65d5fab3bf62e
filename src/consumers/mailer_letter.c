/* SPDX-License-Identifier: MIT */
#include "mailer_letter.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/embedded.h"
#include "base/mime.h"
#include "base/template.h"
#include "base/text.h"
#include "model/identity.h"

#define FILE_MAX (256u << 10)
#define UNSUBSCRIBE_MAX 400
#define SUBJECT_MAX 1000

enum name {
	N_USERNAME,
	N_NAME,
	N_EMAIL,
	N_COUNTRY,
	N_CITY,
	N_USER_ID,
	N_SENDER,
	N_UNSUBSCRIBE,
	N_COUNT
};
static const char *const names[N_COUNT + 1] = { "username", "name", "email", "country", "city",
	"user_id", "sender", "unsubscribe", NULL };
static const char *const link_names[] = { "user_id", NULL };

struct letters {
	struct arena *mem;
	const struct template *subject, *text, *html, *unsubscribe;
	const char *from, *name;
};

extern const struct embedded_file letter_templates[]; /* config/templates, as it was built */

/*
 * The folder of the templates; NULL: the program's own. A folder that exists and
 * cannot be read is an error later: the operator's texts are never replaced silently.
 */
static const char *
templates_folder(const struct conf *c)
{
	static const char usual[] = "/etc/onboard/templates";
	const char *folder = conf_string(c, "mail", "templates");

	if (folder)
		return folder;
	return access(usual, F_OK) == 0 ? usual : NULL;
}

static const char *
built_in_text(const char *name)
{
	const struct embedded_file *f = letter_templates;

	while (strcmp(f->name, name) != 0) {
		f++;
		must(f->name);
	}
	return f->text;
}

/* *where names the file in messages. */
static int
text_read(struct letters *l, const char *folder, const char *name, const char **where,
	const char **text, struct err *e)
{
	*where = folder ? arena_printf(l->mem, "%s/%s", folder, name) : name;
	if (!*where)
		return err_set(e, ERR_LIMIT, "mail.templates: no room");
	if (!folder) {
		*text = arena_strdup(l->mem, built_in_text(name));
		return *text ? 0 : err_set(e, ERR_LIMIT, "mail.templates: no room");
	}
	if (text_file_read(*where, FILE_MAX, l->mem, text, e)) {
		e->kind = ERR_INVALID;
		return err_wrap(e, "mail.templates");
	}
	return 0;
}

static int
template_read(struct letters *l, const struct conf *c, const char *name,
	const struct template **out, struct err *e)
{
	const char *where, *text;
	char *end;

	if (text_read(l, templates_folder(c), name, &where, &text, e))
		return -1;
	if (strcmp(name, MAIL_TEMPLATE ".subject") == 0) {
		end = strchr(text, '\n');
		if (end && end[1])
			return err_set(e, ERR_INVALID, "%s: a subject is one line", where);
		if (end)
			*end = '\0';
	}
	if (!*text)
		return err_set(e, ERR_INVALID, "%s is empty", where);
	if (template_parse(text, names, l->mem, out, e))
		return err_wrap(e, "%s", where);
	return 0;
}

/* The URL stands in a header between < and >. */
static int
unsubscribe_read(struct letters *l, const struct conf *c, struct err *e)
{
	const char *text = conf_string(c, "mail", "unsubscribe");

	/* a copy: the template borrows its text, and a reload frees the configuration */
	text = text && *text ? arena_strdup(l->mem, text)
			     : arena_printf(l->mem, "mailto:%s?subject=unsubscribe", l->from);
	must(text);
	if (strncmp(text, "https://", 8) != 0 && strncmp(text, "mailto:", 7) != 0)
		return err_set(e, ERR_INVALID,
			"mail.unsubscribe is neither an https:// nor a mailto: URL");
	if (strlen(text) > UNSUBSCRIBE_MAX)
		return err_set(e, ERR_INVALID, "mail.unsubscribe is longer than %d bytes",
			UNSUBSCRIBE_MAX);
	for (const char *p = text; *p; p++)
		if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7f || strchr("<>\"", *p))
			return err_set(e, ERR_INVALID,
				"mail.unsubscribe has a byte that no URL has; write it as %%XX");
	if (template_parse(text, link_names, l->mem, &l->unsubscribe, e))
		return err_wrap(e, "mail.unsubscribe");
	return 0;
}

static int
sender_read(struct letters *l, const struct conf *c, struct err *e)
{
	const char *given = conf_string(c, "mail", "from");
	char normal[EMAIL_MAX + 1];
	struct err why = ERR_INIT;

	if (email_normalize(given, strlen(given), normal, &why))
		return err_set(e, ERR_INVALID, "mail.from %s", why.text);
	l->from = arena_strdup(l->mem, normal);
	l->name = arena_strdup(l->mem, conf_string(c, "mail", "name"));
	must(l->from && l->name);
	if (strlen(l->name) > EMAIL_MAX)
		return err_set(e, ERR_INVALID, "mail.name is longer than %d bytes", EMAIL_MAX);
	return 0;
}

struct letters *
letters_new(const struct conf *c, struct err *e)
{
	struct letters *l = must_calloc(1, sizeof *l);

	l->mem = arena_new(16384, 4 << 20);
	if (sender_read(l, c, e) || unsubscribe_read(l, c, e) ||
		template_read(l, c, MAIL_TEMPLATE ".subject", &l->subject, e) ||
		template_read(l, c, MAIL_TEMPLATE ".txt", &l->text, e) ||
		template_read(l, c, MAIL_TEMPLATE ".html", &l->html, e)) {
		letters_free(l);
		return NULL;
	}
	return l;
}

void
letters_free(struct letters *l)
{
	if (!l)
		return;
	arena_free(l->mem);
	free(l);
}

const char *
letters_sender(const struct letters *l)
{
	return l->from;
}

void
letters_message_id(const struct letters *l, const struct event *ev,
	char out[static MESSAGE_ID_SIZE])
{
	snprintf(out, MESSAGE_ID_SIZE, MAIL_TEMPLATE ".%" PRId64 ".%s@%s", ev->user_id, ev->id,
		strrchr(l->from, '@') + 1);
}

/* No part contains the boundary: quoted-printable never writes "=_". */
static void
part_write(struct buf *out, const struct event *ev, const char *type, const struct template *t,
	const char *const *values, enum template_form form)
{
	struct buf text;

	buf_init(&text, LETTER_MAX);
	template_render(t, values, form, &text);
	buf_printf(out,
		"--=_%s\r\nContent-Type: %s; charset=utf-8\r\n"
		"Content-Transfer-Encoding: quoted-printable\r\n\r\n",
		ev->id, type);
	mime_quoted_printable(out, buf_text(&text), text.length);
	out->failed |= buf_failed(&text);
	buf_fini(&text);
}

static void
headers_write(const struct letters *l, const struct event *ev, const char *message_id,
	int64_t wall_us, const char *const *values, struct buf *out)
{
	struct buf subject;

	buf_init(&subject, SUBJECT_MAX);
	template_render(l->subject, values, TEMPLATE_PLAIN, &subject);
	mime_header_date(out, wall_us);
	mime_header_address(out, "From", l->name, l->from);
	mime_header_address(out, "To", ev->display_name, ev->email);
	mime_header(out, "Subject", buf_text(&subject));
	buf_printf(out, "Message-ID: <%s>\r\n", message_id);
	buf_printf(out, "List-Unsubscribe: <%s>\r\n", values[N_UNSUBSCRIBE]);
	if (strncmp(values[N_UNSUBSCRIBE], "https://", 8) == 0)
		buf_add_text(out, "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n");
	buf_printf(out,
		"Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n"
		"Content-Type: multipart/alternative;\r\n boundary=\"=_%s\"\r\n\r\n",
		ev->id);
	out->failed |= buf_failed(&subject);
	buf_fini(&subject);
}

int
letters_write(const struct letters *l, const struct event *ev, const char *message_id,
	int64_t wall_us, struct buf *out, struct err *e)
{
	struct buf unsubscribe;
	char user_id[24];
	const char *const link_values[] = { user_id };
	const char *values[N_COUNT] = { [N_USERNAME] = ev->username,
		[N_NAME] = ev->display_name ? ev->display_name : ev->username,
		[N_EMAIL] = ev->email,
		[N_COUNTRY] = ev->country,
		[N_CITY] = ev->city,
		[N_USER_ID] = user_id,
		[N_SENDER] = l->from };

	snprintf(user_id, sizeof user_id, "%" PRId64, ev->user_id);
	buf_init(&unsubscribe, 2 * UNSUBSCRIBE_MAX + sizeof user_id * UNSUBSCRIBE_MAX);
	template_render(l->unsubscribe, link_values, TEMPLATE_PLAIN, &unsubscribe);
	values[N_UNSUBSCRIBE] = buf_text(&unsubscribe);
	buf_clear(out);
	headers_write(l, ev, message_id, wall_us, values, out);
	part_write(out, ev, "text/plain", l->text, values, TEMPLATE_PLAIN);
	part_write(out, ev, "text/html", l->html, values, TEMPLATE_HTML);
	buf_printf(out, "--=_%s--\r\n", ev->id);
	buf_fini(&unsubscribe);
	return buf_failed(out)
		? err_set(e, ERR_LIMIT, "the mail is larger than %u bytes", LETTER_MAX)
		: 0;
}
