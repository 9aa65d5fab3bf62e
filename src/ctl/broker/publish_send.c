/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/uuid7.h"
#include "ctl/broker/publish.h"
#include "ctl/kit/json.h"
#include "ctl/kit/progress.h"
#include "model/event.h"

#define STALL_MS 30000

static void
confirmed_print(const struct publish *p, size_t slot)
{
	struct ctl_line line;
	struct json_out *o;

	if (!p->ctl->json) {
		puts(p->slots[slot].id);
		return;
	}
	o = ctl_line_begin(&line);
	ctl_json_text(o, "id", p->slots[slot].id);
	ctl_json_text(o, "type", p->event.type);
	if (p->slots[slot].user_id)
		json_out_i64(o, "user_id", p->slots[slot].user_id);
	ctl_json_text(o, "exchange", p->exchange);
	ctl_json_text(o, "routing_key", p->key);
	ctl_line_print(&line);
}

static void
publish_confirmed(void *arg, uint64_t tag, bool nacked)
{
	struct publish *p = arg;

	for (size_t i = 0; i < PUBLISH_WINDOW; i++) {
		if (p->slots[i].tag != tag)
			continue;
		p->slots[i].tag = 0;
		p->in_flight--;
		p->moved_ms = clock_mono_ms();
		if (p->slots[i].returned)
			p->unroutable++;
		else if (nacked)
			p->refused++;
		else
			p->confirmed++, confirmed_print(p, i);
		return;
	}
}

static void
publish_returned(void *arg, const struct broker_message *m, int code, const char *why)
{
	struct publish *p = arg;
	const char *id = m->props.message_id ? m->props.message_id : "";

	(void)code;
	(void)why;
	for (size_t i = 0; i < PUBLISH_WINDOW; i++)
		if (p->slots[i].tag && !p->slots[i].returned && strcmp(p->slots[i].id, id) == 0) {
			p->slots[i].returned = true;
			return;
		}
}

/* Warns of a body that consumers will refuse. It is sent all the same: a test may want that. */
static void
body_warn(const struct publish *p, const struct buf *body)
{
	struct arena *mem = arena_new(1 << 16, 64u << 20);
	struct err why = ERR_INIT;
	struct event ev;

	if (event_parse(mem, buf_text(body), body->length, &ev, &why))
		ctl_fail(p->ctl, 0, "consumers will dead-letter it: %s", why.text);
	arena_free(mem);
}

/* The id that a raw body brings, so that it can be traced; else a new one. */
static void
raw_id(const struct publish *p, char id[static UUID_TEXT_SIZE])
{
	struct arena *mem = arena_new(1 << 16, 64u << 20);
	const struct json *v, *own;
	struct uuid u;

	if (json_parse(mem, buf_text(&p->raw), p->raw.length, &v, NULL) == 0 &&
		json_type(v) == JSON_OBJECT && (own = json_get(v, "id")) && json_string(own) &&
		uuid_parse(json_string(own), strlen(json_string(own)), &u))
		uuid_format(&u, id);
	arena_free(mem);
}

/* The next event's id and body, which stays valid until the next call. */
static int
body_make(struct publish *p, char id[static UUID_TEXT_SIZE], int64_t *user_id, struct buf *made,
	struct err *e)
{
	struct uuid u = uuid7_new();

	uuid_format(&u, id);
	buf_clear(made);
	*user_id = 0;
	if (p->has_raw)
		raw_id(p, id);
	else
		publish_event_write(&p->event, id, clock_wall_us(), made, user_id);
	if (buf_failed(made))
		return err_set(e, ERR_LIMIT, "the event is over %u MiB", PUBLISH_INPUT_MAX >> 20);
	if (p->sent == 0)
		body_warn(p, p->has_raw ? &p->raw : made);
	return 0;
}

/* 0: sent; 1: not now, there is no room. */
static int
event_send(struct publish *p, struct buf *made, struct err *e)
{
	const struct broker_field headers[] = { { EVENT_HEADER_TEST, broker_int(1) } };
	const struct buf *body = p->has_raw ? &p->raw : made;
	struct broker_publish m = { .exchange = p->exchange,
		.routing_key = p->key,
		.mandatory = true,
		.headers = headers,
		.header_count = ARRAY_LEN(headers) };
	struct err why = ERR_INIT;
	char id[UUID_TEXT_SIZE];
	size_t i = 0;

	while (i < PUBLISH_WINDOW && p->slots[i].tag)
		i++;
	if (i == PUBLISH_WINDOW)
		return 1;
	if (body_make(p, id, &p->slots[i].user_id, made, e))
		return -1;
	m.body = buf_text(body);
	m.length = body->length;
	m.props = (struct broker_properties){ .content_type = "application/json",
		.delivery_mode = 2,
		.message_id = id,
		.type = p->event.type,
		.has_timestamp = true,
		.timestamp = (uint64_t)(clock_wall_us() / 1000000),
		.app_id = "onboardctl",
		.has_priority = p->priority >= 0,
		.priority = (uint8_t)(p->priority < 0 ? 0 : p->priority) };
	if (broker_publish(p->b, &m, &p->slots[i].tag, &why)) {
		p->slots[i].tag = 0;
		if (broker_fd(p->b) >= 0 && (why.kind == ERR_LIMIT || why.kind == ERR_AWAY))
			return 1;
		return err_set(e, why.kind, "%s", why.text);
	}
	memcpy(p->slots[i].id, id, sizeof id);
	p->slots[i].returned = false;
	p->in_flight++;
	p->sent++;
	return 0;
}

static bool
event_due(const struct publish *p, int64_t began_ms)
{
	return p->sent < p->count &&
		(!p->rate || p->sent <= (clock_mono_ms() - began_ms) * p->rate / 1000);
}

static int
all_send(struct publish *p, struct err *e)
{
	int64_t began_ms = clock_mono_ms();
	struct progress bar;
	struct buf body;
	int rc = 0;

	buf_init(&body, PUBLISH_INPUT_MAX);
	progress_begin(&bar, "publishing", (uint64_t)p->count);
	p->moved_ms = began_ms;
	while (rc >= 0 && (p->sent < p->count || p->in_flight)) {
		rc = 0;
		while (rc == 0 && event_due(p, began_ms))
			rc = event_send(p, &body, e);
		if (rc >= 0 && broker_pump(p->b, p->rate ? 10 : 50, e))
			rc = -1;
		if (!p->in_flight && rc == 0)
			p->moved_ms = clock_mono_ms();
		if (rc >= 0 && clock_mono_ms() - p->moved_ms > STALL_MS)
			rc = err_set(e, ERR_AWAY,
				"the broker confirms nothing (%zu are out); `onboardctl doctor` "
				"says why",
				p->in_flight);
		progress_set(&bar, (uint64_t)p->confirmed);
	}
	progress_end(&bar);
	buf_fini(&body);
	return rc < 0 ? -1 : 0;
}

static int
exchange_check(struct publish *p, struct err *e)
{
	struct err why = ERR_INIT;

	if (!*p->exchange ||
		broker_exchange_declare(p->b, p->exchange, "topic", true, true, &why) == 0)
		return 0;
	if (why.kind != ERR_MISSING)
		return err_set(e, why.kind, "%s", why.text);
	return err_set(e, ERR_CONFLICT,
		"there is no exchange \"%.80s\"; `onboardctl topology declare` makes those of ours "
		"and of topology.conf",
		p->exchange);
}

/* What the broker did not take. */
static int
losses_check(const struct publish *p, struct err *e)
{
	if (p->unroutable)
		return err_set(e, ERR_CONFLICT,
			"nothing is bound to exchange \"%.80s\" with key \"%.80s\": no queue took "
			"%" PRId64 " of %" PRId64
			"; `onboardctl topology check` shows what is missing",
			p->exchange, p->key, p->unroutable, p->sent);
	if (p->refused)
		return err_set(e, ERR_CONFLICT,
			"the broker refused %" PRId64 " of %" PRId64 " (is a queue full?)",
			p->refused, p->sent);
	return 0;
}

int
publish_send(struct publish *p, struct err *e)
{
	static const struct broker_events events = { .confirmed = publish_confirmed,
		.returned = publish_returned };
	int rc;

	p->b = broker_new(
		&(struct broker_options){ .url = conf_string(p->ctl->conf, "rabbitmq", "url"),
			.name = "onboardctl publish",
			.window = PUBLISH_WINDOW,
			.events = &events,
			.arg = p },
		e);
	rc = !p->b || broker_connect(p->b, e) || exchange_check(p, e) || all_send(p, e) ||
			losses_check(p, e)
		? -1
		: 0;
	broker_free(p->b);
	p->b = NULL;
	return rc;
}
