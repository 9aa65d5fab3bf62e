/* SPDX-License-Identifier: MIT */
#include "mailer_log.h"

#include <string.h>

#include "base/uuid7.h"
#include "link/sql.h"
#include "model/outbox_sql.h"

#define HOLD MAIL_OWNER_HOLD("$2::integer")
#define DOUBT \
	"error = 'its mailer ended after it had begun: it may have arrived', updated_at = now()"
#define ARRAY_BYTES (64u << 10)

/* A failed mail may be claimed again: it did not arrive, and somebody has handed it in anew. */
static const struct sql_statement claim = { "mail_claim",
	"WITH lock AS MATERIALIZED (SELECT " HOLD " AS held),"
	" given AS (SELECT t.*, u.id IS NULL AND EXISTS (SELECT FROM outbox o"
	" WHERE o.day = date '1970-01-01' + t.day AND o.event_id = t.event_id) AS gone"
	" FROM unnest($3::bigint[], $4::uuid[], $5::integer[], $6::text[]) WITH ORDINALITY"
	" AS t (user_id, event_id, day, message_id, n) LEFT JOIN users u ON u.id = t.user_id),"
	" claimed AS (INSERT INTO mail_log AS m"
	" (user_id, template, state, event_id, message_id, owner, attempts)"
	" SELECT g.user_id, $1, 'sending', g.event_id, g.message_id, $2, 1 FROM given g, lock"
	" WHERE lock.held AND NOT g.gone ORDER BY g.user_id"
	" ON CONFLICT (user_id, template) DO UPDATE SET state = 'sending', owner = excluded.owner,"
	" attempts = m.attempts + 1, smtp_code = NULL, error = NULL, updated_at = now()"
	" WHERE m.state IN ('pending', 'failed') OR (m.state = 'sending' AND m.owner = excluded.owner)"
	" RETURNING m.user_id, m.message_id)"
	" SELECT g.gone, c.message_id, m.state FROM given g LEFT JOIN claimed c USING (user_id)"
	" LEFT JOIN mail_log m ON m.user_id = g.user_id AND m.template = $1 ORDER BY g.n" };

static const struct sql_statement doubt = { "mail_doubt",
	"UPDATE mail_log m SET state = 'unknown', " DOUBT
	" FROM unnest($3::bigint[]) AS t (user_id) WHERE m.user_id = t.user_id AND m.template = $1"
	" AND m.state = 'sending' AND m.owner <> $2::integer"
	" AND " MAIL_OWNER_GONE("m.owner") " RETURNING m.user_id" };

static const struct sql_statement sweep = { "mail_sweep",
	"UPDATE mail_log SET state = 'unknown', " DOUBT
	" WHERE state = 'sending' AND owner <> $1::integer"
	" AND " MAIL_OWNER_GONE("owner") };

static const struct sql_statement settle = { "mail_settle",
	"UPDATE mail_log m SET state = t.state, smtp_code = t.code, error = t.error,"
	" attempts = m.attempts - CASE WHEN t.tried THEN 0 ELSE 1 END, updated_at = now(),"
	" sent_at = CASE WHEN t.state = 'sent' THEN now() END"
	" FROM unnest($3::bigint[], $4::text[], $5::integer[], $6::text[], $7::boolean[])"
	" AS t (user_id, state, code, error, tried)"
	" WHERE m.user_id = t.user_id AND m.template = $1 AND m.owner = $2::integer"
	" AND m.state IN ('sending', 'unknown')" };

static int
log_is_away(struct err *e)
{
	e->kind = ERR_AWAY;
	return -1;
}

static enum claim_fate
claim_fate_of(const struct sql_result *r, size_t row)
{
	const char *state = sql_text(r, row, 2);

	if (*sql_text(r, row, 0) == 't')
		return CLAIM_GONE;
	if (!sql_null(r, row, 1))
		return CLAIM_OURS;
	if (mail_state_is(MAIL_SENT, state))
		return CLAIM_SENT;
	if (mail_state_is(MAIL_UNKNOWN, state))
		return CLAIM_UNKNOWN;
	/* also a mail that another mailer claims right now, and all while we do not hold our own lock */
	return CLAIM_BUSY;
}

/* Asks, for the mails that another mailer has in `sending`, whether that mailer still lives. */
static int
doubt_busy(struct sql *s, struct arena *mem, int owner, struct mail_claim *list, size_t n,
	struct err *e)
{
	struct sql_array ids;
	struct sql_params p;
	struct sql_result r = { 0 };
	int64_t id;
	int rc = 0;

	sql_array_init(&ids, ARRAY_BYTES);
	for (size_t i = 0; i < n; i++)
		if (list[i].fate == CLAIM_BUSY)
			sql_array_i64(&ids, list[i].ev->user_id);
	if (ids.count > 0) {
		sql_params_init(&p);
		sql_add_text(&p, MAIL_TEMPLATE);
		sql_add_i64(&p, owner);
		rc = sql_add_array(&p, &ids, e) || sql_run(s, mem, &doubt, &p, &r, e) ? -1 : 0;
	}
	for (size_t row = 0; rc == 0 && row < r.rows; row++) {
		rc = sql_i64(&r, row, 0, &id, e);
		for (size_t i = 0; rc == 0 && i < n; i++)
			if (list[i].ev->user_id == id)
				list[i].fate = CLAIM_UNKNOWN;
	}
	sql_array_fini(&ids);
	return rc;
}

int
mail_log_claim(struct sql *s, struct arena *mem, int owner, struct mail_claim *list, size_t n,
	struct err *e)
{
	struct sql_array a[4];
	struct sql_params p;
	struct sql_result r;
	struct uuid id;
	int rc;

	sql_params_init(&p);
	sql_add_text(&p, MAIL_TEMPLATE);
	sql_add_i64(&p, owner);
	sql_arrays_init(a, ARRAY_LEN(a), ARRAY_BYTES);
	for (size_t i = 0; i < n; i++) {
		sql_array_i64(&a[0], list[i].ev->user_id);
		sql_array_text(&a[1], list[i].ev->id);
		must(uuid_parse(list[i].ev->id, strlen(list[i].ev->id), &id));
		if (uuid_is_v7(&id))
			sql_array_i64(&a[2], outbox_day_number(&id));
		else
			sql_array_text(&a[2],
				NULL); /* not our own event: the outbox has no such id */
		sql_array_text(&a[3], list[i].message_id);
	}
	rc = sql_add_arrays(&p, a, ARRAY_LEN(a), e) || sql_run(s, mem, &claim, &p, &r, e) ? -1 : 0;
	sql_arrays_fini(a, ARRAY_LEN(a));
	if (rc)
		return log_is_away(e);
	must(r.rows == n);
	for (size_t i = 0; i < n; i++) {
		list[i].fate = claim_fate_of(&r, i);
		if (list[i].fate == CLAIM_OURS)
			list[i].message_id = sql_text(&r, i, 1);
	}
	return doubt_busy(s, mem, owner, list, n, e) ? log_is_away(e) : 0;
}

int
mail_log_settle(struct sql *s, struct arena *mem, int owner, const struct mail_result *list,
	size_t n, struct err *e)
{
	struct sql_array a[5];
	struct sql_params p;
	struct sql_result r;
	int rc;

	sql_params_init(&p);
	sql_add_text(&p, MAIL_TEMPLATE);
	sql_add_i64(&p, owner);
	sql_arrays_init(a, ARRAY_LEN(a), ARRAY_BYTES);
	for (size_t i = 0; i < n; i++) {
		sql_array_i64(&a[0], list[i].user_id);
		sql_array_text(&a[1], mail_state_name(list[i].state));
		if (list[i].code)
			sql_array_i64(&a[2], list[i].code);
		else
			sql_array_text(&a[2], NULL);
		sql_array_text(&a[3], *list[i].error ? list[i].error : NULL);
		sql_array_bool(&a[4], list[i].tried);
	}
	rc = sql_add_arrays(&p, a, ARRAY_LEN(a), e) || sql_run(s, mem, &settle, &p, &r, e) ? -1 : 0;
	sql_arrays_fini(a, ARRAY_LEN(a));
	return rc ? log_is_away(e) : 0;
}

int
mail_log_sweep(struct sql *s, struct arena *mem, int owner, int64_t *unknown, struct err *e)
{
	struct sql_params p;
	struct sql_result r;

	sql_params_init(&p);
	sql_add_i64(&p, owner);
	if (sql_run(s, mem, &sweep, &p, &r, e))
		return -1;
	*unknown = r.affected;
	return 0;
}
