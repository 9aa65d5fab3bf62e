/* SPDX-License-Identifier: MIT */
/*
 * Idempotency-Key. A statement of its own claims the key, with the event's id as
 * the claim. The signup's transaction succeeds only while the claim stands, and
 * stores the answer beside it. So a request with the same key finds the answer,
 * or a claim. If it finds a claim it waits; it takes over a claim that is old,
 * since the process that made it must have died.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "model/signup_keys.h"
#include "signup.h"

#define ASK_MS 25
#define WAIT_MS 10000

static const struct sql_statement claim = { "signup_key_claim",
	"WITH c AS (INSERT INTO signup_keys (key, fingerprint, claim) VALUES ($1, encode(sha256(convert_to($2, 'UTF8')), 'hex'), $3::uuid)"
	" ON CONFLICT (key) DO UPDATE SET fingerprint = excluded.fingerprint, claim = excluded.claim,"
	" claimed_at = now(), user_id = NULL, taken = NULL"
	" WHERE signup_keys.claimed_at < now() - " SIGNUP_KEY_LIFE
	" OR (signup_keys.user_id IS NULL AND signup_keys.taken IS NULL"
	" AND signup_keys.fingerprint = excluded.fingerprint"
	" AND signup_keys.claimed_at < now() - interval '3 seconds') RETURNING 1)"
	" SELECT EXISTS (SELECT FROM c), k.fingerprint = encode(sha256(convert_to($2, 'UTF8')), 'hex'),"
	" k.claim, k.user_id, k.taken"
	" FROM (SELECT) AS one LEFT JOIN signup_keys k ON k.key = $1" };

static const struct sql_statement unclaim = { "signup_key_unclaim",
	"DELETE FROM signup_keys WHERE key = $1 AND claim = $2::uuid AND user_id IS NULL"
	" AND taken IS NULL" };

/* The body for the fingerprint, without the order of names, blanks and the e-mail's case. */
static const char *
body_normal(const struct signup *s, struct arena *mem)
{
	const struct address_input *a = &s->in.address;
	const char *const parts[] = { s->in.username, s->in.email, s->in.name, a->street,
		a->postal_code, a->city, a->region, a->country };
	const char *text;
	struct buf b;

	buf_init(&b, 64 << 10);
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		if (parts[i])
			buf_add_json_string(&b, parts[i], strlen(parts[i]));
		buf_add_char(&b, ',');
	}
	text = arena_strndup(mem, buf_text(&b), b.length);
	buf_fini(&b);
	return text;
}

int
signup_key_read(struct signup *s)
{
	const char *key = http_header(s->request, "Idempotency-Key");

	if (!key)
		return 0;
	for (const char *p = key; *p; p++)
		if (*p < 0x21 || *p > 0x7e)
			key = "";
	if (!*key || strlen(key) > SIGNUP_KEY_MAX) {
		http_answer_problem(s->request, 422, NULL,
			&(struct problem_field){ "Idempotency-Key",
				"needs 1 to 255 visible ASCII characters" },
			1);
		return -1;
	}
	s->key = key;
	s->normal = body_normal(s, http_mem(s->request));
	must(s->normal);
	return 0;
}

static void on_again(void *arg);

void
signup_key_wait(struct signup *s)
{
	struct err e = ERR_INIT;

	if (clock_mono_ms() > s->key_until_ms) {
		err_set(&e, ERR_AWAY, "another request with this Idempotency-Key is under way");
		signup_fail(s, &e);
		return;
	}
	if (s->all->stopping) {
		err_set(&e, ERR_AWAY, "the server is stopping");
		signup_fail(s, &e);
		return;
	}
	TAILQ_INSERT_TAIL(&s->all->claiming, s, entry);
	if (!s->again)
		s->again = loop_timer_new(s->all->api->loop, on_again, s);
	loop_timer_set(s->again, ASK_MS);
}

/* Gives the answer that the key's first request got. */
static void
answer_again(struct signup *s, const struct sql_result *r)
{
	struct err e = ERR_INIT;
	const char *taken = sql_text(r, 0, 4);

	if (taken) {
		signup_taken(s, strstr(taken, "username") != NULL, strstr(taken, "email") != NULL);
		return;
	}
	snprintf(s->event_text, sizeof s->event_text, "%s", sql_text(r, 0, 2));
	if (sql_i64(r, 0, 3, &s->user_id, &e))
		signup_fail(s, &e);
	else
		signup_created(s);
}

static void
on_claim(void *arg, const struct sql_result *r, const struct err *e)
{
	struct signup *s = arg;
	struct err why = ERR_INIT;
	bool mine, same = false;

	if (e && !(r && sql_again(r))) {
		signup_fail(s, e);
		return;
	}
	if (e) {
		signup_key_wait(s);
		return;
	}
	if (sql_bool(r, 0, 0, &mine, &why) ||
		(!sql_null(r, 0, 1) && sql_bool(r, 0, 1, &same, &why))) {
		signup_fail(s, &why);
	} else if (mine) {
		signup_enqueue(s);
	} else if (sql_null(r, 0, 1)) {
		signup_key_wait(s); /* another request claimed it after our snapshot */
	} else if (!same) {
		loop_timer_free(s->again);
		s->again = NULL;
		http_answer_problem(s->request, 422,
			"this Idempotency-Key came with another body before",
			&(struct problem_field){ "Idempotency-Key", "is used for another body" },
			1);
	} else if (sql_null(r, 0, 3) && sql_null(r, 0, 4)) {
		signup_key_wait(s);
	} else {
		answer_again(s, r);
	}
}

static void
claim_run(struct signup *s)
{
	struct err e = ERR_INIT;

	sql_params_init(&s->params);
	sql_add_text(&s->params, s->key);
	sql_add_text(&s->params, s->normal);
	sql_add_text(&s->params, s->event_text);
	if (api_change(s->all->api, NULL, &(struct sql_part){ &claim, &s->params }, 1, on_claim, s,
		    &e))
		signup_fail(s, &e);
}

static void
on_again(void *arg)
{
	struct signup *s = arg;

	TAILQ_REMOVE(&s->all->claiming, s, entry);
	claim_run(s);
}

void
signup_key_claim(struct signup *s)
{
	s->key_until_ms = clock_mono_ms() + WAIT_MS;
	claim_run(s);
}

/* Outlives its signup, so it copies the texts. */
struct release {
	struct sql_params params;
	char key[SIGNUP_KEY_MAX + 1], claim[UUID_TEXT_SIZE];
};

static void
on_released(void *arg, const struct sql_result *r, const struct err *e)
{
	(void)r;
	(void)e; /* after an error the claim grows old, and the next request takes it over */
	free(arg);
}

void
signup_key_release(struct signup *s)
{
	struct release *r;

	if (!s->key)
		return;
	r = must_calloc(1, sizeof *r);
	snprintf(r->key, sizeof r->key, "%s", s->key);
	memcpy(r->claim, s->event_text, sizeof r->claim);
	sql_params_init(&r->params);
	sql_add_text(&r->params, r->key);
	sql_add_text(&r->params, r->claim);
	if (api_change(s->all->api, NULL, &(struct sql_part){ &unclaim, &r->params }, 1,
		    on_released, r, NULL))
		free(r);
}
