/* SPDX-License-Identifier: MIT */
/* pause | resume CONSUMER: the flag of run/pause.h, and whether its instances follow. */
#include "run/pause.h"

#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/kit/audit.h"
#include "base/clock.h"
#include "base/json.h"
#include "ctl/broker/ops.h"

#define FOLLOW_MS 15000 /* a look each second, and what is held has to be finished */
#define COME_BACK_MS 5000
#define CONFIRM_MS 5000
#define WHY_MAX 500

/* Who pauses: for others to ask. */
static void
who_am_i(char *out, size_t size)
{
	const char *name = getenv("SUDO_USER");
	char room[4096], host[64] = "";
	struct passwd p, *found = NULL;

	if (!name || !*name)
		name = getpwuid_r(geteuid(), &p, room, sizeof room, &found) == 0 && found
			? p.pw_name
			: "?";
	(void)gethostname(host, sizeof host - 1);
	snprintf(out, size, "%s@%s", name, host);
}

static int
flag_raise(struct broker *b, const char *consumer, const char *why, struct err *e)
{
	char queue[PAUSE_NAME_SIZE], who[200], at[CLOCK_RFC3339_SIZE];
	struct buf body;
	int rc = 0;

	pause_queue_name(consumer, queue);
	who_am_i(who, sizeof who);
	clock_format_rfc3339(clock_wall_us(), at);
	buf_init(&body, 8192);
	ops_json_open(&body);
	ops_json_text(&body, "who", who);
	ops_json_text(&body, "at", at);
	ops_json_text(&body, "why", why);
	buf_add_char(&body, '}');
	for (int i = 0; i < PAUSE_COPIES && rc == 0; i++)
		rc = broker_publish(b,
			&(struct broker_publish){ .exchange = "",
				.routing_key = queue,
				.mandatory = true,
				.body = buf_text(&body),
				.length = body.length,
				.props = { .content_type = "application/json",
					.delivery_mode = 2 } },
			NULL, e);
	buf_fini(&body);
	return rc || broker_settle(b, CONFIRM_MS, e) ? -1 : 0;
}

int
pause_read(struct broker *b, const char *consumer, struct arena *mem, struct pause_info *out,
	struct err *e)
{
	char queue[PAUSE_NAME_SIZE];
	const struct json *v;
	struct broker_message *m;

	*out = (struct pause_info){ 0 };
	pause_queue_name(consumer, queue);
	if (broker_get(b, queue, mem, &m, e))
		return -1;
	if (!m)
		return 0;
	if (broker_nack(b, m->tag, false, true, e) || broker_flush(b, e))
		return -1;
	if (json_parse(mem, m->body, m->length, &v, NULL) || json_type(v) != JSON_OBJECT)
		return 0; /* not by us: paused it is all the same */
	*out = (struct pause_info){ json_get(v, "who") ? json_string(json_get(v, "who")) : NULL,
		json_get(v, "at") ? json_string(json_get(v, "at")) : NULL,
		json_get(v, "why") ? json_string(json_get(v, "why")) : NULL };
	return 0;
}

/* Until as many consumers are attached as fits, or time is up; *consumers: the last look. */
static int
follow(struct broker *b, const char *queue, bool attached, int64_t wait_ms, uint32_t *consumers,
	uint32_t *depth, struct err *e)
{
	int64_t end = clock_mono_ms() + wait_ms;

	for (;;) {
		struct err why = ERR_INIT;

		if (look_depth(b, queue, depth, consumers, &why)) {
			if (why.kind != ERR_MISSING)
				return err_set(e, why.kind, "%s", why.text);
			return 0; /* no queue yet: the flag is there before it */
		}
		if ((*consumers > 0) == attached || clock_mono_ms() >= end)
			return 0;
		if (broker_pump(b, 200, e))
			return -1;
	}
}

static void
tell(const struct ctl *c, const char *consumer, bool paused, uint32_t consumers, uint32_t depth)
{
	struct buf b;

	if (c->json) {
		buf_init(&b, 4096);
		ops_json_open(&b);
		ops_json_text(&b, "consumer", consumer);
		ops_json_text(&b, "state", paused ? "paused" : "running");
		ops_json_i64(&b, "consumers", consumers);
		ops_json_i64(&b, "depth", depth);
		ops_json_print(&b);
		buf_fini(&b);
	} else if (paused) {
		printf("%s is paused; %" PRIu32
		       " events wait. `onboardctl resume %s` lets it go on.\n",
			consumer, depth, consumer);
	} else if (consumers > 0) {
		printf("%s goes on, %" PRIu32 " attached; %" PRIu32 " events wait.\n", consumer,
			consumers, depth);
	} else {
		printf("%s may go on, but none is attached: is onboard-%s running?\n", consumer,
			consumer);
	}
}

static int
audited_begin(struct ctl *c, struct audit *a, const struct consumer_row *t, struct err *e)
{
	return audit_begin_on(c, a, (const char *const[]){ "consumer", t->name, NULL }, e);
}

static int
pause_do(struct ctl *c, struct broker *b, const struct consumer_row *t, struct audit *a,
	struct err *e)
{
	uint32_t consumers = 0, depth = 0;
	bool paused;

	if (pause_look(b, t->name, &paused, e) || audited_begin(c, a, t, e) ||
		flag_raise(b, t->name, a->why, e) || pause_look(b, t->name, &paused, e))
		return -1;
	if (!paused)
		return err_set(e, ERR_INTERNAL, "the broker did not keep the flag");
	if (follow(b, t->queue, false, FOLLOW_MS, &consumers, &depth, e))
		return -1;
	if (consumers > 0)
		return err_set(e, ERR_INTERNAL,
			"the flag is set, but %" PRIu32 " still consume from %s: a program of "
			"another kind, or an instance that cannot finish what it holds",
			consumers, t->queue);
	tell(c, t->name, true, consumers, depth);
	return 0;
}

static int
resume_do(struct ctl *c, struct broker *b, const struct consumer_row *t, struct audit *a,
	struct err *e)
{
	char queue[PAUSE_NAME_SIZE];
	uint32_t consumers = 0, depth = 0;
	bool paused;

	if (pause_flag(b, t->name, &paused, e))
		return -1;
	if (!paused)
		return err_set(e, ERR_MISSING, "%s is not paused", t->name);
	pause_queue_name(t->name, queue);
	if (audited_begin(c, a, t, e) || broker_queue_purge(b, queue, NULL, e) ||
		follow(b, t->queue, true, COME_BACK_MS, &consumers, &depth, e))
		return -1;
	tell(c, t->name, false, consumers, depth);
	return 0;
}

static int
run(struct ctl *c, int argc, char **argv, bool pausing)
{
	const struct consumer_row *t = NULL;
	struct audit a = { .what = argv[0], .fd = -1 };
	const char *why = NULL, *name = NULL;
	struct err e = ERR_INIT;
	struct broker *b;
	int rc;

	for (int i = 1; i < argc; i++) {
		int o = ops_option(c, argc, argv, &i, "--why", &why);

		if (o < 0)
			return CTL_USAGE;
		if (o > 0)
			continue;
		if (name || argv[i][0] == '-')
			return ctl_fail(c, CTL_USAGE, "what is \"%s\"?", argv[i]);
		name = argv[i];
	}
	if (!name)
		return ctl_fail(c, CTL_USAGE, "want: %s CONSUMER [--why TEXT]", argv[0]);
	t = ops_consumer(c, name);
	if (!t)
		return CTL_USAGE;
	if (why && strlen(why) > WHY_MAX)
		return ctl_fail(c, CTL_USAGE, "--why has %d bytes at most", WHY_MAX);
	b = ctl_broker(c, &e);
	if (!b)
		return ctl_fail_err(c, &e);
	a.why = why;
	rc = pausing ? pause_do(c, b, t, &a, &e) : resume_do(c, b, t, &a, &e);
	audit_end(&a, rc == 0, rc ? e.text : "done");
	broker_free(b);
	return rc ? ctl_fail_err(c, &e) : CTL_DONE;
}

int
ctl_pause(struct ctl *c, int argc, char **argv)
{
	return run(c, argc, argv, true);
}

int
ctl_resume(struct ctl *c, int argc, char **argv)
{
	return run(c, argc, argv, false);
}
