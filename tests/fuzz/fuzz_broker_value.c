/* SPDX-License-Identifier: MIT */
/*
 * AMQP tables as a server may send them: no read past the end; one that is valid
 * is the same bytes again when each of its entries is added to another.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "link/broker_value.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every byte that a view shows lies within the input. */
static void
look(const struct broker_value *v, const uint8_t *data, size_t size)
{
	struct broker_value item;
	struct broker_table inner;
	const char *text, *name;
	size_t n, at = 0;
	int64_t number = 0;

	if (v->bytes)
		must(v->bytes >= data && v->bytes + v->length <= data + size);
	else
		must(v->kind == 'V' && v->length == 0);
	must(broker_value_int(v, &number) == (strchr("bBsuIilL", v->kind) != NULL));
	must(number == 0 || number == v->number);
	if (broker_value_text(v, &text, &n))
		must((const uint8_t *)text == v->bytes && n == v->length);
	while (broker_array_next(v, &at, &item))
		must(item.kind && at <= v->length);
	at = 0;
	if (broker_value_table(v, &inner))
		while (broker_table_next(&inner, &at, &name, &n, &item))
			must((const uint8_t *)name + n <= data + size && at <= inner.length);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size + 1); /* of this size, so that a read past it is seen */
	const struct broker_table t = { copy, size };
	struct broker_value v;
	const char *name;
	size_t at = 0, n, before = 0;
	struct buf again;

	must(copy);
	if (size)
		memcpy(copy, data, size);
	buf_init(&again, 2 * size + 16);
	while (broker_table_next(&t, &at, &name, &n, &v)) {
		must(at > before && at <= size);
		before = at;
		look(&v, copy, size);
		broker_field_add(&again, name, n, &v);
	}
	must(!buf_failed(&again) && again.length == at);
	must(at == 0 || memcmp(again.data, copy, at) == 0);
	if (broker_table_valid(&t))
		must(at == size);
	(void)broker_table_int(&t, "count", 0);
	(void)broker_table_text(&t, "queue", &n);
	buf_fini(&again);
	free(copy);
	return 0;
}
