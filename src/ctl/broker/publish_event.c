/* SPDX-License-Identifier: MIT */
#include "ctl/broker/publish_event.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/rnd.h"
#include "model/event.h"

struct writer {
	const struct publish_event *p;
	struct buf *out;
	const char *comma;
};

static void
name_add(struct writer *w, const char *name)
{
	buf_add_text(w->out, w->comma);
	buf_add_json_string(w->out, name, strlen(name));
	buf_add_char(w->out, ':');
	w->comma = ",";
}

static bool
payload_has(const struct writer *w, const char *name)
{
	return w->p->payload && json_get(w->p->payload, name);
}

/* Adds a made-up member, unless the payload has it. */
static void PRINTF_LIKE(3, 4) fill(struct writer *w, const char *name, const char *format, ...)
{
	va_list args;
	char text[512];

	if (payload_has(w, name))
		return;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	name_add(w, name);
	buf_add_text(w->out, text);
}

static void
text_add(struct writer *w, const char *name, const char *text)
{
	name_add(w, name);
	buf_add_json_string(w->out, text, strlen(text));
}

static void
user_fill(struct writer *w, int64_t id, const char *kind)
{
	static const struct {
		const char *country, *city;
	} places[] = { { "LV", "Riga" }, { "DE", "Berlin" }, { "FR", "Paris" },
		{ "ES", "Madrid" } };
	size_t i = (size_t)rnd_below(ARRAY_LEN(places));

	/* a deleted user's event has the id alone */
	if (strcmp(kind, "deleted") != 0) {
		if (!w->p->username)
			fill(w, "username", "\"test-%" PRId64 "\"", id);
		if (!w->p->email)
			fill(w, "email", "\"test-%" PRId64 "@example.com\"", id);
	}
	fill(w, "version", strcmp(kind, "created") == 0 ? "1" : "2");
	if (w->p->payload)
		return;
	fill(w, "country", "\"%s\"", places[i].country);
	if (strcmp(kind, "deleted") == 0)
		return;
	fill(w, "name", "\"Test User\"");
	fill(w, "city", "\"%s\"", places[i].city);
	if (strcmp(kind, "updated") == 0)
		fill(w, "previous_country", "\"%s\"", places[i].country);
}

static void
activity_fill(struct writer *w, const char *kind)
{
	static const char *const categories[] = { "books", "music", "garden", "sport" };
	size_t i = (size_t)rnd_below(ARRAY_LEN(categories));
	unsigned cents = (unsigned)rnd_below(20000);

	fill(w, "event_type", "\"%s\"", kind);
	if (w->p->payload)
		return;
	if (strcmp(kind, "purchase") == 0)
		fill(w, "metadata",
			"{\"product_id\":\"p-%u\",\"category\":\"%s\",\"price\":%u.%02u}",
			(unsigned)rnd_below(100), categories[i], 1 + cents / 100, cents % 100);
	else
		fill(w, "metadata", "{\"source\":\"onboardctl\"}");
	fill(w, "geo",
		"{\"country\":\"LV\",\"city\":\"Riga\",\"coordinates\":"
		"{\"type\":\"Point\",\"coordinates\":[24.1052,56.9496]}}");
	fill(w, "session_info", "{\"device\":\"terminal\"}");
}

static bool
option_replaces(const struct publish_event *p, const char *name)
{
	return (strcmp(name, "user_id") == 0 && p->user_id) ||
		(strcmp(name, "username") == 0 && p->username) ||
		(strcmp(name, "email") == 0 && p->email);
}

void
publish_event_write(const struct publish_event *p, const char *id, int64_t now_us, struct buf *out,
	int64_t *user_id)
{
	const char *kind = event_name(p->type);
	bool user = strcmp(kind, "created") == 0 || strcmp(kind, "updated") == 0 ||
		strcmp(kind, "deleted") == 0;
	struct writer w = { .p = p, .out = out, .comma = "" };
	char when[CLOCK_RFC3339_SIZE];

	*user_id = p->user_id;
	if (!p->user_id && payload_has(&w, "user_id"))
		(void)json_integer(json_get(p->payload, "user_id"), user_id);
	else if (!p->user_id)
		*user_id = EVENT_USER_MADE_UP + (int64_t)rnd_below(PUBLISH_USERS);
	clock_format_rfc3339(now_us, when);
	buf_printf(out, "{\"id\":\"%s\",\"type\":", id);
	buf_add_json_string(out, p->type, strlen(p->type));
	buf_printf(out, ",\"timestamp\":\"%s\",\"payload\":{", when);
	if (p->user_id || !payload_has(&w, "user_id")) {
		name_add(&w, "user_id");
		buf_add_i64(out, *user_id);
	}
	if (p->username)
		text_add(&w, "username", p->username);
	if (p->email)
		text_add(&w, "email", p->email);
	if (user)
		user_fill(&w, *user_id, kind);
	else
		activity_fill(&w, kind);
	for (const struct json *v = p->payload ? json_first(p->payload) : NULL; v;
		v = json_next(v)) {
		if (option_replaces(p, json_name(v)))
			continue;
		name_add(&w, json_name(v));
		json_write(v, out);
	}
	buf_add_text(out, "}}");
}
