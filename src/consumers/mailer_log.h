/* SPDX-License-Identifier: MIT */
/*
 * mail_log: who has been mailed, one row per (user, template), written before
 * and after. Part of onboard-mailer.
 *
 * The story: a mail is claimed (`sending`, committed) before SMTP sees it, and
 * settled after its answer. The claim names its owner, and the owner's session
 * holds a shared advisory lock by that number. So whoever finds a row in
 * `sending` can tell: the lock is held, another mailer is at it just now; it is
 * free, that mailer was killed between the two, and the row becomes `unknown`.
 * What its owner itself says later (its session was lost, not the process)
 * wins over `unknown`. The lock wants a session of its own: no pooler of
 * transactions between us and PostgreSQL.
 *
 * Threads: the worker's. Errors: ERR_AWAY, whatever went wrong: without the
 * log no mail may be sent, and no event is to blame.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "model/event.h"

struct sql;

enum claim_fate {
	CLAIM_OURS,    /* to be sent and settled */
	CLAIM_SENT,    /* it has been */
	CLAIM_UNKNOWN, /* it may have been */
	CLAIM_BUSY,    /* another mailer is at it */
	CLAIM_GONE,    /* our own event, and the user is not there any more */
};

struct mail_claim {
	const struct event *ev;
	const char *message_id; /* before: of a new row; after: the row's, mem's */
	enum claim_fate fate;
};

enum mail_state { MAIL_PENDING, MAIL_SENT, MAIL_FAILED, MAIL_UNKNOWN };

struct mail_result {
	int64_t user_id;
	enum mail_state state;
	int code;        /* 0: none */
	bool tried;      /* SMTP saw it */
	char error[160]; /* "": none */
};

/* No user twice in the list. owner: this process's number, over 0. */
int mail_log_claim(struct sql *s, struct arena *mem, int owner, struct mail_claim *list, size_t n,
	struct err *e) MUST_CHECK;
/* Harmless twice. */
int mail_log_settle(struct sql *s, struct arena *mem, int owner, const struct mail_result *list,
	size_t n, struct err *e) MUST_CHECK;
/* At the start: what mailers that are no more left in `sending`. */
int mail_log_sweep(struct sql *s, struct arena *mem, int owner, int64_t *unknown, struct err *e)
	MUST_CHECK;
