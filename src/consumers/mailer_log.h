/* SPDX-License-Identifier: MIT */
/*
 * How onboard-mailer claims a mail in mail_log before SMTP sees it, and settles
 * it after SMTP has answered; model/mail_log.h tells what a row means.
 *
 * A mailer that finds a row in `sending` looks at the owner's lock. A held lock:
 * another mailer sends the mail now. A free lock: that mailer was killed, and
 * the row becomes `unknown`. When an owner has lost its session but still lives,
 * its later answer replaces `unknown`. The lock belongs to a session, so no
 * pooler of transactions may stand between the mailer and PostgreSQL.
 *
 * Threads: the worker's. Errors: always ERR_AWAY, whatever went wrong: without
 * the log the mailer may send no mail, and no event is to blame.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "model/event.h"
#include "model/mail_log.h"

struct sql;

enum claim_fate {
	CLAIM_OURS,    /* we send it and settle it */
	CLAIM_SENT,    /* it was sent before */
	CLAIM_UNKNOWN, /* it may have been sent */
	CLAIM_BUSY,    /* another mailer holds it */
	CLAIM_GONE,    /* the event is our own, and the user no longer exists */
};

struct mail_claim {
	const struct event *ev;
	const char *message_id; /* in: for a new row; out: the row's, in mem */
	enum claim_fate fate;
};

struct mail_result {
	int64_t user_id;
	enum mail_state state;
	int code;        /* 0: none */
	bool tried;      /* SMTP saw it */
	char error[160]; /* "": none */
};

/* The list names no user twice. owner: this process's number, over 0. */
int mail_log_claim(struct sql *s, struct arena *mem, int owner, struct mail_claim *list, size_t n,
	struct err *e) MUST_CHECK;
/* A second call with the same list changes nothing. */
int mail_log_settle(struct sql *s, struct arena *mem, int owner, const struct mail_result *list,
	size_t n, struct err *e) MUST_CHECK;
/* At the start: makes `unknown` of the rows that dead mailers left in `sending`. Counts them. */
int mail_log_sweep(struct sql *s, struct arena *mem, int owner, int64_t *unknown, struct err *e)
	MUST_CHECK;
