/* SPDX-License-Identifier: MIT */
#include "ctl/db/migrations.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"

#define BUILT_IN "onboardctl's own migrations" /* errors say it where they would name a folder */

static int
text_read(const char *dir, const char *name, struct arena *mem, const char **out, struct err *e)
{
	const char *path = arena_printf(mem, "%s/%s", dir, name);

	if (!path)
		return err_set(e, ERR_LIMIT, "the migrations are larger than expected");
	return text_file_read(path, MIGRATION_BYTES_MAX, mem, out, e);
}

/*
 * Refuses a file with a BEGIN or COMMIT of its own. Each file runs in one
 * transaction of ours; its own COMMIT would leave half of it behind when the
 * rest fails. Only whole lines count: the BEGIN of a function's body has no
 * semicolon.
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

/* text NULL: reads the file from the folder dir. */
static int
file_add(const char *dir, const char *name, const char *text, struct arena *mem,
	struct migrations *out, struct err *e)
{
	struct file_name f;
	struct migration *m;

	if (!name_parse(name, &f) || f.number == 0)
		return err_set(e, ERR_INVALID,
			"%s/%s: want NNNN_name.up.sql or NNNN_name.down.sql, from 0001 on", dir,
			name);
	m = &out->list[f.number - 1];
	if (m->name && (strlen(m->name) != f.stem || strncmp(m->name, name, f.stem) != 0))
		return err_set(e, ERR_INVALID, "%s: number %04d is there twice: %s and %.*s", dir,
			f.number, m->name, (int)f.stem, name);
	m->number = f.number;
	if (!m->name && !(m->name = arena_strndup(mem, name, f.stem)))
		return err_set(e, ERR_LIMIT, "the migrations are larger than expected");
	if (out->count < (size_t)f.number)
		out->count = (size_t)f.number;
	if (!text && text_read(dir, name, mem, &text, e) < 0)
		return -1;
	if (!*text)
		return err_set(e, ERR_INVALID, "%s/%s is empty", dir, name);
	*(f.up ? &m->up : &m->down) = text;
	return transaction_check(name, text, e);
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

static int
folder_read(const char *dir, struct arena *mem, struct migrations *out, struct err *e)
{
	struct dirent *entry;
	DIR *d = opendir(dir);
	int rc = 0;

	if (!d)
		return err_set(e, ERR_INVALID,
			"cannot read the migrations' folder %s: %s; --dir DIR names another", dir,
			strerror(errno));
	while (rc == 0 && (entry = readdir(d))) {
		size_t n = strlen(entry->d_name);

		if (n > 4 && strcmp(entry->d_name + n - 4, ".sql") == 0)
			rc = file_add(dir, entry->d_name, NULL, mem, out, e);
	}
	closedir(d);
	return rc;
}

static int
built_in_read(const char *database, struct arena *mem, struct migrations *out, struct err *e)
{
	int rc = 0;

	for (const struct embedded_file *f = migrations_built_in; rc == 0 && f->name; f++)
		if (strcmp(f->folder, database) == 0)
			rc = file_add(BUILT_IN, f->name, f->text, mem, out, e);
	return rc;
}

int
migrations_read(const char *database, const char *dir, struct arena *mem, struct migrations *out,
	struct err *e)
{
	*out = (struct migrations){ 0 };
	out->list = arena_alloc(mem, MIGRATIONS_MAX * sizeof *out->list);
	if (!out->list)
		return err_set(e, ERR_LIMIT, "no room for the migrations");
	if ((dir ? folder_read(dir, mem, out, e) : built_in_read(database, mem, out, e)) < 0)
		return -1;
	return whole_check(dir ? dir : BUILT_IN, out, e);
}
