/* SPDX-License-Identifier: MIT */
/* The file that keeps a rebuild's cursor, with the servers that it belongs to. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "base/url.h"
#include "ctl/kit/state_folder.h"
#include "ctl/rebuild/rebuild.h"

#define STATE_MAX 4096

/* The source and the target: a cursor that belongs to other servers means nothing here. */
static void
target_text(const struct rebuild *r, const struct rebuild_kind *k, char *out, size_t size)
{
	const struct conf *f = r->c->conf;
	const char *from = url_redact(URL_POSTGRES, conf_string(f, "postgres", "url"), r->mem);
	const char *to = k->needs_kv
		? url_redact(URL_REDIS, conf_string(f, "redis", "url"), r->mem)
		: url_redact(URL_MONGO, conf_string(f, "mongo", "url"), r->mem);

	snprintf(out, size, "%s %.700s %.700s", k->name, from ? from : "", to ? to : "");
}

bool
rebuild_state_read(const struct rebuild *r, const struct rebuild_kind *k, const char *path,
	char cursor[static REBUILD_CURSOR_SIZE])
{
	char target[1500];
	const char *text, *end;
	struct err e = ERR_INIT;

	target_text(r, k, target, sizeof target);
	if (access(path, F_OK) != 0 || text_file_read(path, STATE_MAX, r->mem, &text, &e))
		return false;
	end = strchr(text, '\n');
	if (!end || (size_t)(end - text) != strlen(target) ||
		strncmp(text, target, strlen(target)) != 0)
		return false;
	snprintf(cursor, REBUILD_CURSOR_SIZE, "%.*s", (int)strcspn(end + 1, "\n"), end + 1);
	return k->cursor_valid(cursor);
}

int
rebuild_state_write(const struct rebuild *r, const struct rebuild_kind *k, const char *path,
	struct err *e)
{
	char target[1500], next[1100];
	FILE *f;
	bool bad;

	target_text(r, k, target, sizeof target);
	snprintf(next, sizeof next, "%.1000s.new", path);
	f = folders_make(next, STATE_FOLDER_MODE) ? NULL : fopen(next, "we");
	if (!f)
		return err_set(e, ERR_INTERNAL, "%s: %m; --state FILE names another place", next);
	bad = fprintf(f, "%s\n%s\n", target, r->cursor) < 0;
	bad |= fclose(f) != 0;
	if (bad || rename(next, path) != 0)
		return err_set(e, ERR_INTERNAL, "%s: %m; --state FILE names another place", path);
	return 0;
}
