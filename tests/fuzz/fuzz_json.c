/* SPDX-License-Identifier: MIT */
/* Strict JSON: what is accepted writes to text that reads back to the same, in both orders. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
again(struct arena *mem, const struct json *v, void (*write)(const struct json *, struct buf *))
{
	const struct json *back;
	struct buf once, twice;
	struct err e;

	buf_init(&once, 16 << 20);
	buf_init(&twice, 16 << 20);
	write(v, &once);
	must(!buf_failed(&once) && json_utf8_valid(buf_text(&once), once.length));
	must(json_parse(mem, buf_text(&once), once.length, &back, &e) == 0);
	write(back, &twice);
	must(once.length == twice.length && memcmp(once.data, twice.data, once.length) == 0);
	buf_fini(&once);
	buf_fini(&twice);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena *mem = arena_new(1024, 64 << 20);
	const struct json *v;
	struct err e = ERR_INIT;

	if (json_parse(mem, (const char *)data, size, &v, &e) == 0) {
		again(mem, v, json_write);
		again(mem, v, json_write_sorted);
	} else {
		must(e.kind == ERR_INVALID && e.text[0]);
	}
	arena_free(mem);
	return 0;
}
