/* SPDX-License-Identifier: MIT */
/*
 * Templates, and the mail's encodings of any text: what is written is ASCII in
 * short lines, a header stays one header, and HTML has no mark of a value's own.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/mime.h"
#include "base/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
header_check(const struct buf *out, size_t most)
{
	const char *line = buf_text(out), *end;

	must(!buf_failed(out));
	for (int n = 0; (end = strstr(line, "\r\n")); line = end + 2, n++) {
		must((size_t)(end - line) <= most && (n == 0 || most == 76 || *line == ' '));
		for (const char *p = line; p < end; p++)
			must(((unsigned char)*p >= ' ' && (unsigned char)*p < 0x7f) ||
				(most == 76 && *p == '\t'));
	}
	must(*line == '\0');
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[] = { "name", "x", NULL };
	struct arena *mem;
	const struct template *t;
	struct err e = ERR_INIT;
	struct buf out;
	char *text;

	if (size > 4096)
		return 0;
	mem = arena_new(4096, 1 << 24);
	text = arena_strndup(mem, (const char *)data, size);
	must(text);
	buf_init(&out, 1 << 24);
	if (template_parse(text, names, mem, &t, &e) == 0) {
		const char *const values[] = { text, "<>" }, *const none[] = { NULL, NULL };

		template_render(t, none, TEMPLATE_PLAIN, &out);
		must(!strstr(text, "{{") == (out.length == strlen(text)));
		buf_clear(&out);
		template_render(t, values, TEMPLATE_HTML, &out);
		must(strstr(text, "<>") || !strstr(buf_text(&out), "<>"));
	} else {
		must(e.kind == ERR_INVALID && *e.text);
	}
	buf_clear(&out);
	mime_header(&out, "Subject", text);
	header_check(&out, 78);
	buf_clear(&out);
	mime_header_address(&out, "To", text, "a@b.lv");
	header_check(&out, 78);
	buf_clear(&out);
	mime_quoted_printable(&out, (const char *)data, size);
	header_check(&out, 76);
	buf_fini(&out);
	arena_free(mem);
	return 0;
}
