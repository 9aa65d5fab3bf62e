/* SPDX-License-Identifier: MIT */
/* dlq: its verbs, their words and options. */
#include <limits.h>
#include <string.h>

#include "base/json.h"
#include "ctl/dlq/dlq.h"
#include "ctl/kit/options.h"
#include "ctl/verbs.h"

#define CANARY_WAIT_S 10 /* the retry ladder takes 7 s */
#define OPTIONS_MAX 24

enum {
	OPT_FILTER = 1, /* the filters */
	OPT_IDS = 2,    /* ids as words */
	OPT_FILE = 4,   /* a file as its word */
	OPT_REPLAY = 8,
	OPT_PURGE = 16,
	OPT_CHANGE = 32, /* --why */
};

static const struct verb {
	const char *name;
	unsigned takes;
	int (*run)(struct dlq *);
} verbs[] = {
	{ "list", OPT_FILTER, dlq_list },
	{ "stats", OPT_FILTER, dlq_stats },
	{ "show", OPT_IDS, dlq_show },
	{ "replay", OPT_FILTER | OPT_IDS | OPT_REPLAY | OPT_CHANGE, dlq_replay },
	{ "export", OPT_FILTER | OPT_FILE, dlq_export },
	{ "import", OPT_FILE | OPT_CHANGE, dlq_import },
	{ "purge", OPT_FILTER | OPT_IDS | OPT_PURGE | OPT_CHANGE, dlq_purge },
};

struct verb_option {
	unsigned of; /* the verbs that take one of these take the option; 0: all */
	struct ctl_option option;
};

/* Those of the options that this verb takes; out ends with one that has no name. */
static void
options_choose(const struct verb *v, const struct verb_option *all, struct ctl_option *out)
{
	size_t n = 0;

	for (; all->option.name; all++)
		if (!all->of || (all->of & v->takes)) {
			must(n + 1 < OPTIONS_MAX);
			out[n++] = all->option;
		}
	out[n] = (struct ctl_option){ 0 };
}

/* argv[0] is the verb of dlq. */
static int
options_read(struct dlq *d, const struct verb *v, int argc, char **argv)
{
	struct dlq_options *o = &d->o;
	struct dlq_filter *f = &o->filter;
	const struct verb_option all[] = {
		{ OPT_FILTER, { "--consumer", .text = &f->consumer } },
		{ OPT_FILTER, { "--error", .parse = dlq_filter_error, .to = f } },
		{ OPT_FILTER, { "--class", .text = &f->class } },
		{ OPT_FILTER, { "--type", .text = &f->type } },
		{ OPT_FILTER, { "--user", .number = &f->user, .min = 1, .max = JSON_INTEGER_MAX } },
		{ OPT_FILTER, { "--since", .time_us = &f->since_us } },
		{ OPT_FILTER, { "--until", .time_us = &f->until_us } },
		{ OPT_FILTER, { "--limit", .number = &f->limit, .min = 1, .max = 1000000000 } },
		{ OPT_REPLAY | OPT_PURGE, { "--all", .flag = &o->all } },
		{ OPT_REPLAY, { "--dry-run", .flag = &o->dry_run } },
		{ OPT_REPLAY, { "--plan", .text = &o->plan } },
		{ OPT_REPLAY, { "--apply", .text = &o->apply } },
		{ OPT_REPLAY, { "--rate", .rate = &o->rate } },
		{ OPT_REPLAY, { "--canary", .flag = &o->canary } },
		{ OPT_REPLAY,
			{ "--canary-wait", .number = &o->canary_wait_s, .min = 0, .max = 3600 } },
		{ OPT_REPLAY, { "--edit", .flag = &o->edit } },
		{ OPT_REPLAY, { "--force", .flag = &o->force } },
		{ OPT_PURGE, { "--yes", .flag = &o->yes } },
		{ OPT_PURGE, { "--to", .text = &o->to } },
		{ OPT_CHANGE, { "--why", .text = &o->why } },
		{ 0, { "--no-wait", .flag = &o->no_wait } },
		{ 0, { 0 } },
	};
	struct ctl_option options[OPTIONS_MAX];
	int n;

	options_choose(v, all, options);
	n = options_take(d->ctl, options, INT_MAX, argc, argv);
	if (n < 0)
		return -1;
	o->words = argv + 1;
	o->word_count = (size_t)n;
	return 0;
}

static int
words_check(const struct dlq *d, const struct verb *v, struct err *e)
{
	const struct dlq_options *o = &d->o;

	if (v->takes & OPT_FILE && o->word_count != 1)
		return err_set(e, ERR_INVALID, "want: dlq %s FILE (\"-\": standard %s)", v->name,
			v->takes & OPT_CHANGE ? "input" : "output");
	if (!(v->takes & (OPT_FILE | OPT_IDS)) && o->word_count)
		return err_set(e, ERR_INVALID, "dlq %s takes filters, no words: \"%s\"", v->name,
			o->words[0]);
	if (!(v->takes & OPT_IDS))
		return 0;
	for (size_t i = 0; i < o->word_count; i++)
		if (strlen(o->words[i]) < DLQ_FRONT_MIN)
			return err_set(e, ERR_INVALID,
				"\"%s\" is too short for an id: %d characters or more", o->words[i],
				DLQ_FRONT_MIN);
	if (v->run == dlq_show && o->word_count == 0)
		return err_set(e, ERR_INVALID, "want: dlq show ID; `dlq list` has the ids");
	if ((o->word_count > 0) + dlq_filter_any(&o->filter) + o->all + (o->apply != NULL) > 1)
		return err_set(e, ERR_INVALID, "ids, filters, --all and --apply go one at a time");
	return 0;
}

static const struct verb *
dlq_verb_find(const char *name)
{
	for (size_t i = 0; name && i < ARRAY_LEN(verbs); i++)
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	return NULL;
}

int
ctl_dlq(struct ctl *c, int argc, char **argv)
{
	const struct verb *v = dlq_verb_find(argc > 1 ? argv[1] : NULL);
	struct dlq d = { .ctl = c, .o.canary_wait_s = CANARY_WAIT_S };
	struct err e = ERR_INIT;
	int code;

	if (!v)
		return ctl_fail(c, CTL_USAGE,
			"want: dlq list | stats | show | replay | export | import | purge; "
			"`onboardctl dlq --help` has examples");
	d.what = v->name;
	if (options_read(&d, v, argc - 1, argv + 1))
		code = CTL_USAGE;
	else if (words_check(&d, v, &e))
		code = ctl_fail(c, CTL_USAGE, "%s", e.text);
	else
		code = v->run(&d);
	dlq_disconnect(&d);
	dlq_filter_fini(&d.o.filter);
	return code;
}
