/* SPDX-License-Identifier: MIT */
/*
 * onboard-eventlog stores every event as a document in `events`. The document's id
 * is the event's, so an event that arrives twice makes one document. When a user
 * is deleted, it removes name and e-mail from the payloads of that user's events.
 */
#include "link/doc_bulk.h"
#include "run/consumer.h"
#include "model/doc_indexes.h"
#include "model/event_document.h"
#include "model/event_forget.h"

#include "base/clock.h"

/* A user with many events takes long, so each page tells the watchdog that we live. */
static bool
strip_goes_on(void *arg)
{
	return consumer_wait(arg, 0);
}

/* Users deleted in this batch, and users deleted earlier whose events arrive late. */
static int
names_forget(struct consumer *c, struct batch *b, struct err *e)
{
	struct doc *d = consumer_doc(c);
	struct event_users gone, named;

	event_users_init(&gone, b->mem, 2 * b->n);
	event_users_init(&named, b->mem, b->n);
	for (size_t i = 0; i < b->n; i++) {
		const struct event *ev = b->d[i].ev;

		if (ev->kind == EVENT_DELETED)
			gone.at[gone.n++] = ev->user_id;
		if (ev->username)
			named.at[named.n++] = ev->user_id;
	}
	return event_forget_remember(d, b->mem, &gone, e) ||
			event_forget_look(d, b->mem, &named, &gone, e) ||
			event_forget_strip(d, &gone, strip_goes_on, c, e)
		? -1
		: 0;
}

static int
eventlog_handle(struct consumer *c, void *state, struct batch *b, struct err *e)
{
	struct doc_bulk *bulk = doc_bulk_new(b->mem, EVENT_COLLECTION);
	struct doc_body *body = doc_new(b->mem);
	size_t *which = arena_alloc(b->mem, b->n * sizeof *which), n = 0;
	const struct doc_item *items;
	int64_t now = clock_wall_us();
	struct err why;

	(void)state;
	must(which);
	for (size_t i = 0; i < b->n; i++) {
		why = ERR_INIT;
		event_document(body, b->d[i].ev, now, false);
		if (doc_bulk_insert(bulk, body, &why)) {
			b->d[i].out = doc_full(body) ? OUT_REJECT : OUT_RETRY;
			b->d[i].why = consumer_why(b, &why);
		} else {
			which[n++] = i;
		}
	}
	if (n > 0 && doc_bulk_run(consumer_doc(c), bulk, &items, e))
		return -1;
	for (size_t i = 0; i < n; i++) {
		struct delivery *d = &b->d[which[i]];

		d->out = items[i].fate != DOC_FAILED   ? OUT_DONE
			: items[i].kind == ERR_INVALID ? OUT_REJECT
						       : OUT_RETRY;
		d->why = items[i].why;
	}
	if (names_forget(c, b, e) == 0)
		return 0;
	/* a stored event that may still hold the name is not done */
	for (size_t i = 0; i < n; i++)
		if (b->d[which[i]].out == OUT_DONE && b->d[which[i]].ev->kind != EVENT_ACTIVITY)
			b->d[which[i]].out = OUT_UNSET;
	return -1;
}

int
main(int argc, char **argv)
{
	static const struct handler eventlog = { .name = "eventlog",
		.summary = "Stores every event in MongoDB.",
		.needs = NEED_DOC,
		.handle = eventlog_handle };

	return consumer_main(argc, argv, &eventlog);
}
