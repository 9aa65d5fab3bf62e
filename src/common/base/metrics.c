/* SPDX-License-Identifier: MIT */
#include "base/metrics.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>

#define BUCKETS 16

/* The buckets' upper bounds. The last bucket, +Inf, has none. */
static const struct {
	int64_t us;
	const char *label;
} bounds[BUCKETS] = { { 100, "0.0001" }, { 250, "0.00025" }, { 500, "0.0005" }, { 1000, "0.001" },
	{ 2500, "0.0025" }, { 5000, "0.005" }, { 10000, "0.01" }, { 25000, "0.025" },
	{ 50000, "0.05" }, { 100000, "0.1" }, { 250000, "0.25" }, { 500000, "0.5" },
	{ 1000000, "1" }, { 2500000, "2.5" }, { 5000000, "5" }, { 10000000, "10" } };

struct histogram {
	atomic_uint_fast64_t buckets[BUCKETS + 1];
	_Atomic int64_t sum_us;
};

struct metric_cell {
	struct metric_cell *next;
	_Atomic int64_t value;
	struct histogram *histogram; /* NULL: a counter or a gauge */
	char *labels[METRICS_LABELS_MAX];
};

struct metrics {
	pthread_mutex_t lock; /* guards the lists of cells, not their values */
	const struct metric_def *defs;
	size_t count;
	struct family {
		struct metric_cell *first, **last;
		size_t cells;
	} * families;
};

static size_t
label_count(const struct metric_def *d)
{
	size_t n = 0;

	while (n < METRICS_LABELS_MAX && d->labels[n])
		n++;
	return n;
}

static bool
name_sound(const char *name)
{
	return *name && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(name) &&
		!(*name >= '0' && *name <= '9');
}

struct metrics *
metrics_new(const struct metric_def *defs, size_t count)
{
	struct metrics *m = must_calloc(1, sizeof *m);

	must(pthread_mutex_init(&m->lock, NULL) == 0);
	m->defs = defs;
	m->count = count;
	m->families = must_calloc(count, sizeof *m->families);
	for (size_t i = 0; i < count; i++) {
		must(name_sound(defs[i].name) && defs[i].help && *defs[i].help);
		must(!strpbrk(defs[i].help, "\\\n")); /* they would need escapes */
		for (size_t l = 0; l < label_count(&defs[i]); l++)
			must(name_sound(defs[i].labels[l]));
		m->families[i].last = &m->families[i].first;
	}
	return m;
}

void
metrics_free(struct metrics *m)
{
	struct metric_cell *c, *next;

	if (!m)
		return;
	for (size_t i = 0; i < m->count; i++)
		for (c = m->families[i].first; c; c = next) {
			next = c->next;
			for (size_t l = 0; l < METRICS_LABELS_MAX; l++)
				free(c->labels[l]);
			free(c->histogram);
			free(c);
		}
	free(m->families);
	must(pthread_mutex_destroy(&m->lock) == 0);
	free(m);
}

static struct metric_cell *
cell_find(struct family *f, const char *const *labels, size_t n)
{
	for (struct metric_cell *c = f->first; c; c = c->next) {
		size_t l = 0;

		while (l < n && strcmp(c->labels[l], labels[l]) == 0)
			l++;
		if (l == n)
			return c;
	}
	return NULL;
}

static struct metric_cell *
cell_add(struct family *f, const struct metric_def *d, const char *const *labels, size_t n)
{
	struct metric_cell *c = must_calloc(1, sizeof *c);

	for (size_t l = 0; l < n; l++)
		c->labels[l] = must_strdup(labels[l]);
	if (d->kind == METRIC_HISTOGRAM)
		c->histogram = must_calloc(1, sizeof *c->histogram);
	*f->last = c;
	f->last = &c->next;
	f->cells++;
	return c;
}

struct metric_cell *
metrics_cell(struct metrics *m, size_t index, ...)
{
	const char *labels[METRICS_LABELS_MAX];
	struct metric_cell *c;
	struct family *f;
	va_list args;
	size_t n;

	must(index < m->count);
	n = label_count(&m->defs[index]);
	va_start(args, index);
	for (size_t l = 0; l < n; l++)
		labels[l] = va_arg(args, const char *);
	va_end(args);
	f = &m->families[index];
	must(pthread_mutex_lock(&m->lock) == 0);
	c = cell_find(f, labels, n);
	if (!c && f->cells >= METRICS_CELLS_MAX - 1) { /* the last cell stands for all others */
		for (size_t l = 0; l < n; l++)
			labels[l] = "other";
		c = cell_find(f, labels, n);
	}
	if (!c)
		c = cell_add(f, &m->defs[index], labels, n);
	must(pthread_mutex_unlock(&m->lock) == 0);
	return c;
}

void
metric_add(struct metric_cell *c, uint64_t n)
{
	must(!c->histogram);
	atomic_fetch_add_explicit(&c->value, (int64_t)n, memory_order_relaxed);
}

void
metric_set(struct metric_cell *c, int64_t value)
{
	must(!c->histogram);
	atomic_store_explicit(&c->value, value, memory_order_relaxed);
}

void
metric_observe_us(struct metric_cell *c, int64_t us)
{
	size_t i = 0;

	must(c->histogram);
	if (us < 0)
		us = 0; /* a falling sum would look like a restart */
	while (i < BUCKETS && us > bounds[i].us)
		i++;
	atomic_fetch_add_explicit(&c->histogram->buckets[i], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&c->histogram->sum_us, us, memory_order_relaxed);
	atomic_fetch_add_explicit(&c->value, 1, memory_order_relaxed);
}

uint64_t
metric_value(const struct metric_cell *c)
{
	return (uint64_t)atomic_load_explicit(&c->value, memory_order_relaxed);
}

/* Writes {a="x",b="y",le="0.1"}; le NULL: no le. Writes nothing when there is no label. */
static void
labels_write(const struct metric_def *d, const struct metric_cell *c, const char *le,
	struct buf *out)
{
	size_t n = label_count(d);

	if (n == 0 && !le)
		return;
	buf_add_char(out, '{');
	for (size_t l = 0; l < n; l++) {
		buf_printf(out, "%s%s=\"", l ? "," : "", d->labels[l]);
		for (const char *p = c->labels[l]; *p; p++) {
			if (*p == '\\' || *p == '"')
				buf_add_char(out, '\\');
			if (*p == '\n')
				buf_add_text(out, "\\n");
			else
				buf_add_char(out, *p);
		}
		buf_add_char(out, '"');
	}
	if (le)
		buf_printf(out, "%sle=\"%s\"", n ? "," : "", le);
	buf_add_char(out, '}');
}

static void
histogram_write(const struct metric_def *d, const struct metric_cell *c, struct buf *out)
{
	uint64_t total = 0;
	int64_t sum;

	for (size_t i = 0; i <= BUCKETS; i++) {
		total += atomic_load_explicit(&c->histogram->buckets[i], memory_order_relaxed);
		buf_printf(out, "%s_bucket", d->name);
		labels_write(d, c, i < BUCKETS ? bounds[i].label : "+Inf", out);
		buf_printf(out, " %llu\n", (unsigned long long)total);
	}
	sum = atomic_load_explicit(&c->histogram->sum_us, memory_order_relaxed);
	buf_printf(out, "%s_sum", d->name);
	labels_write(d, c, NULL, out);
	buf_printf(out, " %lld.%06lld\n", (long long)(sum / 1000000), (long long)(sum % 1000000));
	/* the sum of the buckets read above, so the page agrees with itself */
	buf_printf(out, "%s_count", d->name);
	labels_write(d, c, NULL, out);
	buf_printf(out, " %llu\n", (unsigned long long)total);
}

static void
value_write(const struct metric_def *d, const struct metric_cell *c, struct buf *out)
{
	int64_t n = (int64_t)metric_value(c);

	if (d->kind == METRIC_COUNTER_US)
		buf_printf(out, "%lld.%06lld", (long long)(n / 1000000), (long long)(n % 1000000));
	else
		buf_add_i64(out, n);
}

void
metrics_write(const struct metrics *m, struct buf *out)
{
	static const char *const kinds[] = { [METRIC_COUNTER] = "counter",
		[METRIC_COUNTER_US] = "counter",
		[METRIC_GAUGE] = "gauge",
		[METRIC_HISTOGRAM] = "histogram" };
	pthread_mutex_t *lock = (pthread_mutex_t *)&m->lock;

	must(pthread_mutex_lock(lock) == 0);
	for (size_t i = 0; i < m->count; i++) {
		const struct metric_def *d = &m->defs[i];

		buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", d->name, d->help, d->name,
			kinds[d->kind]);
		for (const struct metric_cell *c = m->families[i].first; c; c = c->next) {
			if (d->kind == METRIC_HISTOGRAM) {
				histogram_write(d, c, out);
				continue;
			}
			buf_add_text(out, d->name);
			labels_write(d, c, NULL, out);
			buf_add_char(out, ' ');
			value_write(d, c, out);
			buf_add_char(out, '\n');
		}
	}
	must(pthread_mutex_unlock(lock) == 0);
}
