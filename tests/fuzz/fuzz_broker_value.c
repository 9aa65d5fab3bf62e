/* SPDX-License-Identifier: MIT */
/*
 * AMQP tables from foreign messages: a walk ends, stays inside, and what it
 * shows, written again, is the same bytes; a valid table is also whole.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "link/broker_value.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
inside(const struct broker_value *v, const uint8_t *bytes, size_t length)
{
	must(!v->bytes ||
		(v->bytes >= bytes && v->length <= length &&
			v->bytes + v->length <= bytes + length));
}

/* What is nested, as far as a reader would go. */
static void
look(const struct broker_value *v, unsigned depth)
{
	struct broker_table inner;
	struct broker_value item;
	const char *text;
	int64_t number;
	size_t at = 0, n;

	(void)broker_value_int(v, &number);
	if (broker_value_text(v, &text, &n))
		must(n == v->length);
	if (depth == 4)
		return;
	while (broker_array_next(v, &at, &item)) {
		inside(&item, v->bytes, v->length);
		look(&item, depth + 1);
	}
	if (!broker_value_table(v, &inner))
		return;
	at = 0;
	while (broker_table_next(&inner, &at, &text, &n, &item)) {
		inside(&item, inner.bytes, inner.length);
		look(&item, depth + 1);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct broker_table t = { data, size };
	struct broker_value v, got;
	char key[256];
	const char *name;
	size_t at = 0, n;
	struct buf again;

	if (size > 1 << 16)
		return 0;
	buf_init(&again, 1 << 17);
	while (broker_table_next(&t, &at, &name, &n, &v)) {
		must(at <= size && n <= 255);
		inside(&v, data, size);
		look(&v, 0);
		broker_field_add(&again, name, n, &v);
		must(again.length == at);
		memcpy(key, name, n);
		key[n] = '\0';
		if (!memchr(name, '\0', n))
			must(broker_table_get(&t, key, &got));
		(void)broker_table_int(&t, key, 0);
	}
	must(again.length <= size &&
		(!again.length || memcmp(again.data, data, again.length) == 0));
	must(broker_table_whole(&t) == (at == size));
	must(!broker_table_valid(&t) || broker_table_whole(&t));
	buf_fini(&again);
	return 0;
}
