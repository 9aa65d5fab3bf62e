/* SPDX-License-Identifier: MIT */
/*
 * Sorts records by key. With a small limit, a heap keeps the least ones. Otherwise
 * records that do not fit in memory are written, sorted, as a run into one temporary
 * file without a name; the runs are merged in the end.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/dlq/dlq.h"

#define HEAP_MAX 4096 /* with a larger limit all records are sorted */
#define RUNS_MAX 4096
#define RUN_BUFFER 16384 /* of each run while they are merged; a record must not fit */
#define WRITE_BYTES (1u << 18)

struct record {
	int64_t key;
	uint64_t seq;
	uint32_t length;
	char bytes[];
};

#define HEAD offsetof(struct record, bytes)

struct run {
	off_t at, end;
	char *buffer;
	size_t used, have;
	struct record now; /* its bytes are still in the file */
	bool over;
};

struct dlq_sort {
	uint64_t limit, seq;
	bool heap;
	struct record **list; /* heap: the worst first */
	size_t count, room;
	size_t bytes, memory;
	int fd;
	off_t size;
	struct {
		off_t at, end;
	} * runs;
	size_t run_count;
};

struct dlq_sort *
dlq_sort_new(uint64_t limit, size_t memory)
{
	struct dlq_sort *s = must_calloc(1, sizeof *s);

	s->limit = limit;
	s->heap = limit > 0 && limit <= HEAP_MAX;
	s->memory = memory;
	s->fd = -1;
	return s;
}

void
dlq_sort_free(struct dlq_sort *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->count; i++)
		free(s->list[i]);
	free(s->list);
	free(s->runs);
	if (s->fd >= 0)
		close(s->fd);
	free(s);
}

size_t
dlq_sort_runs(const struct dlq_sort *s)
{
	return s->run_count;
}

static bool
comes_before(const struct record *a, const struct record *b)
{
	return a->key != b->key ? a->key < b->key : a->seq < b->seq;
}

static int
records_compare(const void *a, const void *b)
{
	const struct record *const *x = a, *const *y = b;

	return comes_before(*x, *y) ? -1 : 1;
}

static void
sift_down(struct dlq_sort *s, size_t i)
{
	for (size_t child; (child = 2 * i + 1) < s->count; i = child) {
		struct record *r = s->list[i];

		if (child + 1 < s->count && comes_before(s->list[child], s->list[child + 1]))
			child++;
		if (!comes_before(r, s->list[child]))
			break;
		s->list[i] = s->list[child];
		s->list[child] = r;
	}
}

static void
sift_up(struct dlq_sort *s, size_t i)
{
	for (size_t up; i > 0 && comes_before(s->list[up = (i - 1) / 2], s->list[i]); i = up) {
		struct record *r = s->list[i];

		s->list[i] = s->list[up];
		s->list[up] = r;
	}
}

static int
write_all(int fd, const char *p, size_t n, off_t at, struct err *e)
{
	while (n > 0) {
		ssize_t done = pwrite(fd, p, n, at);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return err_set(e, ERR_INTERNAL,
				"cannot write the temporary file: %s; TMPDIR says where it lies",
				strerror(errno));
		p += done, n -= (size_t)done, at += done;
	}
	return 0;
}

static int
file_open(struct dlq_sort *s, struct err *e)
{
	const char *folder = getenv("TMPDIR");
	char path[4096];

	if (s->fd >= 0)
		return 0;
	/* not in memory: /tmp may be */
	snprintf(path, sizeof path, "%s/onboardctl.XXXXXX",
		folder && *folder ? folder : "/var/tmp");
	s->fd = mkostemp(path, O_CLOEXEC);
	if (s->fd < 0)
		return err_set(e, ERR_INTERNAL, "cannot make %s: %s; set TMPDIR", path,
			strerror(errno));
	unlink(path);
	return 0;
}

static int
out_write(struct dlq_sort *s, struct buf *out, struct err *e)
{
	int rc = write_all(s->fd, buf_text(out), out->length, s->size, e);

	s->size += (off_t)out->length;
	buf_clear(out);
	return rc;
}

/* Writes the records in memory to the file, as a run. */
static int
run_spill(struct dlq_sort *s, struct err *e)
{
	off_t start = s->size;
	struct buf out; /* small records go together, a large one by itself */
	int rc = 0;

	if (s->run_count == RUNS_MAX)
		return err_set(e, ERR_LIMIT, "too many entries to sort; use filters or --limit");
	if (file_open(s, e))
		return -1;
	qsort(s->list, s->count, sizeof *s->list, records_compare);
	buf_init(&out, 2 * WRITE_BYTES);
	for (size_t i = 0; i < s->count && rc == 0; i++) {
		size_t n = HEAD + s->list[i]->length;

		if (out.length > 0 && out.length + n > WRITE_BYTES)
			rc = out_write(s, &out, e);
		if (rc == 0 && n > WRITE_BYTES) {
			rc = write_all(s->fd, (const char *)s->list[i], n, s->size, e);
			s->size += (off_t)n;
		} else {
			buf_add(&out, s->list[i], n);
		}
	}
	if (rc == 0)
		rc = out_write(s, &out, e);
	buf_fini(&out);
	for (size_t i = 0; i < s->count; i++)
		free(s->list[i]);
	s->count = s->bytes = 0;
	s->runs = must_realloc(s->runs, (s->run_count + 1) * sizeof *s->runs);
	s->runs[s->run_count].at = start;
	s->runs[s->run_count++].end = s->size;
	return rc;
}

int
dlq_sort_add(struct dlq_sort *s, int64_t key, const void *bytes, size_t length, struct err *e)
{
	struct record *r;

	if (length > DLQ_LINE_MAX)
		return err_set(e, ERR_LIMIT, "an entry is too large to be sorted");
	if (s->heap && s->count == s->limit && key >= s->list[0]->key) {
		s->seq++;
		return 0;
	}
	r = must_malloc(sizeof *r + length);
	r->key = key;
	r->seq = s->seq++;
	r->length = (uint32_t)length;
	memcpy(r->bytes, bytes, length);
	if (s->heap && s->count == s->limit) {
		free(s->list[0]);
		s->list[0] = r;
		sift_down(s, 0);
		return 0;
	}
	if (s->count == s->room) {
		s->room = s->room ? 2 * s->room : 64;
		s->list = must_realloc(s->list, s->room * sizeof *s->list);
	}
	s->list[s->count++] = r;
	if (s->heap) {
		sift_up(s, s->count - 1);
		return 0;
	}
	/* 24: what malloc and the list take for each */
	s->bytes += sizeof *r + length + 24;
	return s->bytes > s->memory ? run_spill(s, e) : 0;
}

/* Reads the run's next n bytes into p. */
static int
run_bytes(struct dlq_sort *s, struct run *r, void *p, size_t n, struct err *e)
{
	for (char *out = p; n > 0;) {
		size_t part = r->have - r->used < n ? r->have - r->used : n;

		memcpy(out, r->buffer + r->used, part);
		r->used += part, out += part, n -= part;
		if (n > 0) {
			size_t left = (size_t)(r->end - r->at);
			ssize_t got = pread(s->fd, r->buffer, left < RUN_BUFFER ? left : RUN_BUFFER,
				r->at);

			if (got <= 0)
				return err_set(e, ERR_INTERNAL, "cannot read the temporary file");
			r->at += got;
			r->used = 0;
			r->have = (size_t)got;
		}
	}
	return 0;
}

/* Key and length alone: only the current record is in memory, however large they are. */
static int
run_next(struct dlq_sort *s, struct run *r, struct err *e)
{
	r->over = r->used == r->have && r->at == r->end;
	return r->over ? 0 : run_bytes(s, r, &r->now, HEAD, e);
}

static int
run_tell(struct dlq_sort *s, struct run *r, struct buf *room, dlq_sort_fn *fn, void *arg,
	struct err *e)
{
	char *p;

	buf_clear(room);
	p = buf_reserve(room, r->now.length);
	must(p);
	if (run_bytes(s, r, p, r->now.length, e) || fn(arg, p, r->now.length, e))
		return -1;
	return run_next(s, r, e);
}

static int
runs_merge(struct dlq_sort *s, dlq_sort_fn *fn, void *arg, struct err *e)
{
	struct run *runs = must_calloc(s->run_count, sizeof *runs);
	uint64_t left = s->limit ? s->limit : UINT64_MAX;
	struct buf room;
	int rc = 0;

	buf_init(&room, DLQ_LINE_MAX);
	for (size_t i = 0; i < s->run_count && rc == 0; i++) {
		runs[i] = (struct run){ .at = s->runs[i].at, .end = s->runs[i].end };
		runs[i].buffer = must_malloc(RUN_BUFFER);
		rc = run_next(s, &runs[i], e);
	}
	/* a scan for the least: the runs are few hundreds, and each step prints a line */
	while (rc == 0 && left-- > 0) {
		struct run *least = NULL;

		for (size_t i = 0; i < s->run_count; i++)
			if (!runs[i].over && (!least || comes_before(&runs[i].now, &least->now)))
				least = &runs[i];
		if (!least)
			break;
		rc = run_tell(s, least, &room, fn, arg, e);
	}
	for (size_t i = 0; i < s->run_count; i++)
		free(runs[i].buffer);
	free(runs);
	buf_fini(&room);
	return rc;
}

int
dlq_sort_each(struct dlq_sort *s, dlq_sort_fn *fn, void *arg, struct err *e)
{
	if (s->run_count) {
		if (s->count && run_spill(s, e))
			return -1;
		return runs_merge(s, fn, arg, e);
	}
	if (s->count)
		qsort(s->list, s->count, sizeof *s->list, records_compare);
	for (size_t i = 0; i < s->count && (!s->limit || i < s->limit); i++)
		if (fn(arg, s->list[i]->bytes, s->list[i]->length, e))
			return -1;
	return 0;
}
