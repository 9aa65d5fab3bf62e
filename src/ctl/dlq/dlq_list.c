/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "ctl/dlq/dlq.h"
#include "ctl/kit/table.h"

#define SORT_MEMORY (8u << 20)
#define CELLS 6
#define WIDE 110

struct list {
	struct dlq *d;
	struct dlq_sort *sort;
	struct table table;
	struct buf line;
	char age[16];
	uint64_t matched;
};

static const char *
entry_age(const struct dlq_entry *d, char out[static 16])
{
	static const struct {
		int64_t seconds;
		char unit;
	} units[] = { { 86400, 'd' }, { 3600, 'h' }, { 60, 'm' }, { 1, 's' } };
	int64_t s = (clock_wall_us() - d->failed_us) / 1000000;
	size_t i = 0;

	if (d->failed_us < 0)
		return NULL;
	if (s < 0)
		s = 0;
	while (i + 1 < ARRAY_LEN(units) && s < units[i].seconds)
		i++;
	snprintf(out, 16, "%" PRId64 "%c", s / units[i].seconds, units[i].unit);
	return out;
}

/* In the sort: with --json the line itself, else the cells, each NUL-ended. */
static int
list_message(void *arg, const struct broker_message *m, struct err *e)
{
	struct list *l = arg;
	struct json_out o;
	struct dlq_entry d;

	dlq_entry_read(&d, m, l->d->mem);
	if (!dlq_filter_match(&l->d->o.filter, &d))
		return 0;
	l->matched++;
	buf_clear(&l->line);
	if (l->d->ctl->json) {
		json_out_init(&o, &l->line);
		json_out_object(&o, NULL);
		dlq_entry_json(&d, &o);
		json_out_end(&o);
		buf_add_char(&l->line, '\n');
	} else {
		const char *cells[CELLS] = { d.id, entry_age(&d, l->age), d.consumer, d.class,
			d.error, d.type };

		for (size_t i = 0; i < ARRAY_LEN(cells); i++) {
			buf_add_text(&l->line, cells[i] ? cells[i] : "-");
			buf_add_char(&l->line, '\0');
		}
	}
	return dlq_sort_add(l->sort, d.failed_us < 0 ? INT64_MAX : d.failed_us, l->line.data,
		l->line.length, e);
}

static int
list_print(void *arg, const char *bytes, size_t length, struct err *e)
{
	struct list *l = arg;
	const char *cells[CELLS];

	(void)e;
	if (l->d->ctl->json) {
		fwrite(bytes, 1, length, stdout);
		return 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(cells); i++, bytes += strlen(bytes) + 1)
		cells[i] = bytes;
	table_row(&l->table, cells);
	return 0;
}

int
dlq_list(struct dlq *d)
{
	/* an id is to be copied, so it is never cut; the type has room on a wide terminal only */
	static const struct table_column columns[CELLS] = { { "ID", 36, false }, { "AGE", 4, true },
		{ "CONSUMER", 0, false }, { "CLASS", 0, false }, { "ERROR", 12, false },
		{ "TYPE", 0, false } };
	struct list l = { .d = d };
	struct dlq_reader r = { .what = "reading", .message = list_message, .arg = &l };
	struct err e = ERR_INIT;
	int rc;

	l.sort = dlq_sort_new((uint64_t)d->o.filter.limit, SORT_MEMORY);
	buf_init(&l.line, 1 << 16);
	rc = dlq_connect(d, &e) || dlq_read(d, &r, &e) ? -1 : 0;
	dlq_disconnect(d);
	table_begin(&l.table, columns, table_line_width() < WIDE ? CELLS - 1 : CELLS,
		d->ctl->colour);
	if (rc == 0)
		rc = dlq_sort_each(l.sort, list_print, &l, &e);
	table_end(&l.table);
	dlq_sort_free(l.sort);
	buf_fini(&l.line);
	if (rc)
		return ctl_fail_err(d->ctl, &e);
	if (l.matched == 0)
		return ctl_fail(d->ctl, CTL_NOTHING,
			r.seen ? "none of %" PRIu64 " entries matches" : "the DLQ is empty",
			r.seen);
	if (!d->ctl->json && d->o.filter.limit && l.matched > (uint64_t)d->o.filter.limit)
		fprintf(stderr,
			"the oldest %" PRId64 " of %" PRIu64 "; --since, --limit show others\n",
			d->o.filter.limit, l.matched);
	return CTL_DONE;
}
