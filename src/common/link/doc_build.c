/* SPDX-License-Identifier: MIT */
/*
 * Writes BSON itself. The driver's builder allocates memory for each document, and
 * needs a struct on the caller's stack for each level of nesting.
 */
#include "link/doc_own.h"

#include <string.h>

#include "base/text.h"

struct level {
	size_t start;  /* the place of its length */
	uint32_t next; /* an array's next index */
	bool is_array;
};

struct doc_body {
	struct buf out; /* without the last NUL, which buf keeps after its end */
	unsigned depth;
	struct level levels[DOC_DEPTH_MAX];
};

/* doc_new returns this when its arena is full. All callers share it, so nothing may write to it. */
static struct doc_body no_room = { .out.failed = true };

static void
put_u32(char *p, size_t n)
{
	uint32_t v = BSON_UINT32_TO_LE((uint32_t)n);

	memcpy(p, &v, sizeof v);
}

static void
open_level(struct doc_body *b, bool is_array)
{
	struct level *l = &b->levels[b->depth];

	*l = (struct level){ .start = b->out.length, .is_array = is_array };
	buf_add(&b->out, "\0\0\0\0", 4);
}

static void
body_free(void *p)
{
	struct doc_body *b = p;

	buf_fini(&b->out);
	free(b);
}

struct doc_body *
doc_new(struct arena *mem)
{
	struct doc_body *b = must_malloc(sizeof *b);

	buf_init(&b->out, DOC_BYTES_MAX - 1);
	doc_clear(b);
	return arena_defer(mem, body_free, b) ? b : &no_room;
}

void
doc_clear(struct doc_body *b)
{
	if (b == &no_room)
		return;
	buf_clear(&b->out);
	b->depth = 0;
	open_level(b, false);
}

bool
doc_full(const struct doc_body *b)
{
	return buf_failed(&b->out);
}

/* Adds type and name, and room for size bytes of value; NULL: full. */
static char *
element_begin(struct doc_body *b, int type, const char *name, size_t size)
{
	struct level *l;
	char digits[TEXT_I64_SIZE], *p;
	size_t n;

	if (b == &no_room)
		return NULL;
	l = &b->levels[b->depth];
	must(l->is_array == !name);
	if (l->is_array) {
		(void)text_i64(l->next++, digits);
		name = digits;
	}
	n = strlen(name) + 1;
	p = buf_reserve(&b->out, 1 + n + size);
	if (!p)
		return NULL;
	*p = (char)type;
	memcpy(p + 1, name, n);
	return p + 1 + n;
}

void
doc_add_text(struct doc_body *b, const char *name, const char *text, size_t length)
{
	char *p;

	must(json_utf8_valid(text, length));
	p = length < DOC_BYTES_MAX ? element_begin(b, BSON_TYPE_UTF8, name, 4 + length + 1) : NULL;
	if (!p) {
		if (b != &no_room)
			b->out.failed = true;
		return;
	}
	put_u32(p, length + 1);
	memcpy(p + 4, text, length);
	p[4 + length] = '\0';
}

void
doc_add_string(struct doc_body *b, const char *name, const char *text)
{
	if (text)
		doc_add_text(b, name, text, strlen(text));
	else
		doc_add_null(b, name);
}

static void
add_8(struct doc_body *b, int type, const char *name, uint64_t v)
{
	char *p = element_begin(b, type, name, 8);

	v = BSON_UINT64_TO_LE(v);
	if (p)
		memcpy(p, &v, 8);
}

void
doc_add_i64(struct doc_body *b, const char *name, int64_t n)
{
	add_8(b, BSON_TYPE_INT64, name, (uint64_t)n);
}

void
doc_add_f64(struct doc_body *b, const char *name, double n)
{
	uint64_t v;

	memcpy(&v, &n, 8);
	add_8(b, BSON_TYPE_DOUBLE, name, v);
}

void
doc_add_bool(struct doc_body *b, const char *name, bool v)
{
	char *p = element_begin(b, BSON_TYPE_BOOL, name, 1);

	if (p)
		*p = (char)v;
}

void
doc_add_date_us(struct doc_body *b, const char *name, int64_t us)
{
	int64_t ms = us / 1000 - (us % 1000 < 0);

	add_8(b, BSON_TYPE_DATE_TIME, name, (uint64_t)ms);
}

void
doc_add_null(struct doc_body *b, const char *name)
{
	(void)element_begin(b, BSON_TYPE_NULL, name, 0);
}

static void
nested_begin(struct doc_body *b, const char *name, bool is_array)
{
	if (b == &no_room)
		return;
	(void)element_begin(b, is_array ? BSON_TYPE_ARRAY : BSON_TYPE_DOCUMENT, name, 0);
	must(b->depth + 1 < DOC_DEPTH_MAX);
	b->depth++;
	open_level(b, is_array);
}

void
doc_begin(struct doc_body *b, const char *name)
{
	nested_begin(b, name, false);
}

void
doc_begin_array(struct doc_body *b, const char *name)
{
	nested_begin(b, name, true);
}

void
doc_end(struct doc_body *b)
{
	size_t start;

	if (b == &no_room)
		return;
	must(b->depth > 0);
	start = b->levels[b->depth--].start;
	buf_add_char(&b->out, '\0');
	if (!buf_failed(&b->out))
		put_u32(b->out.data + start, b->out.length - start);
}

static void
add_number(struct doc_body *b, const char *name, const struct json *v)
{
	int64_t whole;
	double n = 0;
	char *p;

	if (!json_integer(v, &whole)) {
		must(json_number(v, &n));
		doc_add_f64(b, name, n);
	} else if (whole < INT32_MIN || whole > INT32_MAX) {
		doc_add_i64(b, name, whole);
	} else if ((p = element_begin(b, BSON_TYPE_INT32, name, 4))) {
		put_u32(p, (uint32_t)whole); /* as other importers of JSON do */
	}
}

void
doc_add_json(struct doc_body *b, const char *name, const struct json *v)
{
	enum json_type type = json_type(v);
	bool yes = false;

	switch (type) {
	case JSON_NULL: doc_add_null(b, name); return;
	case JSON_BOOL:
		must(json_bool(v, &yes));
		doc_add_bool(b, name, yes);
		return;
	case JSON_NUMBER: add_number(b, name, v); return;
	case JSON_STRING: doc_add_string(b, name, json_string(v)); return;
	case JSON_ARRAY:
	case JSON_OBJECT: break;
	}
	nested_begin(b, name, type == JSON_ARRAY);
	for (const struct json *m = json_first(v); m; m = json_next(m))
		doc_add_json(b, type == JSON_ARRAY ? NULL : json_name(m), m);
	doc_end(b);
}

int
doc_look(const struct doc_body *b, struct doc_view *out, struct err *e)
{
	*out = (struct doc_view){ 0 };
	if (doc_full(b))
		return err_set(e, ERR_LIMIT, "the document is larger than %u bytes", DOC_BYTES_MAX);
	must(b->depth == 0);
	put_u32(b->out.data, b->out.length + 1);
	*out = (struct doc_view){ (const uint8_t *)b->out.data, b->out.length + 1 };
	return 0;
}

int
doc_bson(const struct doc_body *b, bson_t *out, struct err *e)
{
	static const uint8_t none[] = { 5, 0, 0, 0, 0 };
	struct doc_view v = { none, sizeof none };

	if (b && doc_look(b, &v, e))
		return -1;
	must(bson_init_static(out, v.bytes, v.length));
	return 0;
}
