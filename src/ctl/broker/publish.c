/* SPDX-License-Identifier: MIT */
/* publish: test events, mandatory, in a window of confirms; an id is printed when it is confirmed. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "model/event.h"
#include "base/uuid7.h"
#include "ctl/kit/ctl.h"
#include "ctl/dlq/dlq.h"
#include "link/broker.h"
#include "ctl/kit/progress.h"
#include "ctl/broker/publish_event.h"
#include "model/topology.h"

#define WINDOW 1024
#define INPUT_MAX (16u << 20)
#define STALL_MS 30000

struct publish {
	struct ctl *ctl;
	struct publish_event event;
	const char *payload_text, *raw_file, *exchange, *key;
	struct buf raw;
	bool has_raw;
	int64_t count, rate, priority; /* priority -1: none */
	struct arena *mem;
	struct broker *b;
	struct {
		uint64_t tag; /* 0: free */
		char id[256];
		int64_t user_id;
		bool returned;
	} slots[WINDOW];
	size_t in_flight;
	int64_t sent, confirmed, unroutable, refused, moved_ms;
};

static void
told(const struct publish *p, size_t i)
{
	struct buf out;

	if (!p->ctl->json) {
		puts(p->slots[i].id);
		return;
	}
	buf_init(&out, 1 << 16);
	buf_add_text(&out, "{\"id\":");
	dlq_json_text(&out, p->slots[i].id);
	buf_add_text(&out, ",\"type\":");
	dlq_json_text(&out, p->event.type);
	if (p->slots[i].user_id)
		buf_printf(&out, ",\"user_id\":%" PRId64, p->slots[i].user_id);
	buf_add_text(&out, ",\"exchange\":");
	dlq_json_text(&out, p->exchange);
	buf_add_text(&out, ",\"routing_key\":");
	dlq_json_text(&out, p->key);
	buf_add_char(&out, '}');
	puts(buf_text(&out));
	buf_fini(&out);
}

static void
on_confirmed(void *arg, uint64_t tag, bool nacked)
{
	struct publish *p = arg;

	for (size_t i = 0; i < WINDOW; i++) {
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
			p->confirmed++, told(p, i);
		return;
	}
}

static void
on_returned(void *arg, const struct broker_message *m, int code, const char *why)
{
	struct publish *p = arg;
	const char *id = m->props.message_id ? m->props.message_id : "";

	(void)code;
	(void)why;
	for (size_t i = 0; i < WINDOW; i++)
		if (p->slots[i].tag && !p->slots[i].returned && strcmp(p->slots[i].id, id) == 0) {
			p->slots[i].returned = true;
			return;
		}
}

/* The file's bytes, "-": standard input's. */
static int
input_read(const char *path, struct buf *out, struct err *e)
{
	FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
	char part[65536];
	size_t n;
	int rc = 0;

	if (!f)
		return err_set(e, ERR_INVALID, "cannot read %s: %s", path, strerror(errno));
	while ((n = fread(part, 1, sizeof part, f)) > 0)
		buf_add(out, part, n);
	if (ferror(f))
		rc = err_set(e, ERR_INVALID, "cannot read %s: %s", path, strerror(errno));
	else if (buf_failed(out))
		rc = err_set(e, ERR_INVALID, "%s has over %u MiB", path, INPUT_MAX >> 20);
	if (f != stdin)
		fclose(f);
	return rc;
}

static int
payload_take(struct publish *p, struct err *e)
{
	const char *text = p->payload_text;
	struct err why = ERR_INIT;
	struct buf file;
	int rc = 0;

	if (!text)
		return 0;
	buf_init(&file, INPUT_MAX);
	if (*text == '@' || strcmp(text, "-") == 0)
		rc = input_read(*text == '@' ? text + 1 : text, &file, e);
	else
		buf_add_text(&file, text);
	if (rc == 0 &&
		(json_parse(p->mem, buf_text(&file), file.length, &p->event.payload, &why) ||
			json_type(p->event.payload) != JSON_OBJECT))
		rc = err_set(e, ERR_INVALID, "--payload is no JSON object: %s",
			*why.text ? why.text : "want {…}");
	buf_fini(&file);
	return rc;
}

/* What consumers will not take is sent all the same: it may be meant to die. */
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

/* 1: not now. */
static int
send_one(struct publish *p, struct buf *body, struct err *e)
{
	const struct broker_field headers[] = { { EVENT_HEADER_TEST, broker_int(1) } };
	struct uuid u = uuid7_new();
	struct broker_publish m = { .exchange = p->exchange,
		.routing_key = p->key,
		.mandatory = true,
		.headers = headers,
		.header_count = ARRAY_LEN(headers) };
	struct err why = ERR_INIT;
	char id[UUID_TEXT_SIZE];
	size_t i = 0;

	while (i < WINDOW && p->slots[i].tag)
		i++;
	if (i == WINDOW)
		return 1;
	uuid_format(&u, id);
	buf_clear(body);
	p->slots[i].user_id = 0;
	if (p->has_raw)
		raw_id(p, id);
	else
		publish_event_write(&p->event, id, clock_wall_us(), body, &p->slots[i].user_id);
	if (buf_failed(body))
		return err_set(e, ERR_LIMIT, "the event is over %u MiB", INPUT_MAX >> 20);
	if (p->sent == 0)
		body_warn(p, p->has_raw ? &p->raw : body);
	m.body = buf_text(p->has_raw ? &p->raw : body);
	m.length = p->has_raw ? p->raw.length : body->length;
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
due(const struct publish *p, int64_t began_ms)
{
	return p->sent < p->count &&
		(!p->rate || p->sent <= (clock_mono_ms() - began_ms) * p->rate / 1000);
}

static int
send_all(struct publish *p, struct err *e)
{
	int64_t began_ms = clock_mono_ms();
	struct progress bar;
	struct buf body;
	int rc = 0;

	buf_init(&body, INPUT_MAX);
	progress_begin(&bar, "publishing", (uint64_t)p->count);
	p->moved_ms = began_ms;
	while (rc >= 0 && (p->sent < p->count || p->in_flight)) {
		rc = 0;
		while (rc == 0 && due(p, began_ms))
			rc = send_one(p, &body, e);
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

static int
run(struct publish *p, struct err *e)
{
	static const struct broker_events events = { .confirmed = on_confirmed,
		.returned = on_returned };

	p->b = broker_new(
		&(struct broker_options){ .url = conf_string(p->ctl->conf, "rabbitmq", "url"),
			.name = "onboardctl publish",
			.window = WINDOW,
			.events = &events,
			.arg = p },
		e);
	if (!p->b || broker_connect(p->b, e) || exchange_check(p, e) || send_all(p, e))
		return -1;
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

enum {
	O_USER = 256,
	O_USERNAME,
	O_EMAIL,
	O_PAYLOAD,
	O_COUNT,
	O_RATE,
	O_RAW,
	O_EXCHANGE,
	O_KEY,
	O_PRIORITY
};

static int
option_take(struct publish *p, int id, const char *value, struct err *e)
{
	switch (id) {
	case O_USER:
		return ctl_number(value, 1, JSON_INTEGER_MAX, &p->event.user_id)
			? 0
			: err_set(e, ERR_INVALID, "--user-id wants a number from 1 to 2^53");
	case O_USERNAME: p->event.username = value; return 0;
	case O_EMAIL: p->event.email = value; return 0;
	case O_PAYLOAD: p->payload_text = value; return 0;
	case O_COUNT:
		return ctl_number(value, 1, 1000000000, &p->count)
			? 0
			: err_set(e, ERR_INVALID, "--count wants a number from 1 on");
	case O_RATE:
		return ctl_rate(value, &p->rate)
			? 0
			: err_set(e, ERR_INVALID, "--rate wants N/s, such as 100/s");
	case O_RAW: p->raw_file = value; return 0;
	case O_EXCHANGE: p->exchange = value; return 0;
	case O_KEY: p->key = value; return 0;
	default:
		return ctl_number(value, 0, 255, &p->priority)
			? 0
			: err_set(e, ERR_INVALID, "--priority wants 0 to 255");
	}
}

static int
options_take(struct publish *p, int argc, char **argv, struct err *e)
{
	static const struct option options[] = { { "user-id", required_argument, NULL, O_USER },
		{ "username", required_argument, NULL, O_USERNAME },
		{ "email", required_argument, NULL, O_EMAIL },
		{ "payload", required_argument, NULL, O_PAYLOAD },
		{ "count", required_argument, NULL, O_COUNT },
		{ "rate", required_argument, NULL, O_RATE },
		{ "raw", required_argument, NULL, O_RAW },
		{ "exchange", required_argument, NULL, O_EXCHANGE },
		{ "routing-key", required_argument, NULL, O_KEY },
		{ "priority", required_argument, NULL, O_PRIORITY }, { 0 } };
	int id;

	optind = 0;
	opterr = 0;
	while ((id = getopt_long(argc, argv, "", options, NULL)) != -1)
		if (id == '?')
			return err_set(e, ERR_INVALID, "%s is no option of it, or lacks its value",
				argv[optind - 1]);
		else if (option_take(p, id, optarg, e))
			return -1;
	if (argc - optind != 1 || !*argv[optind])
		return err_set(e, ERR_INVALID,
			"want: publish TYPE [OPTION…], such as user.created");
	p->event.type = argv[optind];
	if (p->raw_file &&
		(p->payload_text || p->event.user_id || p->event.username || p->event.email))
		return err_set(e, ERR_INVALID,
			"--raw is the whole body: nothing else goes into it");
	return 0;
}

static int
type_check(struct publish *p, struct err *e)
{
	const char *type = p->event.type;

	if (strlen(type) > 200)
		return err_set(e, ERR_INVALID, "TYPE is too long");
	if (!p->raw_file && !strchr(type, '.')) {
		p->event.type = arena_printf(p->mem, EVENT_TYPE_BEGIN "%s", type);
		must(p->event.type);
	}
	if (!p->key)
		p->key = p->event.type;
	return strlen(p->key) > 255 || strlen(p->exchange) > 255
		? err_set(e, ERR_INVALID, "an exchange or routing key has 255 bytes at most")
		: 0;
}

int
ctl_publish(struct ctl *c, int argc, char **argv)
{
	struct publish *p = must_calloc(1, sizeof *p);
	struct err e = ERR_INIT;
	int code;

	p->ctl = c;
	p->exchange = TOPOLOGY_EVENTS;
	p->count = 1;
	p->priority = -1;
	p->mem = arena_new(1 << 16, 256u << 20);
	buf_init(&p->raw, INPUT_MAX);
	p->has_raw = false;
	if (options_take(p, argc, argv, &e) || type_check(p, &e) || payload_take(p, &e) ||
		(p->raw_file && input_read(p->raw_file, &p->raw, &e))) {
		code = ctl_fail(c, CTL_USAGE, "%s", e.text);
	} else {
		p->has_raw = p->raw_file != NULL;
		code = run(p, &e) ? ctl_fail_err(c, &e) : CTL_DONE;
	}
	broker_free(p->b);
	arena_free(p->mem);
	buf_fini(&p->raw);
	free(p);
	return code;
}
