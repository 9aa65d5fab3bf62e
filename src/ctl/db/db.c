/* SPDX-License-Identifier: MIT */
/* db: the words of `db migrate`, and which databases they are about. */
#include <string.h>

#include "ctl/db/migrate.h"
#include "ctl/db/migrations.h"
#include "ctl/kit/ctl.h"
#include "model/databases.h"

#define LOCK_WAIT_S 60
#define LOCK_WAIT_MAX_S 86400

static bool
what_parse(const char *word, enum migrate_what *out)
{
	static const char *const words
		[] = { [MIGRATE_UP] = "up", [MIGRATE_DOWN] = "down", [MIGRATE_STATUS] = "status" };

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (strcmp(word, words[i]) == 0) {
			*out = (enum migrate_what)i;
			return true;
		}
	return false;
}

/* An option and its value at argv[i]. */
static int
option_parse(struct ctl *c, const char *name, const char *value, struct migrate_wanted *w)
{
	int64_t seconds;

	if (value && strcmp(name, "--dir") == 0) {
		w->dir = value;
	} else if (value && strcmp(name, "--database") == 0) {
		if (!database_find(value))
			return ctl_fail(c, CTL_USAGE, "there is no database \"%s\"", value);
		w->database = value;
	} else if (value && strcmp(name, "--lock-wait") == 0) {
		if (!ctl_number(value, 0, LOCK_WAIT_MAX_S, &seconds))
			return ctl_fail(c, CTL_USAGE,
				"--lock-wait wants seconds from 0 to %d, not \"%s\"",
				LOCK_WAIT_MAX_S, value);
		w->lock_wait_ms = seconds * 1000;
	} else {
		return ctl_fail(c, CTL_USAGE, "what is \"%s\"? `onboardctl db --help` has examples",
			name);
	}
	return CTL_DONE;
}

/* "migrate up", "migrate down [N]", "migrate status", with options anywhere. */
static int
words_parse(struct ctl *c, int argc, char **argv, struct migrate_wanted *w)
{
	const char *words[3] = { 0 };
	int64_t steps = MIGRATIONS_MAX;
	size_t n = 0;
	int code;

	for (int i = 1; i < argc; i++) {
		if (argv[i][0] == '-' || n == ARRAY_LEN(words)) {
			code = option_parse(c, argv[i], argv[i][0] == '-' ? argv[i + 1] : NULL, w);
			if (code != CTL_DONE)
				return code;
			i++;
		} else {
			words[n++] = argv[i];
		}
	}
	if (n < 2 || strcmp(words[0], "migrate") != 0 || !what_parse(words[1], &w->what) ||
		(n == 3 && w->what != MIGRATE_DOWN))
		return ctl_fail(c, CTL_USAGE,
			"want: db migrate up | down [N] | status, or db maintain");
	if (w->what == MIGRATE_DOWN)
		steps = 1;
	if (n == 3 && !ctl_number(words[2], 1, MIGRATIONS_MAX, &steps))
		return ctl_fail(c, CTL_USAGE, "down wants a number of steps from 1 on, not \"%s\"",
			words[2]);
	w->steps = (int)steps;
	return CTL_DONE;
}

int
ctl_db(struct ctl *c, int argc, char **argv)
{
	struct migrate_wanted w = { .lock_wait_ms = LOCK_WAIT_S * 1000 };
	int code, first = CTL_DONE;

	if (argc > 1 && strcmp(argv[1], "maintain") == 0)
		return ctl_maintain(c, argc);
	code = words_parse(c, argc, argv, &w);
	if (code != CTL_DONE)
		return code;
	w.named = !w.database && databases[1].name;
	if (w.named && (w.dir || w.what == MIGRATE_DOWN))
		return ctl_fail(c, CTL_USAGE, "%s is about one database: name it with --database",
			w.dir ? "--dir" : "down");
	c->verb = "db migrate";
	for (const struct database *d = databases; d->name; d++) {
		if (w.database && strcmp(w.database, d->name) != 0)
			continue;
		code = migrate_database(c, d, &w);
		if (first == CTL_DONE) /* one that fails does not keep the others from theirs */
			first = code;
	}
	return first;
}
