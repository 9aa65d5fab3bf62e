/* SPDX-License-Identifier: MIT */
/* pause | resume CONSUMER: the flag of run/pause.h, and whether its instances follow. */
#include "run/pause.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "ctl/broker/look.h"
#include "ctl/broker/pause.h"
#include "ctl/kit/audit.h"
#include "ctl/kit/json.h"
#include "ctl/kit/operator.h"
#include "ctl/kit/options.h"
#include "ctl/kit/servers.h"
#include "ctl/verbs.h"

#define FOLLOW_MS 15000 /* a look each second, and what is held has to be finished */
#define COME_BACK_MS 5000
#define CONFIRM_MS 5000
#define WHY_MAX 500

static int
flag_raise(struct broker *b, const char *consumer, const char *why, struct err *e)
{
	char queue[PAUSE_NAME_SIZE], who[OPERATOR_SIZE], at[CLOCK_RFC3339_SIZE];
	struct json_out o;
	struct buf body;
	int rc = 0;

	pause_queue_name(consumer, queue);
	clock_format_rfc3339(clock_wall_us(), at);
	buf_init(&body, 8192);
	json_out_init(&o, &body);
	json_out_object(&o, NULL);
	json_out_text(&o, "who", operator_at_host(who));
	json_out_text(&o, "at", at);
	json_out_text(&o, "why", why);
	json_out_end(&o);
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
pause_flag(struct broker *b, const char *consumer, bool *paused, struct err *e)
{
	char name[PAUSE_NAME_SIZE];
	uint32_t depth = 0;
	bool there;
	int rc;

	pause_queue_name(consumer, name);
	rc = look_there(b, name, &there, &depth, NULL, e);
	*paused = depth > 0;
	return rc;
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
		bool there;

		if (look_there(b, queue, &there, depth, consumers, e))
			return -1;
		/* the flag may be there before the queue */
		if (!there || (*consumers > 0) == attached || clock_mono_ms() >= end)
			return 0;
		if (broker_pump(b, 200, e))
			return -1;
	}
}

static void
tell(const struct ctl *c, const char *consumer, bool paused, uint32_t consumers, uint32_t depth)
{
	struct ctl_line line;
	struct json_out *o;

	if (c->json) {
		o = ctl_line_begin(&line);
		ctl_json_text(o, "consumer", consumer);
		ctl_json_text(o, "state", paused ? "paused" : "running");
		json_out_i64(o, "consumers", consumers);
		json_out_i64(o, "depth", depth);
		ctl_line_print(&line);
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
flag_set(struct ctl *c, int argc, char **argv, bool pausing)
{
	const struct consumer_row *t = NULL;
	struct audit a = { .what = argv[0], .fd = -1 };
	const struct ctl_option options[] = { { "--why", .text = &a.why }, { 0 } };
	struct err e = ERR_INIT;
	struct broker *b;
	int rc;

	if (options_take(c, options, 1, argc, argv) < 0)
		return CTL_USAGE;
	if (!argv[1])
		return ctl_fail(c, CTL_USAGE, "want: %s CONSUMER [--why TEXT]", argv[0]);
	t = option_consumer(c, argv[1]);
	if (!t)
		return CTL_USAGE;
	if (a.why && strlen(a.why) > WHY_MAX)
		return ctl_fail(c, CTL_USAGE, "--why has %d bytes at most", WHY_MAX);
	b = ctl_broker(c, &e);
	if (!b)
		return ctl_fail_err(c, &e);
	rc = pausing ? pause_do(c, b, t, &a, &e) : resume_do(c, b, t, &a, &e);
	audit_end(&a, rc == 0, rc ? e.text : "done");
	broker_free(b);
	return rc ? ctl_fail_err(c, &e) : CTL_DONE;
}

int
ctl_pause(struct ctl *c, int argc, char **argv)
{
	return flag_set(c, argc, argv, true);
}

int
ctl_resume(struct ctl *c, int argc, char **argv)
{
	return flag_set(c, argc, argv, false);
}
