/* SPDX-License-Identifier: MIT */
/*
 * What onboard-mailer and `onboardctl mail` both know of the table mail_log: it
 * has one row for each (user, template) and never drops one.
 *
 * A mailer claims a mail before SMTP sees it: the row becomes `sending` and
 * names its owner, the mailer's number. While the mailer lives, its session
 * holds a shared advisory lock by that number. A free lock tells that the
 * mailer was killed between claim and answer: nobody knows whether the mail
 * arrived.
 *
 * Threads: any; all of it is constant.
 */
#pragma once

#include <stdbool.h>

#define MAIL_TEMPLATE "welcome" /* the only one so far */

/* A row's state; the migration that makes the table tells what each means. */
enum mail_state { MAIL_PENDING, MAIL_SENDING, MAIL_SENT, MAIL_FAILED, MAIL_UNKNOWN, MAIL_STATES };
#define MAIL_STATE_NAMES "pending, sending, sent, failed, unknown" /* for messages */
const char *mail_state_name(enum mail_state s);
bool mail_state_is(enum mail_state s, const char *name); /* NULL names no state */
bool mail_state_known(const char *name);

/* ---- SQL; owner is the text of an integer ---- */

#define MAIL_LOCKS "1835100524" /* "mail": the first number of the advisory locks */
/* Holds the lock of this mailer, until the session ends. */
#define MAIL_OWNER_HOLD(owner) "pg_try_advisory_lock_shared(" MAIL_LOCKS ", " owner ")"
/* True: no other session holds the lock, so the owner lives no more. */
#define MAIL_OWNER_GONE(owner) "pg_try_advisory_xact_lock(" MAIL_LOCKS ", " owner ")"
