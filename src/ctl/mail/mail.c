/* SPDX-License-Identifier: MIT */
/*
 * mail list | resend | settle: welcome mails that failed, or that may or may not
 * have arrived. A person decides here whether a mail is sent again; the mailer
 * sends it.
 */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "ctl/kit/audit.h"
#include "ctl/kit/json.h"
#include "ctl/kit/options.h"
#include "ctl/kit/servers.h"
#include "ctl/mail/mail.h"
#include "ctl/verbs.h"
#include "link/broker.h"
#include "link/sql.h"
#include "model/event.h"
#include "model/mail_log.h"
#include "model/topology.h"

#define ARENA_MAX (64 << 20)
#define CONFIRM_MS 5000
#define LIMIT_MAX 100000
/* No mailer is sending it. */
#define IDLE "(m.state <> 'sending' OR m.owner IS NULL OR " MAIL_OWNER_GONE("m.owner") ")"

static const struct sql_statement unknown_count = { "mail_unknown",
	"SELECT count(*) FROM mail_log WHERE state = 'unknown'" };

static const struct sql_statement list_rows = { "mail_list",
	"SELECT m.user_id || ':' || m.template AS id, m.user_id, m.template, m.state, m.attempts,"
	" m.smtp_code, m.error, m.event_id, m.message_id,"
	" to_char(m.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS updated_at,"
	" to_char(m.sent_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS sent_at"
	" FROM mail_log m WHERE CASE WHEN $1::text IS NULL THEN m.state <> 'sent' ELSE m.state = $1 END"
	" ORDER BY m.updated_at DESC, m.user_id LIMIT $2::integer" };

static const struct sql_statement state_of = { "mail_state",
	"SELECT m.state FROM mail_log m WHERE m.user_id = $1::bigint AND m.template = $2" };

/* The event as the API would publish it now; NULL where the user is not in the table. */
static const struct sql_statement reopen = { "mail_reopen",
	"WITH m AS (UPDATE mail_log m SET state = 'pending', owner = NULL,"
	" error = 'handed in again by hand', updated_at = now()"
	" WHERE m.user_id = $1::bigint AND m.template = $2 AND m.state <> 'sent' AND " IDLE
	" RETURNING m.user_id, m.event_id)"
	" SELECT m.event_id, CASE WHEN u.id IS NOT NULL THEN json_build_object('id', m.event_id,"
	" 'type', '" EVENT_TYPE_CREATED "', 'timestamp',"
	" to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'),"
	" 'payload', json_strip_nulls(json_build_object('user_id', u.id, 'username', u.username,"
	" 'email', u.email, 'name', u.name, 'version', u.version))) END"
	" FROM m LEFT JOIN users u ON u.id = m.user_id" };

static const struct sql_statement settle_row = { "mail_settle_by_hand",
	"UPDATE mail_log m SET state = $3, owner = NULL, error = 'settled by hand', updated_at = now(),"
	" sent_at = CASE WHEN $3 = 'sent' THEN now() END"
	" WHERE m.user_id = $1::bigint AND m.template = $2 AND m.state <> 'sent' AND " IDLE };

struct mail_id {
	int64_t user_id;
	const char *template;
};

/* $1 and $2 of the statements about one mail. */
static void
id_params(struct sql_params *p, const struct mail_id *id)
{
	sql_params_init(p);
	sql_add_i64(p, id->user_id);
	sql_add_text(p, id->template);
}

int
ctl_mail_unknown(struct ctl *c, int64_t *count, struct err *e)
{
	struct arena *mem = arena_new(4096, 1 << 20);
	struct sql *s = ctl_sql(c, e);
	struct sql_result r;
	int rc = !s || sql_run(s, mem, &unknown_count, NULL, &r, e) || sql_i64(&r, 0, 0, count, e);

	sql_close(s);
	arena_free(mem);
	return rc ? -1 : 0;
}

/* "42:welcome"; "42" is the same. */
static bool
id_parse(const char *text, struct mail_id *out)
{
	char *end;

	out->user_id = strtoll(text, &end, 10);
	out->template = *end == ':' ? end + 1 : MAIL_TEMPLATE;
	return *text >= '1' && *text <= '9' && (*end == ':' || !*end) && *out->template;
}

/* ---- list ---- */

static void
row_show(const struct ctl *c, const struct sql_result *r, size_t row)
{
	static const char *const names[] = { "id", "user_id", "template", "state", "attempts",
		"smtp_code", "error", "event_id", "message_id", "updated_at", "sent_at" };
	struct ctl_line line;
	struct json_out *o;

	if (!c->json) {
		printf("%-26s %-8s %8s %5s  %s  %s\n", sql_text(r, row, 0), sql_text(r, row, 3),
			sql_text(r, row, 4), sql_null(r, row, 5) ? "-" : sql_text(r, row, 5),
			sql_text(r, row, 9), sql_null(r, row, 6) ? "" : sql_text(r, row, 6));
		return;
	}
	o = ctl_line_begin(&line);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		const char *text = sql_null(r, row, i) ? NULL : sql_text(r, row, i);

		if (i == 1 || i == 4 || i == 5)
			json_out_number(o, names[i], text);
		else
			ctl_json_text(o, names[i], text);
	}
	ctl_line_print(&line);
}

static int
mails_list(struct ctl *c, struct sql *s, struct arena *mem, const char *state, int64_t limit)
{
	struct err e = ERR_INIT;
	struct sql_params p;
	struct sql_result r;

	sql_params_init(&p);
	sql_add_text(&p, state);
	sql_add_i64(&p, limit);
	if (sql_run(s, mem, &list_rows, &p, &r, &e))
		return ctl_fail_err(c, &e);
	if (r.rows == 0)
		return ctl_fail(c, CTL_NOTHING, "no mail is %s", state ? state : "open");
	if (!c->json)
		printf("%-26s %-8s %8s %5s  %-20s  %s\n", "ID", "STATE", "ATTEMPTS", "CODE",
			"SINCE", "WHY");
	for (size_t row = 0; row < r.rows; row++)
		row_show(c, &r, row);
	return CTL_DONE;
}

/* ---- resend, settle ---- */

/* Tells why nothing was changed. */
static int
unchanged_tell(struct ctl *c, struct sql *s, struct arena *mem, const struct mail_id *id)
{
	struct err e = ERR_INIT;
	struct sql_params p;
	struct sql_result r;

	id_params(&p, id);
	if (sql_run(s, mem, &state_of, &p, &r, &e))
		return ctl_fail_err(c, &e);
	if (r.rows == 0)
		return ctl_fail(c, CTL_NOTHING, "no mail is called %" PRId64 ":%s", id->user_id,
			id->template);
	if (mail_state_is(MAIL_SENT, sql_text(&r, 0, 0)))
		return ctl_fail(c, CTL_FAILED, "%" PRId64 ":%s was sent", id->user_id,
			id->template);
	return ctl_fail(c, CTL_FAILED, "a mailer is at %" PRId64 ":%s just now; try again",
		id->user_id, id->template);
}

static void
mail_returned(void *arg, const struct broker_message *m, int code, const char *why)
{
	(void)m;
	(void)code;
	(void)why;
	*(bool *)arg = true;
}

/* To the mailer's own queue, so that no other consumer gets the event again. */
static int
mailer_publish(struct ctl *c, const char *event_id, const char *body, struct err *e)
{
	static const struct broker_events events = { .returned = mail_returned };
	bool returned = false;
	struct broker *b =
		broker_new(&(struct broker_options){ .url = conf_string(c->conf, "rabbitmq", "url"),
				   .name = "onboardctl",
				   .events = &events,
				   .arg = &returned },
			e);
	struct broker_publish m = { .exchange = "",
		.routing_key = consumer_row_find("mailer")->queue,
		.mandatory = true,
		.body = body,
		.length = strlen(body),
		.props = { .content_type = "application/json",
			.delivery_mode = 2,
			.message_id = event_id,
			.type = EVENT_TYPE_CREATED,
			.app_id = "onboardctl" } };
	int rc = !b || broker_connect(b, e) || broker_publish(b, &m, NULL, e) ||
		broker_flush(b, e) || broker_settle(b, CONFIRM_MS, e);

	broker_free(b);
	if (rc == 0 && returned)
		return err_set(e, ERR_CONFLICT, "there is no queue %s: onboardctl topology declare",
			m.routing_key);
	return rc ? -1 : 0;
}

static int
mail_resend(struct ctl *c, struct sql *s, struct arena *mem, const struct mail_id *id)
{
	struct err e = ERR_INIT;
	struct sql_params p;
	struct sql_result r;

	id_params(&p, id);
	if (sql_run(s, mem, &reopen, &p, &r, &e))
		return ctl_fail_err(c, &e);
	if (r.rows == 0)
		return unchanged_tell(c, s, mem, id);
	if (sql_null(&r, 0, 1))
		return ctl_fail(c, CTL_FAILED,
			"it is pending now, but user %" PRId64
			" is not in the table users: publish its user.created again",
			id->user_id);
	if (mailer_publish(c, sql_text(&r, 0, 0), sql_text(&r, 0, 1), &e)) {
		err_wrap(&e, "it is pending now, but not handed in: resend it again");
		return ctl_fail_err(c, &e);
	}
	ctl_finding(c, CTL_MARK_OK, "mail", "handed to the mailer", NULL);
	return CTL_DONE;
}

static int
mail_settle(struct ctl *c, struct sql *s, struct arena *mem, const struct mail_id *id,
	const char *state)
{
	struct err e = ERR_INIT;
	struct sql_params p;
	struct sql_result r;

	id_params(&p, id);
	sql_add_text(&p, state);
	if (sql_run(s, mem, &settle_row, &p, &r, &e))
		return ctl_fail_err(c, &e);
	if (r.affected == 0)
		return unchanged_tell(c, s, mem, id);
	ctl_finding(c, CTL_MARK_OK, "mail", state, NULL);
	return CTL_DONE;
}

/* ---- words ---- */

/* The audit log has the change before it begins, even one that then changes nothing. */
static int
mail_change(struct ctl *c, struct sql *s, struct arena *mem, const struct mail_id *id,
	const char *state, const char *why)
{
	struct audit a = { .what = state ? "mail settle" : "mail resend", .why = why, .fd = -1 };
	struct err e = ERR_INIT;
	char user[24];
	int code;

	snprintf(user, sizeof user, "%" PRId64, id->user_id);
	if (audit_begin_on(c, &a,
		    (const char *const[]){ "user", user, "template", id->template, "state", state,
			    NULL },
		    &e))
		return ctl_fail_err(c, &e);
	code = state ? mail_settle(c, s, mem, id, state) : mail_resend(c, s, mem, id);
	audit_end(&a, code == CTL_DONE, code == CTL_DONE ? "done" : "nothing was changed, or half");
	return code;
}

static int
words_run(struct ctl *c, struct sql *s, struct arena *mem, int argc, char **argv, const char *state,
	int64_t limit, const char *why)
{
	const char *verb = argc > 0 ? argv[0] : "";
	struct mail_id id;

	if (strcmp(verb, "list") == 0 && argc == 1)
		return mails_list(c, s, mem, state, limit);
	if (argc < 2 || (strcmp(verb, "resend") != 0 && strcmp(verb, "settle") != 0))
		return ctl_fail(c, CTL_USAGE,
			"want: mail list [--state S] | resend ID | settle ID sent|failed");
	if (!id_parse(argv[1], &id))
		return ctl_fail(c, CTL_USAGE, "\"%s\" is no ID: as mail list shows it, 42:welcome",
			argv[1]);
	if (strcmp(verb, "resend") == 0 && argc == 2)
		return mail_change(c, s, mem, &id, NULL, why);
	if (strcmp(verb, "settle") != 0 || argc != 3 ||
		(!mail_state_is(MAIL_SENT, argv[2]) && !mail_state_is(MAIL_FAILED, argv[2])))
		return ctl_fail(c, CTL_USAGE,
			"want: mail resend ID, or mail settle ID sent|failed");
	return mail_change(c, s, mem, &id, argv[2], why);
}

int
ctl_mail(struct ctl *c, int argc, char **argv)
{
	const char *state = NULL, *why = NULL;
	int64_t limit = 100;
	const struct ctl_option options[] = { { "--state", .text = &state },
		{ "--why", .text = &why },
		{ "--limit", .number = &limit, .min = 1, .max = LIMIT_MAX }, { 0 } };
	struct err e = ERR_INIT;
	struct arena *mem;
	struct sql *s;
	int words = options_take(c, options, INT_MAX, argc, argv), code;

	if (words < 0)
		return CTL_USAGE;
	if (state && !mail_state_known(state))
		return ctl_fail(c, CTL_USAGE, "no state \"%s\"; there are " MAIL_STATE_NAMES,
			state);
	s = ctl_sql(c, &e);
	if (!s)
		return ctl_fail_err(c, &e);
	mem = arena_new(1 << 16, ARENA_MAX);
	code = words_run(c, s, mem, words, argv + 1, state, limit, why);
	sql_close(s);
	arena_free(mem);
	return code;
}
