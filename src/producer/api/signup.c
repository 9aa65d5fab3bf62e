/* SPDX-License-Identifier: MIT */
/*
 * POST /api/users/signup. Signups that come while a transaction is under way
 * form the next one; a signup that comes alone waits for nothing. After the
 * commit the client gets its answer and the publisher gets the event. The outbox
 * has stored the event in any case.
 */
#include "signup.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/json_out.h"
#include "base/log.h"

#define ANSWER_MAX (16u << 10)
#define DELAY_MAX_MS 100
#define ROW_DELAY_US 100 /* for each row, when the broker is 1.5 times api.pace behind */

static void
on_paced(void *arg)
{
	struct signups *all = arg;

	all->paced = false;
	signup_batch_run(all->batch);
}

struct signups *
signups_new(struct api *a)
{
	struct signups *all = must_calloc(1, sizeof *all);

	all->api = a;
	TAILQ_INIT(&all->queue);
	TAILQ_INIT(&all->claiming);
	buf_init(&all->text, ANSWER_MAX);
	all->batch = signup_batch_new(all);
	all->pace = loop_timer_new(a->loop, on_paced, all);
	signups_reload(all, daemon_conf(a->daemon));
	return all;
}

void
signups_reload(struct signups *all, const struct conf *c)
{
	all->queue_max = (size_t)conf_int(c, "api", "queue");
	all->batch_max = (size_t)conf_int(c, "api", "batch");
	all->pace_ms = conf_int(c, "api", "pace");
}

static void
queue_fail(struct signups *all)
{
	struct err e = ERR_INIT;
	struct signup *s;

	err_set(&e, ERR_AWAY, "the server is stopping");
	while ((s = TAILQ_FIRST(&all->claiming))) {
		TAILQ_REMOVE(&all->claiming, s, entry);
		signup_fail(s, &e);
	}
	while ((s = TAILQ_FIRST(&all->queue))) {
		TAILQ_REMOVE(&all->queue, s, entry);
		all->queued--;
		signup_fail(s, &e);
	}
}

void
signups_stop(struct signups *all)
{
	if (!all)
		return;
	all->stopping = true;
	if (all->paced) {
		loop_timer_clear(all->pace);
		all->paced = all->busy = false;
	}
	signup_batch_cancel(all->batch);
	queue_fail(all);
}

void
signups_free(struct signups *all)
{
	if (!all)
		return;
	must(!all->busy && all->queued == 0);
	loop_timer_free(all->pace);
	signup_batch_free(all->batch);
	buf_fini(&all->text);
	free(all);
}

/* ---- answers ---- */

static void
signup_end(struct signup *s)
{
	loop_timer_free(s->again);
	s->again = NULL;
}

void
signup_fail(struct signup *s, const struct err *e)
{
	signup_end(s);
	signup_key_release(s);
	http_answer_error(s->request, e);
}

void
signup_created(struct signup *s)
{
	struct buf *b = &s->all->text;
	struct json_out o;

	signup_end(s);
	metric_add(s->all->api->cells[M_SIGNUPS], 1);
	buf_clear(b);
	json_out_init(&o, b);
	json_out_object(&o, NULL);
	json_out_i64(&o, "id", s->user_id);
	json_out_text(&o, "username", s->in.username);
	json_out_text(&o, "email", s->in.email);
	json_out_text(&o, "status", "created");
	json_out_text(&o, "event_id", s->event_text);
	json_out_end(&o);
	http_answer_json(s->request, 201, b);
}

void
signup_taken(struct signup *s, bool username, bool email)
{
	struct problem_field fields[2];
	size_t n = 0;

	signup_end(s);
	if (username)
		fields[n++] = (struct problem_field){ "username", "is taken" };
	if (email)
		fields[n++] = (struct problem_field){ "email", "is taken" };
	http_answer_problem(s->request, 409,
		username && email  ? "username and email are taken"
			: username ? "username is taken"
				   : "email is taken",
		fields, n);
}

/* ---- the queue ---- */

/*
 * A broker that is slower than the database would fall further and further behind,
 * and events would grow old. So a transaction waits, in proportion to its rows and
 * to how far the broker is behind, DELAY_MAX_MS at most. When the broker is away,
 * nothing waits for it.
 */
static int64_t
pace_delay_ms(const struct signups *all)
{
	int64_t over = publisher_behind_ms(all->api->publisher) - all->pace_ms / 2, ms;

	if (all->pace_ms == 0 || over <= 0)
		return 0;
	ms = (int64_t)all->last_rows * ROW_DELAY_US * over / all->pace_ms / 1000;
	return ms < DELAY_MAX_MS ? ms : DELAY_MAX_MS;
}

void
signup_next(struct signups *all)
{
	int64_t wait;

	if (all->stopping)
		queue_fail(all);
	if (all->busy || all->queued == 0)
		return;
	all->busy = true;
	wait = pace_delay_ms(all);
	all->paced = wait > 0;
	if (wait)
		loop_timer_set(all->pace, wait);
	else
		signup_batch_run(all->batch);
}

void
signup_enqueue(struct signup *s)
{
	struct signups *all = s->all;
	struct err e = ERR_INIT;

	if (all->queued >= all->queue_max) {
		err_set(&e, ERR_LIMIT, "%zu signups wait already", all->queued);
		signup_fail(s, &e);
		return;
	}
	TAILQ_INSERT_TAIL(&all->queue, s, entry);
	all->queued++;
	metric_set(all->api->cells[M_QUEUE], (int64_t)all->queued);
	signup_next(all);
}

/* ---- a request ---- */

static void
text_unless_empty(struct json_out *o, const char *name, const char *text)
{
	if (text && *text)
		json_out_text(o, name, text);
}

/* Makes the event in two parts: the user's id, which the database assigns, stands between them. */
static int
event_make(struct signup *s, struct err *e)
{
	struct arena *mem = http_mem(s->request);
	struct buf *b = &s->all->text;
	char now[CLOCK_RFC3339_SIZE];
	struct json_out o;

	s->event = uuid7_new();
	uuid_format(&s->event, s->event_text);
	outbox_day(&s->event, s->day);
	clock_format_rfc3339(clock_wall_us(), now);
	buf_clear(b);
	json_out_init(&o, b);
	json_out_object(&o, NULL);
	json_out_text(&o, "id", s->event_text);
	json_out_text(&o, "type", EVENT_TYPE_CREATED);
	json_out_text(&o, "timestamp", now);
	json_out_object(&o, "payload");
	json_out_name(&o, "user_id");
	s->head = arena_strndup(mem, buf_text(b), b->length);
	buf_clear(b);
	text_unless_empty(&o, "username", s->in.username);
	text_unless_empty(&o, "email", s->in.email);
	json_out_i64(&o, "version", 1);
	text_unless_empty(&o, "name", s->in.name);
	if (s->place.city_id) {
		text_unless_empty(&o, "country", s->place.country);
		text_unless_empty(&o, "city", s->place.city);
	}
	json_out_end(&o);
	json_out_end(&o);
	s->tail = arena_strndup(mem, buf_text(b), b->length);
	return s->head && s->tail && !buf_failed(b) ? 0 : err_set(e, ERR_LIMIT, "no room");
}

static void
signup_placed(struct signup *s)
{
	struct err e = ERR_INIT;

	if (event_make(s, &e))
		signup_fail(s, &e);
	else if (s->key)
		signup_key_claim(s);
	else
		signup_enqueue(s);
}

static void
on_place(void *arg, const struct place *p, const struct err *e)
{
	struct signup *s = arg;

	if (e && e->kind == ERR_INVALID) {
		http_answer_problem(s->request, 422, NULL,
			&(struct problem_field){ "address.country", e->text }, 1);
	} else if (e) {
		signup_fail(s, e);
	} else {
		s->place = *p;
		signup_placed(s);
	}
}

void
signup_post(void *arg, struct http_request *r)
{
	struct api *a = arg;
	const struct json *v = http_json(r);
	struct err e = ERR_INIT;
	struct signup *s;
	int known = 1;

	if (!v)
		return;
	s = arena_alloc(http_mem(r), sizeof *s);
	must(s);
	s->all = a->signups;
	s->request = r;
	user_input_read(v, true, http_mem(r), &s->in);
	if (s->in.error_count) {
		http_answer_problem(r, 422, "some fields are not as they must be", s->in.errors,
			s->in.error_count);
		return;
	}
	if (signup_key_read(s))
		return;
	if (s->in.has_address && !s->in.address_null)
		known = place_find(a->places, &s->in.address, &s->place, on_place, s, &e);
	if (known < 0)
		signup_fail(s, &e);
	else if (known)
		signup_placed(s);
}
