/* SPDX-License-Identifier: MIT */
/* dlq: its verbs, their words and options. */
#include "ctl/dlq/dlq.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"

#define CANARY_WAIT_MS 10000 /* the retry ladder is 7 s */

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

enum option_id {
	O_CONSUMER = 256,
	O_ERROR,
	O_CLASS,
	O_TYPE,
	O_USER,
	O_SINCE,
	O_UNTIL,
	O_LIMIT,
	O_ALL,
	O_DRY_RUN,
	O_PLAN,
	O_APPLY,
	O_RATE,
	O_CANARY,
	O_CANARY_WAIT,
	O_EDIT,
	O_WHY,
	O_YES,
	O_FORCE,
	O_TO,
	O_NO_WAIT,
};

static const struct option options[] = { { "consumer", required_argument, NULL, O_CONSUMER },
	{ "error", required_argument, NULL, O_ERROR },
	{ "class", required_argument, NULL, O_CLASS }, { "type", required_argument, NULL, O_TYPE },
	{ "user", required_argument, NULL, O_USER }, { "since", required_argument, NULL, O_SINCE },
	{ "until", required_argument, NULL, O_UNTIL },
	{ "limit", required_argument, NULL, O_LIMIT }, { "all", no_argument, NULL, O_ALL },
	{ "dry-run", no_argument, NULL, O_DRY_RUN }, { "plan", required_argument, NULL, O_PLAN },
	{ "apply", required_argument, NULL, O_APPLY }, { "rate", required_argument, NULL, O_RATE },
	{ "canary", no_argument, NULL, O_CANARY },
	{ "canary-wait", required_argument, NULL, O_CANARY_WAIT },
	{ "edit", no_argument, NULL, O_EDIT }, { "why", required_argument, NULL, O_WHY },
	{ "yes", no_argument, NULL, O_YES }, { "force", no_argument, NULL, O_FORCE },
	{ "to", required_argument, NULL, O_TO }, { "no-wait", no_argument, NULL, O_NO_WAIT },
	{ 0 } };

/* What an option belongs to; 0: every verb takes it. */
static unsigned
option_group(int id)
{
	if (id >= O_CONSUMER && id <= O_LIMIT)
		return OPT_FILTER;
	if ((id >= O_ALL && id <= O_EDIT) || id == O_FORCE)
		return id == O_ALL ? OPT_REPLAY | OPT_PURGE : OPT_REPLAY;
	return id == O_WHY ? OPT_CHANGE : id == O_YES || id == O_TO ? OPT_PURGE : 0;
}

bool
ctl_number(const char *text, int64_t min, int64_t max, int64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoll(text, &end, 10);
	return *text >= '0' && *text <= '9' && errno == 0 && *end == '\0' && *out >= min &&
		*out <= max;
}

bool
ctl_rate(const char *text, int64_t *out)
{
	size_t n = strspn(text, "0123456789");
	char digits[20];

	if (n == 0 || n >= sizeof digits || (text[n] && strcmp(text + n, "/s") != 0))
		return false;
	memcpy(digits, text, n);
	digits[n] = '\0';
	return ctl_number(digits, 1, 10000000, out);
}

static int
option_take(struct dlq_options *o, int id, const char *value, struct err *e)
{
	struct dlq_filter *f = &o->filter;
	int64_t n = 0;

	switch (id) {
	case O_CONSUMER: f->consumer = value; return 0;
	case O_ERROR: return dlq_filter_error(f, value, e);
	case O_CLASS: f->class = value; return 0;
	case O_TYPE: f->type = value; return 0;
	case O_USER:
		if (!ctl_number(value, 1, JSON_INTEGER_MAX, &f->user))
			return err_set(e, ERR_INVALID, "--user wants a user's number");
		return 0;
	case O_SINCE: return dlq_time_parse(value, clock_wall_us(), &f->since_us, e);
	case O_UNTIL: return dlq_time_parse(value, clock_wall_us(), &f->until_us, e);
	case O_LIMIT:
		if (!ctl_number(value, 1, 1000000000, &n))
			return err_set(e, ERR_INVALID, "--limit wants a number from 1 on");
		f->limit = (uint64_t)n;
		return 0;
	case O_RATE:
		if (!ctl_rate(value, &o->rate))
			return err_set(e, ERR_INVALID, "--rate wants N/s, such as 100/s");
		return 0;
	case O_CANARY_WAIT:
		if (!ctl_number(value, 0, 3600, &n))
			return err_set(e, ERR_INVALID, "--canary-wait wants seconds");
		o->canary_wait_ms = n * 1000;
		return 0;
	case O_ALL: o->all = true; return 0;
	case O_DRY_RUN: o->dry_run = true; return 0;
	case O_PLAN: o->plan = value; return 0;
	case O_APPLY: o->apply = value; return 0;
	case O_CANARY: o->canary = true; return 0;
	case O_EDIT: o->edit = true; return 0;
	case O_WHY: o->why = value; return 0;
	case O_YES: o->yes = true; return 0;
	case O_FORCE: o->force = true; return 0;
	case O_TO: o->to = value; return 0;
	default: o->no_wait = true; return 0;
	}
}

static int
options_take(struct dlq *d, const struct verb *v, int argc, char **argv, struct err *e)
{
	int id, at = 0;

	optind = 0;
	opterr = 0;
	while ((id = getopt_long(argc, argv, "", options, &at)) != -1) {
		if (id == '?' || id == ':')
			return err_set(e, ERR_INVALID, "%s is no option of it, or lacks its value",
				argv[optind - 1]);
		if (option_group(id) && !(option_group(id) & v->takes))
			return err_set(e, ERR_INVALID, "dlq %s takes no --%s", v->name,
				options[at].name);
		if (option_take(&d->o, id, optarg, e))
			return -1;
	}
	d->o.words = argv + optind;
	d->o.word_count = (size_t)(argc - optind);
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
verb_find(const char *name)
{
	for (size_t i = 0; name && i < ARRAY_LEN(verbs); i++)
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	return NULL;
}

int
ctl_dlq(struct ctl *c, int argc, char **argv)
{
	const struct verb *v = verb_find(argc > 1 ? argv[1] : NULL);
	struct dlq d = { .ctl = c, .o.canary_wait_ms = CANARY_WAIT_MS };
	struct err e = ERR_INIT;
	int code;

	if (!v)
		return ctl_fail(c, CTL_USAGE,
			"want: dlq list | stats | show | replay | export | import | purge; "
			"`onboardctl dlq --help` has examples");
	d.what = v->name;
	if (options_take(&d, v, argc - 1, argv + 1, &e) || words_check(&d, v, &e))
		code = ctl_fail(c, CTL_USAGE, "%s", e.text);
	else
		code = v->run(&d);
	dlq_disconnect(&d);
	dlq_filter_fini(&d.o.filter);
	return code;
}
