/* SPDX-License-Identifier: MIT */
#include "link/broker_value.h"

#include <string.h>

#include "base/must.h"

#define DEPTH_MAX 32

struct cursor {
	const uint8_t *p;
	size_t left;
};

static uint64_t
big_endian(const uint8_t *p, size_t n)
{
	uint64_t v = 0;

	for (size_t i = 0; i < n; i++)
		v = v << 8 | p[i];
	return v;
}

/* The size of a value of this kind; 4 when a length comes first; 0: no such kind. */
static size_t
kind_size(char kind, bool *has_length)
{
	*has_length = false;
	switch (kind) {
	case 't':
	case 'b':
	case 'B': return 1;
	case 's':
	case 'u': return 2;
	case 'I':
	case 'i':
	case 'f': return 4;
	case 'D': return 5;
	case 'l':
	case 'L':
	case 'd':
	case 'T': return 8;
	case 'S':
	case 'x':
	case 'F':
	case 'A': *has_length = true; return 4;
	default: return 0;
	}
}

static void
number_take(struct broker_value *v)
{
	uint64_t u = big_endian(v->bytes, v->length);
	uint32_t u32 = (uint32_t)u;
	float f;

	switch (v->kind) {
	case 't': v->number = u != 0; break;
	case 'b': v->number = (int8_t)u; break;
	case 's': v->number = (int16_t)u; break;
	case 'I': v->number = (int32_t)u; break;
	case 'f':
		memcpy(&f, &u32, sizeof f);
		v->real = (double)f;
		break;
	case 'd': memcpy(&v->real, &u, sizeof v->real); break;
	case 'D': break;
	/* an unsigned number above 2^63 reads as negative; its bytes stay unchanged */
	default: v->number = (int64_t)u; break;
	}
}

static bool
value_next(struct cursor *c, struct broker_value *v)
{
	bool has_length;
	size_t n;

	if (c->left < 1)
		return false;
	*v = (struct broker_value){ .kind = (char)c->p[0] };
	c->p++, c->left--;
	if (v->kind == 'V')
		return true;
	n = kind_size(v->kind, &has_length);
	if (n == 0 || c->left < n)
		return false;
	if (has_length) {
		n = (size_t)big_endian(c->p, 4);
		c->p += 4, c->left -= 4;
		if (c->left < n)
			return false;
	}
	v->bytes = c->p;
	v->length = n;
	c->p += n, c->left -= n;
	if (!has_length)
		number_take(v);
	return true;
}

bool
broker_table_next(const struct broker_table *t, size_t *at, const char **name, size_t *name_length,
	struct broker_value *v)
{
	struct cursor c;
	size_t n;

	if (*at >= t->length)
		return false;
	c = (struct cursor){ t->bytes + *at, t->length - *at };
	n = c.p[0];
	if (c.left < 1 + n)
		return false;
	*name = (const char *)c.p + 1;
	*name_length = n;
	c.p += 1 + n, c.left -= 1 + n;
	if (!value_next(&c, v))
		return false;
	*at = t->length - c.left;
	return true;
}

bool
broker_array_next(const struct broker_value *array, size_t *at, struct broker_value *v)
{
	struct cursor c;

	if (array->kind != 'A' || *at >= array->length)
		return false;
	c = (struct cursor){ array->bytes + *at, array->length - *at };
	if (!value_next(&c, v))
		return false;
	*at = array->length - c.left;
	return true;
}

static bool table_valid(const struct broker_table *t, unsigned depth);

static bool
value_valid(const struct broker_value *v, unsigned depth)
{
	struct broker_table inner;
	struct broker_value item;
	size_t at = 0;

	if (broker_value_table(v, &inner))
		return table_valid(&inner, depth + 1);
	if (v->kind != 'A')
		return true;
	if (depth >= DEPTH_MAX)
		return false;
	while (broker_array_next(v, &at, &item))
		if (!value_valid(&item, depth + 1))
			return false;
	return at == v->length;
}

static bool
table_valid(const struct broker_table *t, unsigned depth)
{
	struct broker_value v;
	const char *name;
	size_t at = 0, n;

	if (depth > DEPTH_MAX)
		return false;
	while (broker_table_next(t, &at, &name, &n, &v))
		if (!value_valid(&v, depth))
			return false;
	return at == t->length;
}

bool
broker_table_whole(const struct broker_table *t)
{
	struct broker_value v;
	const char *name;
	size_t at = 0, n;

	while (broker_table_next(t, &at, &name, &n, &v))
		;
	return at == t->length;
}

bool
broker_table_valid(const struct broker_table *t)
{
	return table_valid(t, 0);
}

bool
broker_table_get(const struct broker_table *t, const char *name, struct broker_value *v)
{
	const char *key;
	size_t at = 0, n, want = strlen(name);

	while (broker_table_next(t, &at, &key, &n, v))
		if (n == want && memcmp(key, name, n) == 0)
			return true;
	return false;
}

bool
broker_value_int(const struct broker_value *v, int64_t *out)
{
	if (!v->kind || !strchr("bBsuIilL", v->kind))
		return false;
	*out = v->number;
	return true;
}

bool
broker_value_text(const struct broker_value *v, const char **text, size_t *length)
{
	if (v->kind != 'S' && v->kind != 'x')
		return false;
	*text = (const char *)v->bytes;
	*length = v->length;
	return true;
}

bool
broker_value_table(const struct broker_value *v, struct broker_table *out)
{
	if (v->kind != 'F')
		return false;
	*out = (struct broker_table){ v->bytes, v->length };
	return true;
}

int64_t
broker_table_int(const struct broker_table *t, const char *name, int64_t fallback)
{
	struct broker_value v;

	if (broker_table_get(t, name, &v))
		(void)broker_value_int(&v, &fallback);
	return fallback;
}

const char *
broker_table_text(const struct broker_table *t, const char *name, size_t *length)
{
	struct broker_value v;
	const char *text = NULL;

	if (broker_table_get(t, name, &v))
		(void)broker_value_text(&v, &text, length);
	return text;
}

struct broker_value
broker_text(const char *text)
{
	return (struct broker_value){ 'S', (const uint8_t *)text, strlen(text), 0, 0 };
}

struct broker_value
broker_int(int64_t n)
{
	return (struct broker_value){ .kind = 'l', .number = n };
}

struct broker_value
broker_bool(bool on)
{
	return (struct broker_value){ .kind = 't', .number = on };
}

static void
add_number(struct buf *b, uint64_t v, size_t bytes)
{
	for (size_t i = bytes; i-- > 0;)
		buf_add_char(b, (char)(v >> (8 * i)));
}

void
broker_field_add(struct buf *b, const char *name, size_t name_length, const struct broker_value *v)
{
	bool has_length;
	size_t size = kind_size(v->kind, &has_length);

	must(name_length <= 255 && (size > 0 || v->kind == 'V'));
	buf_add_char(b, (char)name_length);
	buf_add(b, name, name_length);
	buf_add_char(b, v->kind);
	if (has_length)
		add_number(b, v->length, 4);
	if (v->bytes) {
		buf_add(b, v->bytes, v->length);
	} else if (v->kind != 'V' && !has_length) {
		/* our own value: one of the kinds that the functions above make */
		must(v->kind == 't' || v->kind == 'l');
		add_number(b, (uint64_t)v->number, size);
	}
}
