/* SPDX-License-Identifier: MIT */
#include "model/event.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "model/identity.h"

#define TYPE_MAX 64
#define BEGIN strlen(EVENT_TYPE_BEGIN)
#define TEXT_MAX 400 /* bytes of a name of any kind */

/* Keeps the first fault only. */
static void PRINTF_LIKE(2, 3) fault(struct err *e, const char *format, ...)
{
	va_list args;
	char text[200];

	if (e->kind != ERR_NONE)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	err_set(e, ERR_INVALID, "%s", text);
}

static const struct json *
member(const struct json *object, const char *name, enum json_type want, bool required,
	struct err *e)
{
	const struct json *v = json_get(object, name);

	if (!v || json_type(v) == JSON_NULL) {
		if (required)
			fault(e, "%s is missing", name);
		return NULL;
	}
	if (json_type(v) != want) {
		fault(e, "%s is not %s", name, json_type_name(want));
		return NULL;
	}
	return v;
}

/* NULL: the member is absent or empty. NULL with e set: it is no text, too long, or required. */
static const char *
text(const struct json *object, const char *name, bool required, struct err *e)
{
	const struct json *v = member(object, name, JSON_STRING, required, e);
	const char *s = v ? json_string(v) : NULL;

	if (s && !*s && !required)
		return NULL; /* the same as absent */
	if (s && (!*s || strlen(s) > TEXT_MAX)) {
		fault(e, "%s is empty or too long", name);
		return NULL;
	}
	return s;
}

static int64_t
whole(const struct json *object, const char *name, bool required, int64_t fallback, struct err *e)
{
	const struct json *v = member(object, name, JSON_NUMBER, required, e);
	int64_t n = fallback;

	if (v && (!json_integer(v, &n) || n < 1))
		fault(e, "%s is not a whole number from 1 on", name);
	return n;
}

static bool
type_sane(const char *type)
{
	size_t n = strlen(type);

	return n <= TYPE_MAX && strspn(type, "abcdefghijklmnopqrstuvwxyz0123456789_.") == n &&
		strncmp(type, EVENT_TYPE_BEGIN, BEGIN) == 0 && type[BEGIN] >= 'a' &&
		type[BEGIN] <= 'z' && type[n - 1] != '.';
}

/* A GeoJSON Point or [lon, lat]. */
static void
point(struct event *out, const struct json *v, struct err *e)
{
	const struct json *list = v;
	const char *type;

	if (json_type(v) == JSON_OBJECT) {
		type = json_get(v, "type") ? json_string(json_get(v, "type")) : NULL;
		list = json_get(v, "coordinates");
		if (!type || strcmp(type, "Point") != 0)
			list = NULL;
	}
	if (!list || json_type(list) != JSON_ARRAY || json_count(list) != 2 ||
		!json_number(json_first(list), &out->lon) ||
		!json_number(json_next(json_first(list)), &out->lat) || out->lon < -180 ||
		out->lon > 180 || out->lat < -90 || out->lat > 90) {
		fault(e, "geo.coordinates is no GeoJSON Point and no [lon, lat]");
		return;
	}
	out->has_point = true;
}

static void
activity(struct event *out, struct err *e)
{
	const struct json *p = out->payload, *v;
	const char *name = text(p, "event_type", false, e);

	if (name && strcmp(name, out->name) != 0)
		fault(e, "event_type is another than the event's type says");
	out->metadata = member(p, "metadata", JSON_OBJECT, false, e);
	out->session = member(p, "session_info", JSON_OBJECT, false, e);
	out->geo = member(p, "geo", JSON_OBJECT, false, e);
	if (!out->geo)
		return;
	out->geo_country = text(out->geo, "country", false, e);
	out->geo_city = text(out->geo, "city", false, e);
	v = json_get(out->geo, "coordinates");
	if (v && json_type(v) != JSON_NULL)
		point(out, v, e);
}

static const char *
email(struct event *out, struct arena *mem, struct err *e)
{
	const char *given = text(out->payload, "email", true, e);
	char normal[EMAIL_MAX + 1];
	struct err why = ERR_INIT;

	if (!given)
		return NULL;
	if (email_normalize(given, strlen(given), normal, &why)) {
		fault(e, "email %s", why.text);
		return NULL;
	}
	return arena_strdup(mem, normal);
}

static void
user(struct event *out, struct arena *mem, struct err *e)
{
	const struct json *p = out->payload;
	struct err why = ERR_INIT;

	out->country = text(p, "country", false, e);
	if (out->kind == EVENT_DELETED)
		return;
	out->username = text(p, "username", true, e);
	if (out->username && username_check(out->username, strlen(out->username), &why))
		fault(e, "username %s", why.text);
	out->email = email(out, mem, e);
	out->display_name = text(p, "name", false, e);
	out->city = text(p, "city", false, e);
	if (out->kind == EVENT_UPDATED)
		out->previous_country = text(p, "previous_country", false, e);
}

const char *
event_name(const char *type)
{
	return strncmp(type, EVENT_TYPE_BEGIN, BEGIN) == 0 ? type + BEGIN : type;
}

static enum event_kind
kind_of(const char *type)
{
	return strcmp(type, EVENT_TYPE_CREATED) == 0    ? EVENT_CREATED
		: strcmp(type, EVENT_TYPE_UPDATED) == 0 ? EVENT_UPDATED
		: strcmp(type, EVENT_TYPE_DELETED) == 0 ? EVENT_DELETED
							: EVENT_ACTIVITY;
}

static void
envelope(struct event *out, const struct json *v, struct err *e)
{
	const char *id = text(v, "id", true, e), *when = text(v, "timestamp", true, e);
	struct uuid u;

	if (id && !uuid_parse(id, strlen(id), &u))
		fault(e, "id is no UUID");
	else if (id)
		uuid_format(&u, out->id);
	if (when && clock_parse_rfc3339(when, strlen(when), &out->time_us, NULL))
		fault(e, "timestamp is no ISO 8601 time");
	out->type = text(v, "type", true, e);
	if (out->type && !type_sane(out->type)) {
		fault(e, "type is not user.<name>");
		out->type = NULL;
	}
	out->payload = member(v, "payload", JSON_OBJECT, true, e);
}

int
event_parse(struct arena *mem, const char *body, size_t length, struct event *out, struct err *e)
{
	struct err first = ERR_INIT;
	const struct json *v;

	*out = (struct event){ 0 };
	if (json_parse(mem, body, length, &v, e))
		return -1;
	if (json_type(v) != JSON_OBJECT)
		return err_set(e, ERR_INVALID, "the body is not an object");
	envelope(out, v, &first);
	if (first.kind == ERR_NONE) {
		out->name = event_name(out->type);
		out->kind = kind_of(out->type);
		out->user_id = whole(out->payload, "user_id", true, 0, &first);
		out->version = whole(out->payload, "version", false, 1, &first);
		if (out->kind == EVENT_ACTIVITY)
			activity(out, &first);
		else
			user(out, mem, &first);
	}
	return first.kind == ERR_NONE ? 0 : err_set(e, ERR_INVALID, "%s", first.text);
}
