/* SPDX-License-Identifier: MIT */
/* Events as they come from anybody: what is taken keeps its promises, what is refused says why. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "model/event.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
taken(struct arena *mem, const struct event *ev)
{
	struct uuid id;
	struct event again;
	struct err e = ERR_INIT;
	struct buf text;

	must(uuid_parse(ev->id, strlen(ev->id), &id));
	must(strncmp(ev->type, "user.", 5) == 0 && ev->name == ev->type + 5 && *ev->name);
	must(ev->user_id >= 1 && ev->version >= 1 && ev->time_us >= 0);
	must(json_type(ev->payload) == JSON_OBJECT);
	if (ev->kind == EVENT_CREATED || ev->kind == EVENT_UPDATED)
		must(ev->username && ev->email && strchr(ev->email, '@'));
	else
		must(!ev->username && !ev->email && !ev->previous_country);
	if (ev->has_point)
		must(fabs(ev->lon) <= 180 && fabs(ev->lat) <= 90);
	/* its payload, written anew, is the same event */
	buf_init(&text, 1 << 22);
	buf_printf(&text, "{\"id\":\"%s\",\"type\":\"%s\",\"timestamp\":\"2026-11-20T12:00:00\",",
		ev->id, ev->type);
	buf_add_text(&text, "\"payload\":");
	json_write(ev->payload, &text);
	buf_add_char(&text, '}');
	must(event_parse(mem, buf_text(&text), text.length, &again, &e) == 0);
	must(again.kind == ev->kind && again.user_id == ev->user_id &&
		again.version == ev->version && again.has_point == ev->has_point);
	must(!ev->email || strcmp(again.email, ev->email) == 0);
	buf_fini(&text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena *mem = arena_new(4096, 64 << 20);
	struct err e = ERR_INIT;
	struct event ev;

	if (size <= (1 << 18)) {
		if (event_parse(mem, (const char *)data, size, &ev, &e) == 0)
			taken(mem, &ev);
		else
			must(e.kind != ERR_NONE && *e.text);
	}
	arena_free(mem);
	return 0;
}
