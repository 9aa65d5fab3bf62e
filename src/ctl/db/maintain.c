/* SPDX-License-Identifier: MIT */
/*
 * db maintain: does once what onboard-api's outbox thread does every few
 * minutes, for the time when no API runs. It keeps partitions and their
 * retention, forgets old Idempotency-Keys, and publishes events that stayed
 * behind. It may run beside an API, since both lock the rows that they take.
 */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/clock.h"
#include "ctl/db/db.h"
#include "ctl/kit/ctl.h"
#include "ctl/kit/json.h"
#include "link/link.h"
#include "link/sql.h"
#include "model/days.h"
#include "model/outbox_sql.h"
#include "model/signup_keys.h"
#include "run/outbox.h"
#include "run/outbox_sweep.h"
#include "run/publisher.h"

#define ARENA_MAX (8 << 20)
#define STUCK_MS 15000 /* gives up after this long without one event published */
#define LOOK_MS 100
#define KEYS_BUDGET_MS 1000

static const struct sql_statement server_now = { "maintain_now", "SELECT now()::text" };

struct maintain {
	struct ctl *ctl;
	struct arena *mem;
	struct sql *sql;
	const char *since; /* an event older than this by outbox.sweep_after stayed behind */
	int owner;
};

/* Counts the events that stayed behind. Younger events and events of living processes do not count: they
   are still being published. */
static int
behind_count(struct maintain *m, int64_t *events, struct err *e)
{
	return outbox_behind(m->sql, m->mem, m->owner, m->since,
		conf_int(m->ctl->conf, "outbox", "sweep_after"), events, e);
}

static int
wait_swept(struct maintain *m, struct link *broker, int64_t *events, struct err *e)
{
	int64_t since = clock_mono_ms(), before = *events;
	struct arena *mem = m->mem;
	int rc;

	m->mem = arena_new(4096, ARENA_MAX);
	while ((rc = behind_count(m, events, e)) == 0 && *events > 0 &&
		clock_mono_ms() - since < STUCK_MS) {
		if (*events != before)
			since = clock_mono_ms();
		before = *events;
		arena_reset(m->mem);
		(void)poll(NULL, 0, LOOK_MS); /* the outbox's own thread works meanwhile */
	}
	arena_free(m->mem);
	m->mem = mem;
	if (rc == 0 && *events > 0)
		return err_set(e, ERR_AWAY,
			"%" PRId64
			" events that stayed behind cannot be published (the broker is %s); "
			"they stay in the outbox",
			*events, link_usable(broker) ? "slow" : "away");
	return rc;
}

/* Publishes them with a publisher and an outbox thread, as onboard-api has them. */
static int
sweep(struct maintain *m, int64_t *events, struct err *e)
{
	const struct conf *c = m->ctl->conf;
	struct publisher *p = NULL;
	struct outbox *o =
		outbox_new(&(struct outbox_options){ .url = conf_string(c, "postgres", "url"),
				   .name = "onboardctl",
				   .owner = m->owner,
				   .sweep_after_ms = conf_int(c, "outbox", "sweep_after"),
				   .retention_days = conf_int(c, "outbox", "retention") },
			e);
	int64_t left = *events;
	int rc = -1;

	if (!o)
		return -1;
	p = publisher_start(
		&(struct publisher_options){ .url = conf_string(c, "rabbitmq", "url"),
			.name = "onboardctl",
			.heartbeat_s = (unsigned)(conf_int(c, "rabbitmq", "heartbeat") / 1000),
			.consumers = conf_string(c, "topology", "consumers"),
			.check_every_ms = conf_int(c, "topology", "check_every"),
			.done = outbox_done,
			.arg = o },
		e);
	if (p) {
		outbox_start(o, p);
		rc = wait_swept(m, publisher_link(p), &left, e);
		outbox_halt(o);
		publisher_stop(p);
	}
	outbox_stop(o, 2000);
	return rc;
}

static int
keys_forget(struct maintain *m, struct err *e)
{
	struct arena *mem = arena_new(4096, ARENA_MAX);
	int rc;

	do {
		arena_reset(mem);
		rc = signup_keys_forget(m->sql, mem, KEYS_BUDGET_MS, e);
	} while (rc > 0);
	arena_free(mem);
	return rc;
}

static int
maintain(struct maintain *m, struct err *e)
{
	static const struct {
		const char *json, *text;
	} words[] = {
		[DAYS_KEPT] = { "kept", "the partitions are kept" },
		[DAYS_AGAIN] = { "busy", "another process is keeping the partitions" },
		[DAYS_LATER] = { "in use", "sessions use the partitions: some are kept later" },
	};
	const struct conf *c = m->ctl->conf;
	struct ctl_line line;
	struct json_out *o;
	struct sql_result r;
	int64_t events = 0;
	int kept;

	m->sql = sql_open(&(struct sql_options){ .url = conf_string(c, "postgres", "url"),
				  .application = "onboardctl",
				  .want = SQL_WANT_WRITABLE },
		e);
	if (!m->sql || sql_run(m->sql, m->mem, &server_now, NULL, &r, e))
		return -1;
	m->since = sql_text(&r, 0, 0);
	m->owner = outbox_owner_new();
	kept = outbox_keep(m->sql, m->mem, conf_int(c, "outbox", "retention"), NULL, NULL, e);
	if (kept < 0 || keys_forget(m, e) || behind_count(m, &events, e) ||
		(events > 0 && sweep(m, &events, e)))
		return -1;
	if (m->ctl->json) {
		o = ctl_line_begin(&line);
		ctl_json_text(o, "partitions", words[kept].json);
		json_out_i64(o, "swept", events);
		ctl_line_print(&line);
	} else {
		printf("%s; %" PRId64 " events that had stayed behind are published\n",
			words[kept].text, events);
	}
	return 0;
}

int
ctl_maintain(struct ctl *c, int argc)
{
	struct maintain m = { .ctl = c };
	struct err e = ERR_INIT;
	int code = CTL_DONE;

	c->verb = "db maintain";
	if (argc > 2)
		return ctl_fail(c, CTL_USAGE, "takes no more words");
	m.mem = arena_new(1 << 14, ARENA_MAX);
	if (maintain(&m, &e) < 0)
		code = ctl_fail_err(c, &e);
	sql_close(m.sql);
	arena_free(m.mem);
	return code;
}
