/* SPDX-License-Identifier: MIT */
#include "migrations.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/text.h"

/* PREFIX/share/onboard/migrations beside PREFIX/bin, wherever that was installed to. */
static const char *
installed_folder(struct arena *mem)
{
	char program[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", program, sizeof program);
	const char *dir = NULL;

	for (int up = 0; up < 2; up++)
		while (n > 0 && program[--n] != '/')
			;
	if (n >= 0 && n < (ssize_t)sizeof program)
		dir = arena_printf(mem, "%.*s/share/onboard/migrations", (int)n, program);
	return dir && access(dir, R_OK | X_OK) == 0 ? dir : "/usr/share/onboard/migrations";
}

static const char *
folder_find(const char *dir, struct arena *mem)
{
	if (dir)
		return dir;
	if ((dir = getenv("ONBOARD_MIGRATIONS")) && *dir)
		return dir;
	return access("migrations", R_OK | X_OK) == 0 ? "migrations" : installed_folder(mem);
}

static int
text_read(const char *dir, const char *name, struct arena *mem, const char **out, struct err *e)
{
	const char *path = arena_printf(mem, "%s/%s", dir, name);

	if (!path)
		return err_set(e, ERR_LIMIT, "the migrations are larger than expected");
	if (text_file_read(path, MIGRATION_BYTES_MAX, mem, out, e) < 0)
		return -1;
	return **out ? 0 : err_set(e, ERR_INVALID, "%s is empty", path);
}

/*
 * Each file runs in one transaction of ours; a COMMIT of its own would leave
 * half of it behind when the rest fails. Whole lines only: the BEGIN of a
 * function's body has no semicolon.
 */
static int
transaction_check(const char *name, const char *text, struct err *e)
{
	static const char *const words[] = { "begin;", "begin transaction;", "start transaction;",
		"commit;", "rollback;", "end transaction;", "commit transaction;" };
	int line = 1;

	for (const char *p = text; *p; line++) {
		const char *start = p + strspn(p, " \t");

		for (size_t i = 0; i < ARRAY_LEN(words); i++)
			if (strncasecmp(start, words[i], strlen(words[i])) == 0)
				return err_set(e, ERR_INVALID,
					"%s:%d: \"%s\" in a migration; take it out: each file is run in "
					"one transaction already",
					name, line, words[i]);
		p = strchrnul(p, '\n');
		p += *p == '\n';
	}
	return 0;
}

struct file_name {
	int number;
	size_t stem; /* length of "0001_people" */
	bool up;
};

/* false: not a migration's name */
static bool
name_parse(const char *text, struct file_name *out)
{
	size_t n = strlen(text);
	const char *ending;

	if (n < 6 || strspn(text, "0123456789") != 4 || text[4] != '_')
		return false;
	out->up = n > 7 && strcmp(text + n - 7, ".up.sql") == 0;
	ending = out->up ? ".up.sql" : ".down.sql";
	if (n <= 5 + strlen(ending) || strcmp(text + n - strlen(ending), ending) != 0)
		return false;
	out->stem = n - strlen(ending);
	if (strspn(text + 5, "abcdefghijklmnopqrstuvwxyz0123456789_") != out->stem - 5)
		return false;
	out->number = atoi(text); /* four digits, checked above */
	return true;
}

static int
file_add(const char *dir, const char *name, struct arena *mem, struct migrations *out,
	struct err *e)
{
	struct file_name f;
	struct migration *m;
	const char **text;

	if (!name_parse(name, &f) || f.number == 0)
		return err_set(e, ERR_INVALID,
			"%s/%s: want NNNN_name.up.sql or NNNN_name.down.sql, from 0001 on", dir,
			name);
	m = &out->list[f.number - 1];
	text = f.up ? &m->up : &m->down;
	if (m->name && (strlen(m->name) != f.stem || strncmp(m->name, name, f.stem) != 0))
		return err_set(e, ERR_INVALID, "%s: number %04d is there twice: %s and %.*s", dir,
			f.number, m->name, (int)f.stem, name);
	m->number = f.number;
	if (!m->name && !(m->name = arena_strndup(mem, name, f.stem)))
		return err_set(e, ERR_LIMIT, "the migrations are larger than expected");
	if (out->count < (size_t)f.number)
		out->count = (size_t)f.number;
	if (text_read(dir, name, mem, text, e) < 0)
		return -1;
	return transaction_check(name, *text, e);
}

static int
whole_check(const char *dir, const struct migrations *m, struct err *e)
{
	for (size_t i = 0; i < m->count; i++) {
		const struct migration *one = &m->list[i];

		if (!one->name)
			return err_set(e, ERR_INVALID,
				"%s: number %04zu is missing, %04zu is there", dir, i + 1,
				m->count);
		if (!one->up || !one->down)
			return err_set(e, ERR_INVALID, "%s: %s has no %s file", dir, one->name,
				one->up ? ".down.sql" : ".up.sql");
	}
	if (m->count == 0)
		return err_set(e, ERR_INVALID, "%s holds no NNNN_name.up.sql", dir);
	return 0;
}

int
migrations_read(const char *dir, struct arena *mem, struct migrations *out, struct err *e)
{
	struct dirent *entry;
	DIR *d;
	int rc = 0;

	*out = (struct migrations){ 0 };
	dir = folder_find(dir, mem);
	out->list = arena_alloc(mem, MIGRATIONS_MAX * sizeof *out->list);
	if (!out->list)
		return err_set(e, ERR_LIMIT, "no room for the migrations");
	d = opendir(dir);
	if (!d)
		return err_set(e, ERR_INVALID,
			"cannot read the migrations' folder %s: %s; --dir DIR names another", dir,
			strerror(errno));
	while (rc == 0 && (entry = readdir(d))) {
		size_t n = strlen(entry->d_name);

		if (n > 4 && strcmp(entry->d_name + n - 4, ".sql") == 0)
			rc = file_add(dir, entry->d_name, mem, out, e);
	}
	closedir(d);
	return rc < 0 ? -1 : whole_check(dir, out, e);
}
