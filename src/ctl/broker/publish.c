/* SPDX-License-Identifier: MIT */
/* publish: its words, and the files that it reads. */
#include "ctl/broker/publish.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/kit/options.h"
#include "ctl/verbs.h"
#include "model/event.h"
#include "model/topology.h"

/* The file's bytes, "-": standard input's. */
static int
input_read(const char *path, struct buf *out, struct err *e)
{
	FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
	char part[65536];
	size_t n;
	int rc = 0;

	if (!f)
		return err_set(e, ERR_INVALID, "cannot read %s: %s", path, strerror(errno));
	while ((n = fread(part, 1, sizeof part, f)) > 0)
		buf_add(out, part, n);
	if (ferror(f))
		rc = err_set(e, ERR_INVALID, "cannot read %s: %s", path, strerror(errno));
	else if (buf_failed(out))
		rc = err_set(e, ERR_INVALID, "%s has over %u MiB", path, PUBLISH_INPUT_MAX >> 20);
	if (f != stdin)
		fclose(f);
	return rc;
}

static int
payload_take(struct publish *p, struct err *e)
{
	const char *text = p->payload_text;
	struct err why = ERR_INIT;
	struct buf file;
	int rc = 0;

	if (!text)
		return 0;
	buf_init(&file, PUBLISH_INPUT_MAX);
	if (*text == '@' || strcmp(text, "-") == 0)
		rc = input_read(*text == '@' ? text + 1 : text, &file, e);
	else
		buf_add_text(&file, text);
	if (rc == 0 &&
		(json_parse(p->mem, buf_text(&file), file.length, &p->event.payload, &why) ||
			json_type(p->event.payload) != JSON_OBJECT))
		rc = err_set(e, ERR_INVALID, "--payload is no JSON object: %s",
			*why.text ? why.text : "want {…}");
	buf_fini(&file);
	return rc;
}

static int
publish_words_read(struct publish *p, int argc, char **argv)
{
	const struct ctl_option options[] = {
		{ "--user-id", .number = &p->event.user_id, .min = 1, .max = JSON_INTEGER_MAX },
		{ "--username", .text = &p->event.username },
		{ "--email", .text = &p->event.email },
		{ "--payload", .text = &p->payload_text },
		{ "--raw", .text = &p->raw_file },
		{ "--exchange", .text = &p->exchange },
		{ "--routing-key", .text = &p->key },
		{ "--priority", .number = &p->priority, .min = 0, .max = 255 },
		{ "--count", .number = &p->count, .min = 1, .max = 1000000000 },
		{ "--rate", .rate = &p->rate },
		{ 0 },
	};
	int words = options_take(p->ctl, options, 1, argc, argv);

	if (words < 0)
		return CTL_USAGE;
	if (words == 0 || !*argv[1])
		return ctl_fail(p->ctl, CTL_USAGE,
			"want: publish TYPE [OPTION…], such as user.created");
	p->event.type = argv[1];
	if (p->raw_file &&
		(p->payload_text || p->event.user_id || p->event.username || p->event.email))
		return ctl_fail(p->ctl, CTL_USAGE,
			"--raw is the whole body: nothing else goes into it");
	return CTL_DONE;
}

static int
type_check(struct publish *p, struct err *e)
{
	const char *type = p->event.type;

	if (strlen(type) > 200)
		return err_set(e, ERR_INVALID, "TYPE is too long");
	if (!p->raw_file && !strchr(type, '.')) {
		p->event.type = arena_printf(p->mem, EVENT_TYPE_BEGIN "%s", type);
		must(p->event.type);
	}
	if (!p->key)
		p->key = p->event.type;
	return strlen(p->key) > 255 || strlen(p->exchange) > 255
		? err_set(e, ERR_INVALID, "an exchange or routing key has 255 bytes at most")
		: 0;
}

static int
input_take(struct publish *p, struct err *e)
{
	if (type_check(p, e) || payload_take(p, e))
		return -1;
	p->has_raw = p->raw_file != NULL;
	return p->has_raw ? input_read(p->raw_file, &p->raw, e) : 0;
}

int
ctl_publish(struct ctl *c, int argc, char **argv)
{
	struct publish *p = must_calloc(1, sizeof *p);
	struct err e = ERR_INIT;
	int code;

	p->ctl = c;
	p->exchange = TOPOLOGY_EVENTS;
	p->count = 1;
	p->priority = -1;
	p->mem = arena_new(1 << 16, 256u << 20);
	buf_init(&p->raw, PUBLISH_INPUT_MAX);
	code = publish_words_read(p, argc, argv);
	if (code == CTL_DONE && input_take(p, &e))
		code = ctl_fail(c, CTL_USAGE, "%s", e.text);
	else if (code == CTL_DONE && publish_send(p, &e))
		code = ctl_fail_err(c, &e);
	arena_free(p->mem);
	buf_fini(&p->raw);
	free(p);
	return code;
}
