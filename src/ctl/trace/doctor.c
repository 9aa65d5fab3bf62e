/* SPDX-License-Identifier: MIT */
/*
 * doctor: each server in turn, reached as a daemon would reach it, and what in
 * it must be as the daemons expect. One line a finding, with the way out.
 */
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "ctl/broker/topology.h"
#include "ctl/db/db.h"
#include "ctl/kit/ctl.h"
#include "ctl/kit/servers.h"
#include "ctl/mail/mail.h"
#include "ctl/trace/doctor_flow.h"
#include "ctl/verbs.h"
#include "link/broker.h"
#include "link/doc.h"
#include "link/kv.h"
#include "link/smtp.h"
#include "link/sql.h"
#include "model/consumers.h"
#include "model/doc_indexes.h"

#define POSTGRES_OLDEST 150000
#define ARENA_MAX (8 << 20)

struct doctor {
	struct ctl *ctl;
	struct arena *mem;
	bool away, bad;
};

static void
finding(struct doctor *d, enum ctl_mark m, const char *subject, const char *text, const char *fix)
{
	d->bad |= m == CTL_MARK_BAD;
	ctl_finding(d->ctl, m, subject, text, fix);
}

/* Why it cannot be used; the way out names the key that says where it is. */
static void
unusable(struct doctor *d, const char *subject, const struct err *e)
{
	char fix[160];

	d->away |= e->kind == ERR_AWAY;
	snprintf(fix, sizeof fix, "start it, or set %s.url (%s)", subject,
		conf_origin(d->ctl->conf, subject, "url"));
	finding(d, CTL_MARK_BAD, subject, e->text, e->kind == ERR_AWAY ? fix : NULL);
}

/* True: it is as it should be. */
static bool
schema(struct doctor *d)
{
	struct err e = ERR_INIT;
	size_t pending;
	char text[96];

	if (ctl_schema_check(d->ctl, &pending, &e)) {
		finding(d, CTL_MARK_BAD, "schema", e.text, "onboardctl db migrate status");
		return false;
	}
	if (pending == 0) {
		finding(d, CTL_MARK_OK, "schema", "up to date", NULL);
		return true;
	}
	snprintf(text, sizeof text, "%zu migrations are not applied", pending);
	finding(d, CTL_MARK_BAD, "schema", text, "onboardctl db migrate up");
	return false;
}

static void
postgres(struct doctor *d)
{
	static const struct sql_statement about = {
		"about",
		"SELECT current_setting('server_version'), current_setting('server_version_num')::integer, "
		"current_setting('synchronous_commit') <> 'off' AND current_setting('fsync') = 'on'"
	};
	struct err e = ERR_INIT;
	struct sql *s =
		sql_open(&(struct sql_options){ .url = conf_string(d->ctl->conf, "postgres", "url"),
				 .application = "onboardctl" },
			&e);
	struct sql_result r;
	int64_t number = 0;
	bool durable = false;

	if (!s || sql_run(s, d->mem, &about, NULL, &r, &e) || sql_i64(&r, 0, 1, &number, &e) ||
		sql_bool(&r, 0, 2, &durable, &e)) {
		unusable(d, "postgres", &e);
		sql_close(s);
		return;
	}
	finding(d, number >= POSTGRES_OLDEST ? CTL_MARK_OK : CTL_MARK_WARN, "postgres",
		sql_text(&r, 0, 0),
		number >= POSTGRES_OLDEST ? NULL : "15 is the oldest supported");
	if (!durable)
		finding(d, CTL_MARK_BAD, "postgres",
			"a commit may be lost in a crash (fsync or synchronous_commit is off)",
			"set both to on in postgresql.conf");
	if (schema(d) && doctor_outbox(d->ctl, s, d->mem, &d->bad, &e))
		unusable(d, "postgres", &e);
	sql_close(s);
}

static void
rabbitmq(struct doctor *d)
{
	struct err e = ERR_INIT;
	struct broker *b = ctl_broker(d->ctl, &e);
	struct link_view v;
	size_t faults = 0;

	if (!b) {
		unusable(d, "rabbitmq", &e);
		return;
	}
	finding(d, broker_server_at_least(b, 3, 10) ? CTL_MARK_OK : CTL_MARK_BAD, "rabbitmq",
		broker_server_version(b),
		broker_server_at_least(b, 3, 10) ? NULL : "3.10 is the oldest that works");
	link_look(broker_link(b), &v);
	if (v.state == LINK_BLOCKED)
		finding(d, CTL_MARK_BAD, "rabbitmq", "it refuses messages (an alarm)",
			"free memory or disk on its host");
	if (ctl_topology_check(d->ctl, b, &faults, &e))
		unusable(d, "rabbitmq", &e);
	else if (faults == 0)
		finding(d, CTL_MARK_OK, "topology", "whole", NULL);
	d->bad |= faults > 0;
	e = ERR_INIT;
	if (doctor_queues(d->ctl, b, d->mem, &d->bad, &e))
		unusable(d, "rabbitmq", &e);
	broker_free(b);
}

/* A line "name:value" of Redis' INFO; "" when it has none. */
static const char *
info_value(struct doctor *d, const struct kv_reply *r, const char *name)
{
	const char *p = strstr(r->text, name), *value;

	if (!p || (p != r->text && p[-1] != '\n') || p[strlen(name)] != ':')
		return "";
	p += strlen(name) + 1;
	value = arena_strndup(d->mem, p, strcspn(p, "\r\n"));
	return value ? value : "";
}

/* Said, that nobody takes it for a store: what it forgets is made again. */
static void
redis_keeps(struct doctor *d, const struct kv_reply *r)
{
	bool aof = strcmp(info_value(d, r, "aof_enabled"), "1") == 0;
	bool bounded = strcmp(info_value(d, r, "maxmemory"), "0") != 0;
	const char *saved = info_value(d, r, "rdb_last_save_time");
	char text[160];

	snprintf(text, sizeof text, "may forget all: %s, %s%.24s",
		aof              ? "append-only file"
			: *saved ? "snapshots"
				 : "kept nowhere",
		bounded ? "when full " : "no memory bound, ", info_value(d, r, "maxmemory_policy"));
	finding(d, CTL_MARK_OK, "redis", text, NULL);
	if (strcmp(info_value(d, r, "rdb_last_bgsave_status"), "err") == 0)
		finding(d, CTL_MARK_WARN, "redis",
			"its last snapshot failed: by default it then refuses writes",
			"free disk space on its host, or: CONFIG SET save \"\"");
}

static void
redis(struct doctor *d)
{
	static const char *const info[] = { "INFO" };
	struct err e = ERR_INIT;
	struct kv *k = kv_open(
		&(struct kv_options){ .url = conf_string(d->ctl->conf, "redis", "url") }, &e);
	struct kv_reply r;

	if (!k || kv_run(k, d->mem, 1, info, NULL, &r, &e)) {
		unusable(d, "redis", &e);
		kv_close(k);
		return;
	}
	if (r.type != KV_TEXT) {
		finding(d, CTL_MARK_BAD, "redis", "INFO gave no text", NULL);
		kv_close(k);
		return;
	}
	finding(d, CTL_MARK_OK, "redis", info_value(d, &r, "redis_version"), NULL);
	redis_keeps(d, &r);
	/* all that is in it can be made again, so losing keys beats refusing writes */
	if (strcmp(info_value(d, &r, "maxmemory"), "0") != 0 &&
		strcmp(info_value(d, &r, "maxmemory_policy"), "noeviction") == 0)
		finding(d, CTL_MARK_WARN, "redis",
			"when it is full it refuses writes, and consumers wait until it is not",
			"set maxmemory-policy to allkeys-lru");
	kv_close(k);
}

/* The indexes of the collection that a consumer writes. -1: MongoDB cannot be asked. */
static int
indexes(struct doctor *d, struct doc *doc, const struct consumer_row *c, struct err *e)
{
	const char *missing, *same = "";
	char text[240], fix[240];

	if (doc_indexes_missing(doc, d->mem, c->collection, &missing, e) ||
		(*missing && doc_indexes_duplicates(doc, d->mem, c->collection, &same, e)))
		return -1;
	snprintf(text, sizeof text, "%s: %s%s%s", c->collection, *missing ? missing : "whole",
		*same ? "; these users have one e-mail: " : "", same);
	if (*same)
		snprintf(fix, sizeof fix,
			"missing: `onboardctl rebuild %s` writes them as PostgreSQL has them; of "
			"a user whom it does not know, unset the e-mail. Then onboard-%s makes "
			"the index",
			c->rebuild ? c->rebuild : c->name, c->name);
	else
		snprintf(fix, sizeof fix,
			"missing: onboard-%s makes them within topology.check_every, is it "
			"running?",
			c->name);
	finding(d, *missing ? CTL_MARK_BAD : CTL_MARK_OK, "indexes", text, *missing ? fix : NULL);
	return 0;
}

static void
mongo(struct doctor *d)
{
	struct err e = ERR_INIT;
	struct doc *doc =
		doc_open(&(struct doc_options){ .url = conf_string(d->ctl->conf, "mongo", "url"),
				 .application = "onboardctl" },
			&e);
	char version[32];

	if (!doc || doc_version(doc, version, &e)) {
		unusable(d, "mongo", &e);
	} else {
		finding(d, CTL_MARK_OK, "mongo", version, NULL);
		for (const struct consumer_row *c = consumer_rows; c->name; c++)
			if (c->collection && indexes(d, doc, c, &e)) {
				unusable(d, "mongo", &e);
				break;
			}
	}
	doc_close(doc);
}

static void
mail(struct doctor *d)
{
	struct err e = ERR_INIT;
	struct smtp_options o;
	struct smtp *s;
	int64_t unknown;
	char text[80];

	smtp_options_read(d->ctl->conf, &o);
	s = smtp_open(&o, &e);
	if (!s || smtp_ping(s, &e))
		unusable(d, "smtp", &e);
	else
		finding(d, CTL_MARK_OK, "smtp", "answers", NULL);
	smtp_close(s);
	if (ctl_mail_unknown(d->ctl, &unknown, &e) || unknown == 0)
		return; /* no such table: the schema's finding says it */
	snprintf(text, sizeof text, "of %lld nobody knows whether they arrived",
		(long long)unknown);
	finding(d, CTL_MARK_WARN, "mails", text,
		"onboardctl mail list --state unknown; then mail resend or mail settle each");
}

int
ctl_doctor(struct ctl *c, int argc, char **argv)
{
	struct doctor d = { .ctl = c };

	if (argc > 1)
		return ctl_fail(c, CTL_USAGE, "what is \"%s\"? doctor takes no words", argv[1]);
	d.mem = arena_new(1 << 16, ARENA_MAX);
	postgres(&d);
	rabbitmq(&d);
	mongo(&d);
	redis(&d);
	mail(&d);
	arena_free(d.mem);
	return d.away ? CTL_AWAY : d.bad ? CTL_FAILED : CTL_DONE;
}
