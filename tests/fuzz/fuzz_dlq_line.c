/* SPDX-License-Identifier: MIT */
/*
 * What import takes for a message writes to a line that reads back to the same
 * message; and what stands in a line is shown without a control character.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "ctl/dlq/dlq.h"
#include "ctl/dlq/dlq_line.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena *mem = arena_new(1 << 16, 256 << 20);
	char fingerprint[DLQ_FINGERPRINT_MAX + 1];
	struct broker_message m, back;
	struct dlq_entry entry;
	struct err e = ERR_INIT;
	struct buf line;

	buf_init(&line, 64 << 20);
	if (dlq_line_read((const char *)data, size, mem, &m, &e) == 0 &&
		broker_table_whole(&m.props.headers)) {
		dlq_entry_read(&entry, &m, mem);
		if (entry.error)
			dlq_fingerprint(entry.error, fingerprint);
		must(dlq_line_write(&line, &entry, &m, &e) == 0);
		for (size_t i = 0; i + 1 < line.length; i++)
			must((uint8_t)line.data[i] >= 0x20 && line.data[i] != 0x7f);
		must(dlq_line_read(line.data, line.length, mem, &back, &e) == 0);
		must(back.length == m.length && memcmp(back.body, m.body, m.length) == 0);
		must(!back.props.message_id == !m.props.message_id);
	} else {
		must(e.kind == ERR_NONE || e.text[0]);
	}
	buf_fini(&line);
	arena_free(mem);
	return 0;
}
