/* SPDX-License-Identifier: MIT */
/* Reads documents. bson_iter checks the server's bytes on the way. */
#include "link/doc_own.h"

#include <math.h>

static bool
path_find(const struct doc_view *v, const char *path, bson_iter_t *at)
{
	bson_iter_t i;

	return v->bytes && bson_iter_init_from_data(&i, v->bytes, v->length) &&
		bson_iter_find_descendant(&i, path, at);
}

enum doc_type
doc_type(const struct doc_view *v, const char *path)
{
	bson_iter_t i;

	if (!path_find(v, path, &i))
		return DOC_ABSENT;
	switch (bson_iter_type(&i)) {
	case BSON_TYPE_NULL: return DOC_NULL;
	case BSON_TYPE_UTF8: return DOC_TEXT;
	case BSON_TYPE_BOOL: return DOC_BOOL;
	case BSON_TYPE_DATE_TIME: return DOC_DATE;
	case BSON_TYPE_DOUBLE:
	case BSON_TYPE_INT32:
	case BSON_TYPE_INT64: return DOC_NUMBER;
	case BSON_TYPE_DOCUMENT:
	case BSON_TYPE_ARRAY: return DOC_NESTED;
	default: return DOC_OTHER;
	}
}

const char *
doc_get_text(const struct doc_view *v, const char *path, size_t *length)
{
	bson_iter_t i;
	uint32_t n = 0;
	const char *text;

	if (!path_find(v, path, &i) || !BSON_ITER_HOLDS_UTF8(&i))
		return NULL;
	text = bson_iter_utf8(&i, &n);
	if (length)
		*length = n;
	return text;
}

bool
doc_get_f64(const struct doc_view *v, const char *path, double *out)
{
	bson_iter_t i;

	if (!path_find(v, path, &i) || !BSON_ITER_HOLDS_NUMBER(&i))
		return false;
	*out = bson_iter_as_double(&i);
	return true;
}

bool
doc_get_i64(const struct doc_view *v, const char *path, int64_t *out)
{
	bson_iter_t i;
	double n;

	if (!path_find(v, path, &i) || !BSON_ITER_HOLDS_NUMBER(&i))
		return false;
	if (BSON_ITER_HOLDS_DOUBLE(&i)) {
		n = bson_iter_double(&i);
		/* 2^63 does not fit, and NaN is in no range */
		if (!(n >= -9223372036854775808.0 && n < 9223372036854775808.0) || n != trunc(n))
			return false;
		*out = (int64_t)n;
		return true;
	}
	*out = bson_iter_as_int64(&i);
	return true;
}

bool
doc_get_bool(const struct doc_view *v, const char *path, bool *out)
{
	bson_iter_t i;

	if (!path_find(v, path, &i) || !BSON_ITER_HOLDS_BOOL(&i))
		return false;
	*out = bson_iter_bool(&i);
	return true;
}

bool
doc_get_date_us(const struct doc_view *v, const char *path, int64_t *out)
{
	bson_iter_t i;

	return path_find(v, path, &i) && BSON_ITER_HOLDS_DATE_TIME(&i) &&
		!__builtin_mul_overflow(bson_iter_date_time(&i), 1000, out);
}

bool
doc_get_nested(const struct doc_view *v, const char *path, struct doc_view *out)
{
	bson_iter_t i;
	uint32_t n = 0;

	if (!path_find(v, path, &i))
		return false;
	if (BSON_ITER_HOLDS_DOCUMENT(&i))
		bson_iter_document(&i, &n, &out->bytes);
	else if (BSON_ITER_HOLDS_ARRAY(&i))
		bson_iter_array(&i, &n, &out->bytes);
	else
		return false;
	out->length = n;
	return true;
}

size_t
doc_count_members(const struct doc_view *v)
{
	bson_iter_t i;
	size_t n = 0;

	if (v->bytes && bson_iter_init_from_data(&i, v->bytes, v->length))
		while (bson_iter_next(&i))
			n++;
	return n;
}

int
doc_to_json(const struct doc_view *v, struct buf *out, struct err *e)
{
	bson_t b;
	size_t length = 0;
	char *text;

	if (!v->bytes || !bson_init_static(&b, v->bytes, v->length) ||
		!(text = bson_as_relaxed_extended_json(&b, &length)))
		return err_set(e, ERR_INTERNAL, "the server's document can't be read");
	buf_add(out, text, length);
	bson_free(text);
	return buf_failed(out) ? err_set(e, ERR_LIMIT, "no room for the document's text") : 0;
}
