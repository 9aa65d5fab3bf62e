/* SPDX-License-Identifier: MIT */
/* Reading through the tiers: memory, Redis, the database; one making for one key at a time. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "http/http.h"
#include "run/tiers_own.h"

/* In the arena of the request that began the flight: gone once that request is answered. */
struct tiers_read {
	struct tiers *tiers;
	const struct tiers_source *source;
	struct flight *flight;
	struct http_request *request;
	void *arg;
};

/* ---- answers ---- */

struct made {
	const struct tiers_source *source;
	const char *text;
	size_t length;
	int64_t version;
};

static void
answer_made(const void *arg, struct http_request *r)
{
	const struct made *m = arg;

	if (m->source->answer)
		m->source->answer(r, m->text, m->length, m->version);
	else
		http_answer(r, 200, "application/json", m->text, m->length);
}

static void
answer_error(const void *arg, struct http_request *r)
{
	http_answer_error(r, arg);
}

/* ---- keeping ---- */

static void
memory_put(struct tiers *t, const char *key, const struct made *m)
{
	bool local = m->source->kind->local;

	lru_put(local ? t->local : t->shared, key, m->text, m->length, m->version);
	if (!local)
		metric_set(t->cells[M_MEMORY_ENTRIES], (int64_t)lru_entries(t->shared));
}

static void
redis_put_guarded(struct tiers *t, const char *key, const struct made *m, int64_t ttl_s)
{
	struct guarded_write w;

	memcpy(w.key, key, strlen(key) + 1);
	tiers_guard_key(m->source->kind, key, w.guard);
	guarded_write_make(&w, m->version, m->text, m->length, ttl_s, false);
	(void)!kv_async_script(t->kv, guarded_script(), 2, GUARDED_WORDS, w.argv, w.lengths,
		tiers_ignore, NULL, NULL);
}

static void
redis_put_plain(struct tiers *t, const char *key, const struct made *m, int64_t ttl_s)
{
	char ttl[TEXT_I64_SIZE];
	const char *argv[5] = { "SET", key, m->text, "EX", ttl };
	const size_t lengths[5] = { 3, strlen(key), m->length, 2, text_i64(ttl_s, ttl) };

	t->plain_put_ms = clock_mono_ms();
	(void)!kv_async_run(t->kv, 5, argv, lengths, tiers_ignore, NULL, NULL);
}

static void
redis_put(struct tiers *t, const char *key, const struct made *m)
{
	const struct tiers_kind *kind = m->source->kind;
	int64_t ttl_s = kind->ttl_s ? kind->ttl_s : t->ttl_s;

	if (kind->local || !tiers_usable(t))
		return;
	if (kind->guard)
		redis_put_guarded(t, key, m, ttl_s);
	else
		redis_put_plain(t, key, m, ttl_s);
}

/* ---- the database ---- */

void
tiers_failed(struct tiers_read *read, const struct err *e)
{
	flight_land(read->flight, answer_error, e);
}

void
tiers_made(struct tiers_read *read, const struct buf *text, int64_t version)
{
	const struct made m = { read->source, buf_text(text), text->length, version };
	const char *key = flight_key(read->flight);
	struct err e = ERR_INIT;

	if (buf_failed(text)) {
		err_set(&e, ERR_INTERNAL, "the answer for %s is too large", key);
		tiers_failed(read, &e);
		return;
	}
	if (m.source->kind->local || !flight_forgotten(read->flight)) {
		redis_put(read->tiers, key, &m);
		memory_put(read->tiers, key, &m);
	}
	flight_land(read->flight, answer_made, &m);
}

static void
database_ask(struct tiers_read *read)
{
	struct err e = ERR_INIT;

	flight_again(read->flight);
	if (!read->source->kind->local)
		metric_add(read->tiers->cells[M_REDIS_MISSES], 1);
	if (read->source->ask(read->arg, read, &e))
		tiers_failed(read, &e);
}

/* ---- Redis ---- */

static void
on_redis_text(void *arg, const struct kv_reply *r, const struct err *e)
{
	struct tiers_read *read = arg;
	struct made m = { .source = read->source };

	if (e || r->type != KV_TEXT ||
		!m.source->accept(read->arg, http_mem(read->request), r->text, r->length,
			&m.version)) {
		database_ask(read);
		return;
	}
	m.text = r->text;
	m.length = r->length;
	metric_add(read->tiers->cells[M_REDIS_HITS], 1);
	if (!flight_forgotten(read->flight))
		memory_put(read->tiers, flight_key(read->flight), &m);
	flight_land(read->flight, answer_made, &m);
}

/* -1: Redis is away, or its copies may not be used. */
static int
redis_ask(struct tiers_read *read)
{
	const char *argv[2] = { "GET", flight_key(read->flight) };

	if (!tiers_usable(read->tiers))
		return -1;
	return kv_async_run(read->tiers->kv, 2, argv, NULL, on_redis_text, read, NULL);
}

/* ---- a request ---- */

bool
tiers_answer(struct tiers *t, const struct tiers_source *s, const char *key, struct http_request *r)
{
	struct made m = { .source = s };

	if (s->kind->local)
		m.text = lru_get(t->local, key, &m.length, &m.version);
	else if (tiers_usable(t))
		m.text = lru_get(t->shared, key, &m.length, &m.version);
	metric_add(t->cells[m.text ? M_MEMORY_HITS : M_MEMORY_MISSES], 1);
	if (!m.text)
		return false;
	answer_made(&m, r);
	return true;
}

void
tiers_load(struct tiers *t, const struct tiers_source *s, const char *key, struct http_request *r,
	void *arg)
{
	bool local = s->kind->local;
	struct tiers_read *read;
	struct flight *f;

	if (!local && !tiers_usable(t))
		flights_forget_older(t->flights, key, s->kind->join_ms);
	f = flight_join(t->flights, key, r);
	if (!f)
		return;
	read = arena_alloc(http_mem(r), sizeof *read);
	must(read);
	*read = (struct tiers_read){ t, s, f, r, arg };
	if (local || redis_ask(read))
		database_ask(read);
}
