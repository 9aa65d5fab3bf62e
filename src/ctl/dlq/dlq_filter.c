/* SPDX-License-Identifier: MIT */
/* Which entries the options choose. */
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "ctl/dlq/dlq.h"
#include "ctl/kit/json.h"
#include "model/event.h"

int
dlq_filter_error(void *filter, const char *regex, struct err *e)
{
	struct dlq_filter *f = filter;
	char why[128];
	int rc;

	if (f->has_error)
		return err_set(e, ERR_INVALID, "--error is given twice");
	rc = regcomp(&f->error, regex, REG_EXTENDED | REG_NOSUB);
	if (rc) {
		regerror(rc, &f->error, why, sizeof why);
		return err_set(e, ERR_INVALID, "--error is no regular expression: %s", why);
	}
	f->has_error = true;
	f->error_text = regex;
	return 0;
}

void
dlq_filter_fini(struct dlq_filter *f)
{
	if (f->has_error)
		regfree(&f->error);
	f->has_error = false;
}

bool
dlq_filter_any(const struct dlq_filter *f)
{
	return f->consumer || f->class || f->type || f->has_error || f->user || f->since_us ||
		f->until_us || f->limit;
}

static bool
text_matches(const char *want, const char *is)
{
	return !want || (is && strcmp(want, is) == 0);
}

static bool
type_matches(const char *want, const char *is)
{
	return text_matches(want, is) || (is && strcmp(want, event_name(is)) == 0);
}

bool
dlq_filter_match(const struct dlq_filter *f, const struct dlq_entry *d)
{
	return text_matches(f->consumer, d->consumer) && text_matches(f->class, d->class) &&
		type_matches(f->type, d->type) && (!f->user || f->user == d->user_id) &&
		(!f->since_us || d->failed_us >= f->since_us) &&
		(!f->until_us || (d->failed_us >= 0 && d->failed_us < f->until_us)) &&
		(!f->has_error || regexec(&f->error, d->error ? d->error : "", 0, NULL, 0) == 0);
}

static void
time_json(struct json_out *o, const char *name, int64_t us)
{
	char when[CLOCK_RFC3339_SIZE];

	if (!us)
		return;
	clock_format_rfc3339(us, when);
	ctl_json_text(o, name, when);
}

void
dlq_filter_json(const struct dlq_filter *f, struct json_out *o)
{
	const struct {
		const char *name, *text;
	} texts[] = { { "consumer", f->consumer }, { "class", f->class }, { "type", f->type },
		{ "error", f->error_text } };

	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		if (texts[i].text)
			ctl_json_text(o, texts[i].name, texts[i].text);
	time_json(o, "since", f->since_us);
	time_json(o, "until", f->until_us);
	if (f->user)
		json_out_i64(o, "user", f->user);
	if (f->limit)
		json_out_i64(o, "limit", f->limit);
}

bool
dlq_id_match(const struct dlq_entry *d, const char *word)
{
	size_t n = strlen(word);

	return strcmp(d->id, word) == 0 || (d->event_id && strcasecmp(d->event_id, word) == 0) ||
		(n >= DLQ_FRONT_MIN && strncmp(d->id, word, n) == 0);
}
