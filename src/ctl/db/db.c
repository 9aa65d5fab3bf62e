/* SPDX-License-Identifier: MIT */
/* db: the words of `db migrate`, and which databases they are about. */
#include <string.h>

#include "ctl/db/db.h"
#include "ctl/db/migrate.h"
#include "ctl/db/migrations.h"
#include "ctl/kit/options.h"
#include "ctl/verbs.h"
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

/* "migrate up", "migrate down [N]", "migrate status", with options anywhere. */
static int
words_parse(struct ctl *c, int argc, char **argv, struct migrate_wanted *w)
{
	int64_t steps = MIGRATIONS_MAX, lock_wait_s = LOCK_WAIT_S;
	const struct ctl_option options[] = { { "--dir", .text = &w->dir },
		{ "--database", .text = &w->database },
		{ "--lock-wait", .number = &lock_wait_s, .min = 0, .max = LOCK_WAIT_MAX_S },
		{ 0 } };
	int n = options_take(c, options, 3, argc, argv);
	char **words = argv + 1;

	if (n < 0)
		return CTL_USAGE;
	w->lock_wait_ms = lock_wait_s * 1000;
	if (w->database && !database_find(w->database))
		return ctl_fail(c, CTL_USAGE, "there is no database \"%s\"", w->database);
	if (n < 2 || strcmp(words[0], "migrate") != 0 || !what_parse(words[1], &w->what) ||
		(n == 3 && w->what != MIGRATE_DOWN))
		return ctl_fail(c, CTL_USAGE,
			"want: db migrate up | down [N] | status, or db maintain");
	if (w->what == MIGRATE_DOWN)
		steps = 1;
	if (n == 3 && !option_number(words[2], 1, MIGRATIONS_MAX, &steps))
		return ctl_fail(c, CTL_USAGE, "down wants a number of steps from 1 on, not \"%s\"",
			words[2]);
	w->steps = (int)steps;
	return CTL_DONE;
}

int
ctl_db(struct ctl *c, int argc, char **argv)
{
	struct migrate_wanted w = { 0 };
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
