/* SPDX-License-Identifier: MIT */
/* PostgreSQL: parameters, arrays, and the values of a result. */
#include "link/sql_own.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void
sql_params_init(struct sql_params *p)
{
	p->count = 0;
}

void
sql_add_text(struct sql_params *p, const char *text)
{
	must(p->count < SQL_PARAMS_MAX);
	p->value[p->count++] = text;
}

void
sql_add_i64(struct sql_params *p, int64_t n)
{
	must(p->count < SQL_PARAMS_MAX);
	(void)text_i64(n, p->digits[p->count]);
	sql_add_text(p, p->digits[p->count]);
}

void
sql_add_bool(struct sql_params *p, bool b)
{
	sql_add_text(p, b ? "t" : "f");
}

int
sql_add_array(struct sql_params *p, struct sql_array *a, struct err *e)
{
	if (a->count == 0)
		buf_add_char(&a->text, '{');
	buf_add_char(&a->text, '}');
	if (buf_failed(&a->text))
		return err_set(e, ERR_LIMIT, "an array parameter is larger than %zu bytes",
			a->text.max_bytes);
	sql_add_text(p, buf_text(&a->text));
	return 0;
}

void
sql_array_init(struct sql_array *a, size_t max_bytes)
{
	buf_init(&a->text, max_bytes);
	a->count = 0;
}

void
sql_array_fini(struct sql_array *a)
{
	buf_fini(&a->text);
}

void
sql_arrays_init(struct sql_array *a, size_t n, size_t max_bytes)
{
	for (size_t i = 0; i < n; i++)
		sql_array_init(&a[i], max_bytes);
}

void
sql_arrays_fini(struct sql_array *a, size_t n)
{
	for (size_t i = 0; i < n; i++)
		sql_array_fini(&a[i]);
}

int
sql_add_arrays(struct sql_params *p, struct sql_array *a, size_t n, struct err *e)
{
	for (size_t i = 0; i < n; i++)
		if (sql_add_array(p, &a[i], e))
			return -1;
	return 0;
}

void
sql_array_clear(struct sql_array *a)
{
	buf_clear(&a->text);
	a->count = 0;
}

static void
array_next(struct sql_array *a)
{
	buf_add_char(&a->text, a->count++ ? ',' : '{');
}

void
sql_array_text(struct sql_array *a, const char *text)
{
	size_t plain;

	array_next(a);
	if (!text) {
		buf_add_text(&a->text, "NULL");
		return;
	}
	/* always quote, so "NULL", "", braces, commas and spaces need no care */
	buf_add_char(&a->text, '"');
	for (;; text++) {
		plain = strcspn(text, "\"\\");
		buf_add(&a->text, text, plain);
		text += plain;
		if (*text == '\0')
			break;
		buf_add_char(&a->text, '\\');
		buf_add_char(&a->text, *text);
	}
	buf_add_char(&a->text, '"');
}

void
sql_array_i64(struct sql_array *a, int64_t n)
{
	array_next(a);
	buf_add_i64(&a->text, n);
}

void
sql_array_bool(struct sql_array *a, bool b)
{
	array_next(a);
	buf_add_char(&a->text, b ? 't' : 'f');
}

bool
sql_null(const struct sql_result *r, size_t row, size_t column)
{
	must(row < r->rows && column < r->columns);
	return PQgetisnull(r->own, (int)row, (int)column);
}

const char *
sql_text(const struct sql_result *r, size_t row, size_t column)
{
	return sql_null(r, row, column) ? NULL : PQgetvalue(r->own, (int)row, (int)column);
}

size_t
sql_length(const struct sql_result *r, size_t row, size_t column)
{
	return sql_null(r, row, column) ? 0 : (size_t)PQgetlength(r->own, (int)row, (int)column);
}

/* The numbers of types, which are fixed in PostgreSQL's catalogue. */
enum { TYPE_BOOL = 16, TYPE_INT8 = 20, TYPE_INT2 = 21, TYPE_INT4 = 23 };

static int
wrong_value(const struct sql_result *r, size_t column, const char *want, struct err *e)
{
	return err_set(e, ERR_INTERNAL, "column \"%s\" is not %s", PQfname(r->own, (int)column),
		want);
}

int
sql_i64(const struct sql_result *r, size_t row, size_t column, int64_t *out, struct err *e)
{
	const char *text = sql_text(r, row, column);
	Oid type = PQftype(r->own, (int)column);
	char *end;
	long long n;

	if (!text || (type != TYPE_INT8 && type != TYPE_INT4 && type != TYPE_INT2))
		return wrong_value(r, column, "an integer", e);
	errno = 0;
	n = strtoll(text, &end, 10);
	if (errno || end == text || *end)
		return wrong_value(r, column, "an integer", e);
	*out = n;
	return 0;
}

int
sql_bool(const struct sql_result *r, size_t row, size_t column, bool *out, struct err *e)
{
	const char *text = sql_text(r, row, column);

	if (!text || PQftype(r->own, (int)column) != TYPE_BOOL)
		return wrong_value(r, column, "a boolean", e);
	*out = *text == 't';
	return 0;
}
