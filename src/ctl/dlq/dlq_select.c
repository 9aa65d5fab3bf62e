/* SPDX-License-Identifier: MIT */
/*
 * Which entries a verb works on. Whole ids and filters need the entry alone. The
 * beginning of an id and --limit need a look at all entries first, which makes a set
 * of ids or keys. An id selects every entry that has it.
 */
#include <errno.h>
#include <string.h>

#include "base/text.h"
#include "base/uuid7.h"
#include "ctl/dlq/dlq.h"
#include "ctl/kit/json.h"

#define PLAN_BYTES_MAX (256u << 20)
#define SORT_MEMORY (4u << 20)

static bool
word_whole(const char *word)
{
	struct uuid u;

	return uuid_parse(word, strlen(word), &u) ||
		(strlen(word) == 32 && strspn(word, "0123456789abcdef") == 32);
}

struct fronts {
	struct dlq *d;
	struct dlq_selection *s;
	struct dlq_sort *sort;
	char (*first)[DLQ_ID_SIZE]; /* of each word, what it stands for */
};

static int
front_one(struct fronts *f, size_t i, const struct dlq_entry *entry, struct err *e)
{
	const char *word = f->d->o.words[i];

	if (!dlq_id_match(entry, word))
		return 0;
	/* an event's id stands for all its entries, an entry's own id for that entry */
	if (strcmp(entry->id, word) != 0 &&
		!(entry->event_id && strcasecmp(entry->event_id, word) == 0)) {
		if (*f->first[i] && strcmp(f->first[i], entry->id) != 0)
			return err_set(e, ERR_INVALID,
				"\"%s\" begins several ids, %s and %s among them; give more of it",
				word, f->first[i], entry->id);
		memcpy(f->first[i], entry->id, DLQ_ID_SIZE);
	}
	dlq_set_add(&f->s->ids, entry->id, NULL);
	return 0;
}

static int
front_message(void *arg, const struct broker_message *m, struct err *e)
{
	struct fronts *f = arg;
	struct dlq_entry entry;

	dlq_entry_read(&entry, m, f->d->mem);
	for (size_t i = 0; i < f->d->o.word_count; i++)
		if (front_one(f, i, &entry, e))
			return -1;
	return 0;
}

static int
limit_message(void *arg, const struct broker_message *m, struct err *e)
{
	struct fronts *f = arg;
	struct dlq_entry entry;
	char key[DLQ_KEY_SIZE];

	dlq_entry_read(&entry, m, f->d->mem);
	if (!dlq_filter_match(&f->d->o.filter, &entry))
		return 0;
	dlq_entry_key(&entry, m, key);
	return dlq_sort_add(f->sort, entry.failed_us < 0 ? INT64_MAX : entry.failed_us, key,
		strlen(key) + 1, e);
}

static int
limit_keep(void *arg, const char *bytes, size_t length, struct err *e)
{
	struct dlq_selection *s = arg;

	(void)length;
	(void)e;
	dlq_set_add(&s->ids, bytes, NULL);
	return 0;
}

static int
by_look(struct dlq *d, struct dlq_selection *s, struct err *e)
{
	struct fronts f = { .d = d, .s = s };
	struct dlq_reader r = { .what = "choosing",
		.message = d->o.word_count ? front_message : limit_message,
		.arg = &f };
	int rc;

	s->by_set = true;
	s->by_key = d->o.word_count == 0;
	f.first = must_calloc(d->o.word_count + 1, sizeof *f.first);
	f.sort = dlq_sort_new((uint64_t)d->o.filter.limit, SORT_MEMORY);
	rc = dlq_read(d, &r, e);
	if (rc == 0)
		rc = dlq_sort_each(f.sort, limit_keep, s, e);
	dlq_sort_free(f.sort);
	free(f.first);
	return rc;
}

/* One id a line; empty lines and comments behind # are skipped. */
static int
plan_read(const char *path, struct dlq_selection *s, struct err *e)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t n;
	FILE *f = fopen(path, "re");
	int rc = 0;

	if (!f)
		return err_set(e, ERR_INVALID, "cannot read the plan %s: %s", path,
			strerror(errno));
	while (rc == 0 && (n = getline(&line, &room, f)) >= 0) {
		n = (ssize_t)strcspn(line, " \t\r\n#");
		line[n] = '\0';
		if (n >= DLQ_ID_SIZE)
			rc = err_set(e, ERR_INVALID, "%s is no plan: \"%.20s…\" is no id", path,
				line);
		else if (n > 0)
			dlq_set_add(&s->ids, line, NULL);
	}
	if (rc == 0 && (ferror(f) || s->ids.count == 0))
		rc = err_set(e, ERR_INVALID, "the plan %s has no ids", path);
	free(line);
	fclose(f);
	return rc;
}

int
dlq_select(struct dlq *d, struct dlq_selection *s, struct err *e)
{
	bool whole = true;

	*s = (struct dlq_selection){ .o = &d->o };
	for (size_t i = 0; i < d->o.word_count; i++)
		whole &= word_whole(d->o.words[i]);
	if (d->o.apply) {
		s->by_set = true;
		return plan_read(d->o.apply, s, e);
	}
	if (!whole || d->o.filter.limit)
		return by_look(d, s, e);
	return 0;
}

bool
dlq_selected(struct dlq_selection *s, const struct dlq_entry *entry, const struct broker_message *m)
{
	char key[DLQ_KEY_SIZE];

	if (s->by_key) {
		dlq_entry_key(entry, m, key);
		return dlq_set_has(&s->ids, key, NULL);
	}
	if (s->by_set)
		return dlq_set_has(&s->ids, entry->id, NULL);
	for (size_t i = 0; i < s->o->word_count; i++)
		if (dlq_id_match(entry, s->o->words[i]))
			return true;
	return s->o->word_count == 0 && dlq_filter_match(&s->o->filter, entry);
}

void
dlq_selection_fini(struct dlq_selection *s)
{
	dlq_set_fini(&s->ids);
}

void
dlq_options_json(const struct dlq_options *options, struct buf *out)
{
	struct json_out o;

	json_out_init(&o, out);
	json_out_object(&o, NULL);
	if (options->apply) {
		ctl_json_text(&o, "plan", options->apply);
	} else if (options->word_count) {
		json_out_list(&o, "ids");
		for (size_t i = 0; i < options->word_count && i < 1000; i++)
			ctl_json_text(&o, NULL, options->words[i]);
		json_out_end(&o);
	} else {
		dlq_filter_json(&options->filter, &o);
	}
	json_out_end(&o);
}
