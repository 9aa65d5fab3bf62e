/* SPDX-License-Identifier: MIT */
#include "base/json.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json_scan.h"
#include "base/utf8.h"

#define NAMES_FEW 16

/* struct json is cJSON under another name, so other files cannot look inside. */
static const cJSON *
node(const struct json *v)
{
	return (const cJSON *)v;
}

static const struct json *
value(const cJSON *v)
{
	return (const struct json *)v;
}

static int
by_name_any_case(const void *a, const void *b)
{
	const cJSON *x = *(const cJSON *const *)a, *y = *(const cJSON *const *)b;

	return strcasecmp(x->string, y->string);
}

static int
by_name(const void *a, const void *b)
{
	const cJSON *x = *(const cJSON *const *)a, *y = *(const cJSON *const *)b;

	return strcmp(x->string, y->string);
}

static size_t
children(const cJSON *parent)
{
	size_t n = 0;

	for (const cJSON *c = parent->child; c; c = c->next)
		n++;
	return n;
}

/* The members, sorted, for the caller to free; NULL: there are none. */
static const cJSON **
sorted(const cJSON *object, size_t *count, int (*order)(const void *, const void *))
{
	const cJSON **list;
	size_t i = 0;

	*count = children(object);
	if (*count == 0)
		return NULL;
	list = must_malloc(*count * sizeof *list);
	for (const cJSON *c = object->child; c; c = c->next)
		list[i++] = c;
	qsort(list, *count, sizeof *list, order);
	return list;
}

/* Of a few members, the first whose name repeats; comparing first letters saves most calls. */
static const char *
twice_of_few(const cJSON *object)
{
	for (const cJSON *c = object->child; c; c = c->next)
		for (const cJSON *d = object->child; d != c; d = d->next)
			if (((c->string[0] ^ d->string[0]) & 0xdf) == 0 &&
				strcasecmp(c->string, d->string) == 0)
				return c->string;
	return NULL;
}

/* Sorts the names, so a hostile object with many names does not cost quadratic time. */
static const char *
twice_of_many(const cJSON *object)
{
	size_t count;
	const cJSON **list = sorted(object, &count, by_name_any_case);
	const char *found = NULL;

	for (size_t i = 1; i < count && !found; i++)
		if (strcasecmp(list[i - 1]->string, list[i]->string) == 0)
			found = list[i]->string;
	free(list);
	return found;
}

static int
names_check(const cJSON *object, struct err *e)
{
	const char *found =
		children(object) <= NAMES_FEW ? twice_of_few(object) : twice_of_many(object);

	return found ? err_set(e, ERR_INVALID, "not valid JSON: the name \"%.*s\" is given twice",
			       (int)utf8_cut(found, strlen(found), 60), found)
		     : 0;
}

/* Recursion is safe: the scan has bounded the depth. */
static int
tree_check(const cJSON *v, struct err *e)
{
	if (cJSON_IsObject(v) && names_check(v, e) < 0)
		return -1;
	for (const cJSON *c = v->child; c; c = c->next)
		if (c->child && tree_check(c, e) < 0)
			return -1;
	return 0;
}

/* cJSON allocates from the arena of this thread's current parse. */
static _Thread_local struct arena *parsing;

static void *
node_alloc(size_t size)
{
	return arena_alloc(parsing, size);
}

static void
node_free(void *p)
{
	(void)p; /* the arena frees it */
}

static void
hooks_set(void)
{
	cJSON_InitHooks(&(cJSON_Hooks){ .malloc_fn = node_alloc, .free_fn = node_free });
}

int
json_parse(struct arena *mem, const char *text, size_t length, const struct json **out,
	struct err *e)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	const char *end = NULL;
	cJSON *tree;

	must(pthread_once(&once, hooks_set) == 0);
	if (json_scan(text, length, e) < 0)
		return -1;
	parsing = mem;
	tree = cJSON_ParseWithLengthOpts(text, length, &end, false);
	parsing = NULL;
	if (!tree)
		return err_set(e, ERR_LIMIT,
			"no memory for the JSON value"); /* the scan has refused all other faults */
	must(cJSON_IsInvalid(tree) == 0 && end <= text + length);
	if (tree_check(tree, e) < 0)
		return -1;
	*out = value(tree);
	return 0;
}

enum json_type
json_type(const struct json *v)
{
	switch (node(v)->type & 0xff) {
	case cJSON_True:
	case cJSON_False: return JSON_BOOL;
	case cJSON_Number: return JSON_NUMBER;
	case cJSON_String: return JSON_STRING;
	case cJSON_Array: return JSON_ARRAY;
	case cJSON_Object: return JSON_OBJECT;
	default: return JSON_NULL;
	}
}

const char *
json_type_name(enum json_type t)
{
	static const char *const names[] = { "null", "a boolean", "a number", "a string",
		"an array", "an object" };

	must((unsigned)t < ARRAY_LEN(names));
	return names[t];
}

const struct json *
json_get(const struct json *object, const char *name)
{
	if (!object || json_type(object) != JSON_OBJECT)
		return NULL;
	return value(cJSON_GetObjectItemCaseSensitive(node(object), name));
}

const char *
json_name(const struct json *member)
{
	return node(member)->string;
}

const struct json *
json_first(const struct json *parent)
{
	return value(node(parent)->child);
}

const struct json *
json_next(const struct json *v)
{
	return value(node(v)->next);
}

size_t
json_count(const struct json *parent)
{
	return children(node(parent));
}

const char *
json_string(const struct json *v)
{
	return v && json_type(v) == JSON_STRING ? node(v)->valuestring : NULL;
}

bool
json_number(const struct json *v, double *out)
{
	if (!v || json_type(v) != JSON_NUMBER)
		return false;
	*out = node(v)->valuedouble;
	return true;
}

bool
json_integer(const struct json *v, int64_t *out)
{
	double d;

	if (!json_number(v, &d) || d != floor(d) || fabs(d) > (double)JSON_INTEGER_MAX)
		return false;
	*out = (int64_t)d;
	return true;
}

bool
json_bool(const struct json *v, bool *out)
{
	if (!v || json_type(v) != JSON_BOOL)
		return false;
	*out = cJSON_IsTrue(node(v));
	return true;
}

/*
 * Writes a whole number without a point, any other with enough digits to read back the
 * same double.
 */
static void
number_write(double d, struct buf *out)
{
	char text[32];

	if (d == floor(d) && fabs(d) <= (double)JSON_INTEGER_MAX) {
		buf_add_i64(out, (int64_t)d);
		return;
	}
	snprintf(text, sizeof text, "%.15g", d);
	if (strtod(text, NULL) != d)
		snprintf(text, sizeof text, "%.17g", d);
	buf_add_text(out, text);
	/*
	 * a huge double has no fraction; without ".0" it would read back as an integer
	 * that is too large
	 */
	if (!strpbrk(text, ".e"))
		buf_add_text(out, ".0");
}

static void write_value(const cJSON *v, bool sort, struct buf *out);

static void
member_write(const cJSON *c, bool sort, bool first, struct buf *out)
{
	if (!first)
		buf_add_char(out, ',');
	if (c->string) {
		buf_add_json_string(out, c->string, strlen(c->string));
		buf_add_char(out, ':');
	}
	write_value(c, sort, out);
}

static void
object_write_sorted(const cJSON *v, struct buf *out)
{
	size_t count;
	const cJSON **list = sorted(v, &count, by_name);

	for (size_t i = 0; i < count; i++)
		member_write(list[i], true, i == 0, out);
	free(list);
}

static void
write_value(const cJSON *v, bool sort, struct buf *out)
{
	bool object = cJSON_IsObject(v);

	switch (json_type(value(v))) {
	case JSON_NULL: buf_add_text(out, "null"); break;
	case JSON_BOOL: buf_add_text(out, cJSON_IsTrue(v) ? "true" : "false"); break;
	case JSON_NUMBER: number_write(v->valuedouble, out); break;
	case JSON_STRING: buf_add_json_string(out, v->valuestring, strlen(v->valuestring)); break;
	default:
		buf_add_char(out, object ? '{' : '[');
		if (object && sort)
			object_write_sorted(v, out);
		else
			for (const cJSON *c = v->child; c; c = c->next)
				member_write(c, sort, c == v->child, out);
		buf_add_char(out, object ? '}' : ']');
	}
}

void
json_write(const struct json *v, struct buf *out)
{
	write_value(node(v), false, out);
}

void
json_write_sorted(const struct json *v, struct buf *out)
{
	write_value(node(v), true, out);
}

bool
json_utf8_valid(const char *text, size_t length)
{
	for (size_t i = 0; i < length;) {
		size_t n = utf8_length(text + i, length - i);

		if (n == 0 || text[i] == '\0')
			return false;
		i += n;
	}
	return true;
}
