/* SPDX-License-Identifier: MIT */
/*
 * One transaction for many signups, and a verdict on each. Users, outbox and
 * answers join on the id, which the statement takes from the sequence. They never
 * join on a name: two requests for one name may be in the same batch.
 *
 *	inserted             → 201
 *	not inserted         → a second statement asks why: the name is taken (409);
 *	                       the row is ours (the answer to COMMIT was lost);
 *	                       another request has the key (its answer counts);
 *	                       or none of these is true any more: try again
 *	deadlock             → try the same batch again
 *	any other data error → try each signup alone, so that one bad row fails alone
 *	the answer was lost  → ask whether the events are there
 */
#include "signup.h"

#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "user_cache.h"

#define BATCH_MAX 512
#define ARRAY_BYTES (16u << 20)
#define TURNS_MAX 5
#define AGAIN_MS 200
#define UNSURE_MS 6000

#define INPUT \
	"WITH input AS MATERIALIZED (SELECT nextval('users_id_seq') AS id, t.*," \
	" CASE WHEN t.city_id IS NOT NULL THEN nextval('addresses_id_seq') END AS address_id" \
	" FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[]," \
	" $7::date[], $8::uuid[], $9::text[], $10::text[], $11::text[], $12::text[]"
#define COLUMNS \
	" AS t (username, email, name, city_id, street, postal_code, day, event_id, head, tail, trace," \
	" country"
#define REST \
	" a AS (INSERT INTO addresses (id, street, postal_code, city_id)" \
	" SELECT i.address_id, i.street, i.postal_code, i.city_id FROM input i JOIN u ON u.id = i.id" \
	" WHERE i.city_id IS NOT NULL)," OUTBOX_STORE( \
		"SELECT i.day, i.event_id, '" EVENT_TYPE_CREATED \
		"', i.id, i.head || i.id || i.tail, i.trace" \
		" FROM input i JOIN u ON u.id = i.id", \
		"SELECT $13::uuid, min(i.day), max(i.day), array_agg(i.event_id)" \
		" FROM input i JOIN u ON u.id = i.id HAVING count(*) > 0")
#define USERS \
	" u AS (INSERT INTO users (id, username, email, name, address_id, city_id, country)" \
	" SELECT i.id, i.username, i.email, i.name, i.address_id, i.city_id, i.country FROM input i"
#define VERDICT " SELECT i.n, i.id FROM input i JOIN u ON u.id = i.id"

static const struct sql_statement insert_plain = { "signup_insert",
	INPUT ") WITH ORDINALITY" COLUMNS ", n))," USERS
	      " ORDER BY i.n ON CONFLICT DO NOTHING RETURNING id)," REST VERDICT };

/* With keys: inserts only while the claim is still ours, and stores the answer beside it. */
static const struct sql_statement insert_keyed = { "signup_insert_keyed",
	INPUT
	", $14::text[]) WITH ORDINALITY" COLUMNS ", key, n)),"
	" own AS MATERIALIZED (SELECT k.claim FROM signup_keys k JOIN input i ON i.key = k.key"
	" AND i.event_id = k.claim WHERE k.user_id IS NULL AND k.taken IS NULL FOR UPDATE OF k)," USERS
	" WHERE i.key IS NULL OR i.event_id IN (SELECT claim FROM own)"
	" ORDER BY i.n ON CONFLICT DO NOTHING RETURNING id)," REST
	", k AS (UPDATE signup_keys s SET user_id = i.id FROM input i JOIN u ON u.id = i.id"
	" WHERE s.key = i.key)" VERDICT };

/* Why each signup was not inserted, in the given order. Stores the answer beside its key. */
static const struct sql_statement verdicts = { "signup_verdicts",
	"WITH v AS MATERIALIZED (SELECT t.*,"
	" EXISTS (SELECT FROM users WHERE lower(username) = lower(t.username)) AS by_name,"
	" EXISTS (SELECT FROM users WHERE email = t.email) AS by_email,"
	" (SELECT o.user_id FROM outbox o WHERE o.day = t.day AND o.event_id = t.event_id) AS own"
	" FROM unnest($1::text[], $2::text[], $3::date[], $4::uuid[], $5::text[]) WITH ORDINALITY"
	" AS t (username, email, day, event_id, key, n)),"
	" k AS (UPDATE signup_keys s SET taken = concat_ws(' ', CASE WHEN v.by_name THEN 'username' END,"
	" CASE WHEN v.by_email THEN 'email' END) FROM v WHERE v.key IS NOT NULL AND s.key = v.key"
	" AND s.claim = v.event_id AND s.user_id IS NULL AND v.own IS NULL AND (v.by_name OR v.by_email))"
	" SELECT v.n, v.by_name, v.by_email, v.own, v.key IS NOT NULL AND NOT EXISTS (SELECT"
	" FROM signup_keys s WHERE s.key = v.key AND s.claim = v.event_id) FROM v" };

enum {
	A_USERNAME,
	A_EMAIL,
	A_NAME,
	A_CITY,
	A_STREET,
	A_POSTAL,
	A_DAY,
	A_EVENT,
	A_HEAD,
	A_TAIL,
	A_TRACE,
	A_COUNTRY,
	A_KEY,
	A_COUNT
};

struct signup_batch {
	struct signups *all;
	struct signup *list[BATCH_MAX]; /* NULL: answered already */
	size_t count;
	bool keyed;     /* a signup in it has an Idempotency-Key */
	bool unsure;    /* the answer to its COMMIT was lost */
	struct uuid id; /* of its row in outbox_unpublished */
	char id_text[UUID_TEXT_SIZE];
	int64_t began_us;
	struct sql_array arrays[A_COUNT];
	struct sql_params params;
	struct arena *mem;
	struct loop_timer *again; /* the database is away: when to ask it again */
	int64_t until_ms;         /* how long to go on asking */
	bool waiting;             /* until the timer again fires */
};

static void verdicts_ask(void *arg);

struct signup_batch *
signup_batch_new(struct signups *all)
{
	struct signup_batch *b = must_calloc(1, sizeof *b);

	b->all = all;
	b->mem = arena_new(1 << 14, 16 << 20);
	b->again = loop_timer_new(all->api->loop, verdicts_ask, b);
	sql_arrays_init(b->arrays, A_COUNT, ARRAY_BYTES);
	return b;
}

void
signup_batch_free(struct signup_batch *b)
{
	if (!b)
		return;
	sql_arrays_fini(b->arrays, A_COUNT);
	loop_timer_free(b->again);
	arena_free(b->mem);
	free(b);
}

static void
batch_end(struct signup_batch *b)
{
	b->all->busy = false;
	signup_next(b->all);
}

/* Puts the signups back to the front of the queue, in their order. */
static void
batch_requeue(struct signup_batch *b, bool alone)
{
	struct err e = ERR_INIT;

	err_set(&e, ERR_AWAY, "no verdict after %d tries", TURNS_MAX);
	for (size_t i = b->count; i-- > 0;) {
		struct signup *s = b->list[i];

		if (!s)
			continue;
		if (++s->turns >= TURNS_MAX) {
			signup_fail(s, &e);
			continue;
		}
		s->alone |= alone;
		TAILQ_INSERT_HEAD(&b->all->queue, s, entry);
		b->all->queued++;
	}
}

static void
batch_fail(struct signup_batch *b, const struct err *e)
{
	for (size_t i = 0; i < b->count; i++)
		if (b->list[i])
			signup_fail(b->list[i], e);
}

/* ---- after the commit ---- */

static void
publish_add(struct publisher_batch *out, struct signup *s, struct buf *text)
{
	buf_clear(text);
	buf_add_text(text, s->head);
	buf_add_i64(text, s->user_id);
	buf_add_text(text, s->tail);
	publisher_batch_add(out,
		&(struct publisher_event){ .id = s->event,
			.type = EVENT_TYPE_CREATED,
			.body = buf_text(text),
			.length = text->length,
			.traceparent = http_trace(s->request)->parent });
}

/* Signups with a user's id are in force: publishes their events, tells the caches. */
static void
batch_publish(struct signup_batch *b)
{
	struct api *a = b->all->api;
	struct publisher_batch *out;
	char told[16][4];
	size_t n = 0, countries = 0;

	for (size_t i = 0; i < b->count; i++)
		n += b->list[i] && b->list[i]->user_id;
	if (n == 0)
		return;
	out = publisher_batch_new(&b->id, n * 640);
	for (size_t i = 0; i < b->count; i++) {
		struct signup *s = b->list[i];
		size_t k = 0;

		if (!s || !s->user_id)
			continue;
		publish_add(out, s, &b->all->text);
		while (k < countries && strcmp(told[k], s->place.country) != 0)
			k++;
		if (s->place.city_id && k == countries) {
			user_cache_country_changed(a->cache, s->place.country);
			if (countries < ARRAY_LEN(told))
				memcpy(told[countries++], s->place.country, sizeof told[0]);
		}
	}
	if (fault_hit(FAULT_signup_committed))
		publisher_batch_free(out);
	else
		(void)publisher_push(a->publisher, out); /* full: the sweeper publishes them */
}

static void
answer_created(struct signup_batch *b)
{
	for (size_t i = 0; i < b->count; i++)
		if (b->list[i] && b->list[i]->user_id) {
			signup_created(b->list[i]);
			b->list[i] = NULL;
		}
}

/* ---- signups that were not inserted ---- */

/* These signups may be in force, so clients get a 503 only if the database stays away. */
static void
verdicts_again(struct signup_batch *b, const struct err *e)
{
	if (e->kind == ERR_AWAY && clock_mono_ms() < b->until_ms && !b->all->stopping) {
		loop_timer_set(b->again, AGAIN_MS);
		b->waiting = true;
		return;
	}
	batch_fail(b, e);
	batch_end(b);
}

void
signup_batch_cancel(struct signup_batch *b)
{
	struct err e = ERR_INIT;

	if (!b->waiting)
		return;
	b->waiting = false;
	loop_timer_clear(b->again);
	err_set(&e, ERR_AWAY, "the server is stopping");
	batch_fail(b, &e);
	batch_end(b);
}

static void
on_verdicts(void *arg, const struct sql_result *r, const struct err *e)
{
	struct signup_batch *b = arg;
	struct err why = ERR_INIT;

	if (e) {
		verdicts_again(b, e);
		return;
	}
	for (size_t row = 0; row < r->rows; row++) {
		int64_t n;
		bool name, email, lost;
		struct signup *s;

		if (sql_i64(r, row, 0, &n, &why) || sql_bool(r, row, 1, &name, &why) ||
			sql_bool(r, row, 2, &email, &why) || sql_bool(r, row, 4, &lost, &why))
			continue;
		must(n >= 1 && (size_t)n <= b->count && b->list[n - 1]);
		s = b->list[n - 1];
		if (!sql_null(r, row, 3)) {
			must(sql_i64(r, row, 3, &s->user_id, &why) == 0);
		} else if (lost) { /* another request has the key: its answer is ours, too */
			b->list[n - 1] = NULL;
			signup_key_wait(s);
		} else if (name || email) {
			signup_taken(s, name, email);
			b->list[n - 1] = NULL;
		}
	}
	/* Rows that are ours: of this batch, whose answer was lost. The sweeper has older ones. */
	if (b->unsure)
		batch_publish(b);
	answer_created(b);
	batch_requeue(b, false); /* the user who held the name has gone meanwhile */
	batch_end(b);
}

/* Asks why signups were not inserted. Moves them to the front of the list. */
static void
verdicts_ask(void *arg)
{
	struct signup_batch *b = arg;
	static const unsigned which[] = { A_USERNAME, A_EMAIL, A_DAY, A_EVENT, A_KEY };
	struct err e = ERR_INIT;
	size_t n = 0;

	b->waiting = false;
	for (size_t i = 0; i < b->count; i++)
		if (b->list[i])
			b->list[n++] = b->list[i];
	b->count = n;
	if (n == 0) {
		batch_end(b);
		return;
	}
	for (size_t k = 0; k < ARRAY_LEN(which); k++)
		sql_array_clear(&b->arrays[which[k]]);
	for (size_t i = 0; i < n; i++) {
		sql_array_text(&b->arrays[A_USERNAME], b->list[i]->in.username);
		sql_array_text(&b->arrays[A_EMAIL], b->list[i]->in.email);
		sql_array_text(&b->arrays[A_DAY], b->list[i]->day);
		sql_array_text(&b->arrays[A_EVENT], b->list[i]->event_text);
		sql_array_text(&b->arrays[A_KEY], b->list[i]->key);
	}
	sql_params_init(&b->params);
	for (size_t k = 0; k < ARRAY_LEN(which); k++)
		must(sql_add_array(&b->params, &b->arrays[which[k]], &e) == 0);
	arena_reset(b->mem);
	if (sql_pool_run(service_pool(b->all->api->service, POOL_SIGNUP), b->mem, &verdicts,
		    &b->params, on_verdicts, b, &e))
		verdicts_again(b, &e);
}

/* ---- the transaction ---- */

static void
on_inserted(void *arg, const struct sql_result *r, const struct err *e)
{
	struct signup_batch *b = arg;
	struct api *a = b->all->api;
	struct err why = ERR_INIT;

	metric_observe_us(a->cells[M_BATCH_SECONDS], clock_mono_us() - b->began_us);
	if (e && r->fate == SQL_UNSURE) {
		b->until_ms = clock_mono_ms() + UNSURE_MS;
		b->unsure = true;
		verdicts_ask(b);
		return;
	}
	/* A lock that one signup waits for must not fail the others. */
	if (e && (sql_again(r) || ((e->kind != ERR_AWAY || sql_timed_out(r)) && b->count > 1))) {
		batch_requeue(b, !sql_again(r));
		batch_end(b);
		return;
	}
	if (e) {
		err_set(&why, e->kind, "%s", e->text);
		if (e->kind == ERR_CONFLICT) { /* a city that places.c remembered is gone */
			places_forget(a->places);
			err_set(&why, ERR_AWAY, "the address' city has just gone");
		}
		batch_fail(b, &why);
		batch_end(b);
		return;
	}
	for (size_t row = 0; row < r->rows; row++) {
		int64_t n, id;

		must(sql_i64(r, row, 0, &n, &why) == 0 && sql_i64(r, row, 1, &id, &why) == 0);
		must(n >= 1 && (size_t)n <= b->count);
		b->list[n - 1]->user_id = id;
	}
	batch_publish(b);
	answer_created(b);
	b->until_ms = 0;
	verdicts_ask(b);
}

static void
arrays_add(struct signup_batch *b, const struct signup *s)
{
	struct sql_array *a = b->arrays;
	bool placed = s->place.city_id != 0;

	sql_array_text(&a[A_USERNAME], s->in.username);
	sql_array_text(&a[A_EMAIL], s->in.email);
	sql_array_text(&a[A_NAME], s->in.name);
	if (placed)
		sql_array_i64(&a[A_CITY], s->place.city_id);
	else
		sql_array_text(&a[A_CITY], NULL);
	sql_array_text(&a[A_STREET], placed ? s->in.address.street : NULL);
	sql_array_text(&a[A_POSTAL], placed ? s->in.address.postal_code : NULL);
	sql_array_text(&a[A_DAY], s->day);
	sql_array_text(&a[A_EVENT], s->event_text);
	sql_array_text(&a[A_HEAD], s->head);
	sql_array_text(&a[A_TAIL], s->tail);
	sql_array_text(&a[A_TRACE], http_trace(s->request)->parent);
	sql_array_text(&a[A_COUNTRY], placed ? s->place.country : NULL);
	sql_array_text(&a[A_KEY], s->key);
}

static void
batch_fill(struct signup_batch *b)
{
	struct signups *all = b->all;
	struct signup *s;

	b->count = 0;
	b->keyed = b->unsure = false;
	while ((s = TAILQ_FIRST(&all->queue)) && b->count < all->batch_max) {
		if (s->alone && b->count > 0)
			break;
		TAILQ_REMOVE(&all->queue, s, entry);
		all->queued--;
		b->keyed |= s->key != NULL;
		b->list[b->count++] = s;
		if (s->alone)
			break;
	}
	all->last_rows = b->count;
	metric_set(all->api->cells[M_QUEUE], (int64_t)all->queued);
}

void
signup_batch_run(struct signup_batch *b)
{
	struct api *a = b->all->api;
	struct err e = ERR_INIT;

	batch_fill(b);
	b->id = uuid7_new();
	uuid_format(&b->id, b->id_text);
	for (size_t i = 0; i < A_COUNT; i++)
		sql_array_clear(&b->arrays[i]);
	for (size_t i = 0; i < b->count; i++)
		arrays_add(b, b->list[i]);
	sql_params_init(&b->params);
	for (size_t i = 0; i < A_KEY; i++)
		must(sql_add_array(&b->params, &b->arrays[i], &e) == 0);
	sql_add_text(&b->params, b->id_text);
	if (b->keyed)
		must(sql_add_array(&b->params, &b->arrays[A_KEY], &e) == 0);
	arena_reset(b->mem);
	b->began_us = clock_mono_us();
	metric_add(a->cells[M_BATCHES], 1);
	metric_add(a->cells[M_BATCH_ROWS], b->count);
	if (sql_pool_run(service_pool(a->service, POOL_SIGNUP), b->mem,
		    b->keyed ? &insert_keyed : &insert_plain, &b->params, on_inserted, b, &e)) {
		batch_fail(b, &e);
		batch_end(b);
	}
}
