/* SPDX-License-Identifier: MIT */
/*
 * The mailer handles a batch in small groups. One statement claims a group, the
 * mails go out one by one, and another statement settles the group. A mailer
 * that is killed leaves its current group in doubt, so a group is small.
 */
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "mailer.h"

#define GATHER_MS 100 /* a group waits at most so long for the rate to let it grow */
#define GROUP_MS 2000 /* after so long a group starts no further mail */
#define BUSY_MS 8000  /* longer than another mailer's group takes */
#define BUSY_LOOK_MS 100
#define END_MS 2000 /* after SIGTERM the mailer continues its batch for so long */

/* False: the mailer must stop now. Waits only until it is told to stop. */
static bool
mailer_goes_on(struct mailer *m, struct consumer *c, int64_t wait_ms)
{
	if (consumer_wait(c, wait_ms))
		return true;
	if (!m->end_ms)
		m->end_ms = clock_mono_ms() + END_MS;
	return wait_ms == 0 && clock_mono_ms() < m->end_ms;
}

/* Writes every result that mail_log lacks, including results of earlier groups. */
static int
results_settle(struct mailer *m, struct consumer *c, struct arena *mem, struct err *e)
{
	if (m->result_count == 0)
		return 0;
	if (mail_log_settle(consumer_sql(c), mem, m->owner, m->results, m->result_count, e))
		return -1;
	m->result_count = 0;
	return 0;
}

static void
item_settle(struct mailer *m, struct mail_item *item, enum outcome out, const char *why,
	enum mail_count count)
{
	item->d->out = out;
	item->d->why = why;
	metric_add(m->cells[count], 1);
}

/* Turns the server's answer into the event's outcome and the row's state. */
static void
answer_apply(struct mailer *m, struct arena *mem, struct mail_item *item,
	const struct smtp_answer *a, struct mail_result *r)
{
	const char *why = arena_strdup(mem, a->why), *id = item->d->ev->id;

	*r = (struct mail_result){ .user_id = item->d->ev->user_id,
		.code = a->code,
		.tried = true };
	if (a->fate != SMTP_SENT)
		memccpy(r->error, a->why, '\0', sizeof r->error);
	r->error[sizeof r->error - 1] = '\0';
	switch (a->fate) {
	case SMTP_SENT:
		r->state = MAIL_SENT;
		item_settle(m, item, OUT_DONE, NULL, MAIL_COUNT_SENT);
		log_debug("mail sent", LOG_S("event_id", id));
		break;
	case SMTP_AGAIN:
		r->state = item->d->last ? MAIL_FAILED : MAIL_PENDING;
		item_settle(m, item, OUT_RETRY, why,
			item->d->last ? MAIL_COUNT_FAILED : MAIL_COUNT_AGAIN);
		break;
	case SMTP_REFUSED:
		r->state = MAIL_FAILED;
		item_settle(m, item, OUT_REJECT, why, MAIL_COUNT_FAILED);
		break;
	case SMTP_UNSURE:
		r->state = MAIL_UNKNOWN;
		item_settle(m, item, OUT_DONE, NULL, MAIL_COUNT_UNKNOWN);
		log_warn("a mail may have arrived or not: onboardctl mail list --state unknown",
			LOG_S("event_id", id), LOG_I("user_id", r->user_id), LOG_S("why", a->why));
		break;
	case SMTP_AWAY:
		r->state = MAIL_PENDING;
		r->tried = false;
		break;
	}
}

/* Sends one claimed mail. -1: the server is away, and the claim is given up. */
static int
mail_send(struct mailer *m, struct batch *b, struct mail_item *item, const char *message_id,
	struct err *e)
{
	const struct event *ev = item->d->ev;
	struct mail_result *r = &m->results[m->result_count++];
	struct smtp_answer a = { .fate = SMTP_REFUSED };
	struct err why = ERR_INIT;
	int64_t began = clock_mono_us();

	if (letters_write(m->letters, ev, message_id, clock_wall_us(), &m->message, &why)) {
		memccpy(a.why, why.text, '\0', sizeof a.why - 1);
	} else {
		smtp_send(m->smtp, letters_sender(m->letters), ev->email, buf_text(&m->message),
			m->message.length, &a);
		metric_observe_us(m->seconds, clock_mono_us() - began);
	}
	answer_apply(m, b->mem, item, &a, r);
	if (a.fate == SMTP_AWAY)
		return err_set(e, ERR_AWAY, "smtp is away: %s", a.why);
	return 0;
}

/* We claimed the mail and did not start it, so any mailer may claim it again. */
static void
claim_give_up(struct mailer *m, const struct event *ev)
{
	m->results[m->result_count++] =
		(struct mail_result){ .user_id = ev->user_id, .state = MAIL_PENDING };
}

/* Sends the mails of the group that we claimed, while there is time. Gives up the other claims. */
static int
group_send(struct mailer *m, struct consumer *c, struct batch *b, struct mail_item *const *group,
	const struct mail_claim *claims, size_t n, struct err *e)
{
	int64_t until = clock_mono_ms() + GROUP_MS;
	bool on = true;
	int rc = 0;

	for (size_t i = 0; i < n; i++) {
		if (claims[i].fate != CLAIM_OURS)
			continue;
		on = on && rc == 0 && clock_mono_ms() < until && mailer_goes_on(m, c, 0);
		if (!on) {
			claim_give_up(m, group[i]->d->ev);
			continue;
		}
		rc = mail_send(m, b, group[i], claims[i].message_id, e);
		bucket_take(&m->bucket, 1, clock_mono_us());
		if (fault_hit(FAULT_mailer_answered) && rc == 0) {
			m->faulty = true;
			rc = err_set(e, ERR_AWAY, "mail_log is away (a fault point)");
		}
	}
	return rc;
}

static int
group_handle(struct mailer *m, struct consumer *c, struct batch *b, struct mail_item **group,
	size_t n, struct err *e)
{
	struct mail_claim *claims = arena_alloc(b->mem, n * sizeof *claims);
	char *ids = arena_alloc(b->mem, n * MESSAGE_ID_SIZE);
	struct err later = ERR_INIT;
	int rc;

	must(claims && ids);
	for (size_t i = 0; i < n; i++) {
		char *id = ids + i * MESSAGE_ID_SIZE;

		letters_message_id(m->letters, group[i]->d->ev, id);
		claims[i] = (struct mail_claim){ .ev = group[i]->d->ev, .message_id = id };
	}
	if (mail_log_claim(consumer_sql(c), b->mem, m->owner, claims, n, e))
		return -1;
	for (size_t i = 0; i < n; i++) {
		group[i]->busy = claims[i].fate == CLAIM_BUSY;
		if (claims[i].fate == CLAIM_SENT || claims[i].fate == CLAIM_UNKNOWN)
			item_settle(m, group[i], OUT_DONE, NULL, MAIL_COUNT_ALREADY);
		else if (claims[i].fate == CLAIM_GONE)
			item_settle(m, group[i], OUT_DONE, NULL, MAIL_COUNT_GONE);
	}
	rc = group_send(m, c, b, group, claims, n, e);
	if (m->faulty) {
		m->faulty = false;
		return rc;
	}
	if (results_settle(m, c, b->mem, rc ? &later : e))
		return -1;
	return rc;
}

/* The least mails worth a group: a full group, or as many as the rate allows in GATHER_MS. */
static int64_t
group_least(const struct mailer *m, size_t open)
{
	int64_t least = open < GROUP_MAX ? (int64_t)open : GROUP_MAX;
	int64_t allowed = m->bucket.rate * GATHER_MS / 1000;

	if (m->bucket.rate > 0 && allowed < least)
		least = allowed > 1 ? allowed : 1;
	return least;
}

/*
 * Collects open items, as many as the rate allows. 0 with *n = 0: no item is open.
 * -1: the mailer is stopping.
 */
static int
group_collect(struct mailer *m, struct consumer *c, struct mail_item *items, size_t count,
	struct mail_item **group, size_t *n, struct err *e)
{
	size_t open = 0, free = 0; /* free: open items that no other mailer holds */
	int64_t least, room;

	for (size_t i = 0; i < count; i++) {
		open += items[i].d->out == OUT_UNSET;
		free += items[i].d->out == OUT_UNSET && !items[i].busy;
	}
	*n = 0;
	if (open == 0)
		return 0;
	if (!mailer_goes_on(m, c, free ? 0 : BUSY_LOOK_MS))
		return err_set(e, ERR_AWAY, "the mailer ends");
	least = group_least(m, free ? free : open);
	while ((room = bucket_room(&m->bucket, GROUP_MAX, clock_mono_us())) < least)
		if (!mailer_goes_on(m, c,
			    bucket_wait_us(&m->bucket, least, clock_mono_us()) / 1000 + 1))
			return err_set(e, ERR_AWAY, "the mailer ends");
	for (size_t i = 0; i < count && *n < (size_t)room; i++)
		if (items[i].d->out == OUT_UNSET && items[i].busy != (free > 0))
			group[(*n)++] = &items[i];
	return 0;
}

/* Makes one item for each user who needs a mail. Other deliveries are copies, or need no mail. */
static size_t
items_make(struct mailer *m, struct batch *b, struct mail_item *items)
{
	struct err e = ERR_INIT;
	char id[MESSAGE_ID_SIZE];
	size_t n = 0, k;

	for (size_t i = 0; i < b->n; i++) {
		struct delivery *d = &b->d[i];

		for (k = 0; k < n && items[k].d->ev->user_id != d->ev->user_id; k++)
			;
		if (d->ev->kind != EVENT_CREATED) {
			d->out = OUT_DONE;
		} else if (d->test) {
			letters_message_id(m->letters, d->ev, id);
			d->out = OUT_DONE;
			metric_add(m->cells[MAIL_COUNT_TEST], 1);
			if (letters_write(m->letters, d->ev, id, clock_wall_us(), &m->message,
				    &e)) {
				d->out = OUT_REJECT;
				d->why = consumer_why(b, &e);
			}
		} else if (k == n) {
			items[n++] = (struct mail_item){ .d = d };
		}
	}
	return n;
}

/* Gives copies of an event the outcome of the first one. */
static void
copies_settle(struct batch *b, const struct mail_item *items, size_t n)
{
	for (size_t i = 0; i < b->n; i++)
		for (size_t k = 0; k < n && b->d[i].out == OUT_UNSET; k++)
			if (items[k].d->ev->user_id == b->d[i].ev->user_id) {
				b->d[i].out = items[k].d->out;
				b->d[i].why = items[k].d->why;
			}
}

/* Takes over what a reload has set. */
static void
reload_apply(struct mailer *m)
{
	must(pthread_mutex_lock(&m->lock) == 0);
	if (m->next) {
		letters_free(m->letters);
		m->letters = m->next;
		m->next = NULL;
		m->bucket.rate = m->next_rate;
	}
	must(pthread_mutex_unlock(&m->lock) == 0);
}

int
mailer_handle(struct consumer *c, void *state, struct batch *b, struct err *e)
{
	struct mailer *m = state;
	struct mail_item *items = arena_alloc(b->mem, b->n * sizeof *items);
	struct mail_item *group[GROUP_MAX];
	int64_t until = clock_mono_ms() + BUSY_MS;
	size_t count, n;

	must(items);
	reload_apply(m);
	if (results_settle(m, c, b->mem, e))
		return -1;
	count = items_make(m, b, items);
	for (;;) {
		if (group_collect(m, c, items, count, group, &n, e))
			return -1;
		if (n == 0)
			break;
		if (group[0]->busy && clock_mono_ms() > until)
			for (size_t i = 0; i < n; i++)
				item_settle(m, group[i], OUT_RETRY, "another mailer is at it",
					MAIL_COUNT_AGAIN);
		else if (group_handle(m, c, b, group, n, e))
			return -1;
		if (!group[0]->busy)
			until = clock_mono_ms() + BUSY_MS;
	}
	copies_settle(b, items, count);
	return 0;
}
