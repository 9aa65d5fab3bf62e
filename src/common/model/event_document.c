/* SPDX-License-Identifier: MIT */
#include "model/event_document.h"

#include <string.h>

static void
geo_add(struct doc_body *b, const struct event *ev)
{
	if (!ev->geo && !ev->country && !ev->city)
		return;
	doc_begin(b, "geo");
	if (ev->geo_country || ev->country)
		doc_add_string(b, "country", ev->geo_country ? ev->geo_country : ev->country);
	if (ev->geo_city || ev->city)
		doc_add_string(b, "city", ev->geo_city ? ev->geo_city : ev->city);
	if (ev->has_point) {
		doc_begin(b, "coordinates");
		doc_add_string(b, "type", "Point");
		doc_begin_array(b, "coordinates");
		doc_add_f64(b, NULL, ev->lon);
		doc_add_f64(b, NULL, ev->lat);
		doc_end(b);
		doc_end(b);
	}
	doc_end(b);
}

/* Adds the payload without the members that name the user. */
static void
nameless_add(struct doc_body *b, const struct json *payload)
{
	static const char *const names[] = EVENT_NAMES("");

	doc_begin(b, "payload");
	for (const struct json *m = json_first(payload); m; m = json_next(m)) {
		bool keep = true;

		for (size_t i = 0; i < ARRAY_LEN(names); i++)
			keep &= strcmp(json_name(m), names[i]) != 0;
		if (keep)
			doc_add_json(b, json_name(m), m);
	}
	doc_end(b);
}

void
event_document(struct doc_body *b, const struct event *ev, int64_t received_us, bool nameless)
{
	doc_clear(b);
	doc_add_string(b, "_id", ev->id);
	doc_add_i64(b, "user_id", ev->user_id);
	doc_add_string(b, "event_type", ev->name);
	doc_add_string(b, "type", ev->type);
	doc_add_date_us(b, "timestamp", ev->time_us);
	if (ev->metadata)
		doc_add_json(b, "metadata", ev->metadata);
	geo_add(b, ev);
	if (ev->session)
		doc_add_json(b, "session_info", ev->session);
	if (nameless)
		nameless_add(b, ev->payload);
	else
		doc_add_json(b, "payload", ev->payload);
	doc_add_date_us(b, "received_at", received_us);
}
