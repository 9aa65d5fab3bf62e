/* SPDX-License-Identifier: MIT */
/*
 * Handing mail in by SMTP (libcurl): one connection, kept from mail to mail,
 * with TLS from the start (smtps://) or by STARTTLS, and a login.
 *
 * The story of a mail is told by its fate, which says what may be done next:
 * a server that cannot be reached took nothing; one that answered has decided;
 * and where all of a mail was sent and the connection ended before the answer,
 * nobody knows, so that mail must not be sent again blindly.
 *
 * Threads: smtp_open in the main thread before others begin; then one thread;
 * the link may be read by any. Time: connecting, TLS and login last at most
 * connect_ms, a whole mail total_ms, connecting included.
 * Texts hold the server's code and never its words, since those repeat addresses.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/conf.h"
#include "base/err.h"
#include "link/link.h"

struct smtp;

/*
 * TRY: TLS where the server offers it, whoever it is. With a login that is not
 * for a server on loopback TRY means REQUIRED. REQUIRED and smtps:// check the
 * server's certificate.
 */
enum smtp_tls { SMTP_TLS_OFF, SMTP_TLS_TRY, SMTP_TLS_REQUIRED };

struct smtp_options {
	const char *url;      /* smtp(s)://[user[:password]@]host[:port] */
	const char *password; /* NULL: the URL's */
	const char *ca_file;  /* these authorities alone; NULL: the system's */
	enum smtp_tls tls;
	int64_t connect_ms; /* 0: 2000 */
	int64_t total_ms;   /* 0: 5000 */
};

enum smtp_fate {
	SMTP_SENT,
	SMTP_AGAIN,   /* the server said 4xx, or was lost before it had all of the mail */
	SMTP_REFUSED, /* 5xx */
	SMTP_UNSURE,  /* it had all of it, and gave no answer */
	SMTP_AWAY,    /* cannot be reached, or takes no mail from us now: nothing was taken */
};

struct smtp_answer {
	enum smtp_fate fate;
	int code;      /* the last that the server said in this mail; 0: none */
	char why[256]; /* of all but SENT */
};

/* As the keys of [smtp] say; texts are the configuration's. */
void smtp_options_read(const struct conf *c, struct smtp_options *out);
struct smtp *smtp_open(const struct smtp_options *o, struct err *e) MUST_CHECK;
void smtp_close(struct smtp *s); /* NULL is fine */
struct link *smtp_link(struct smtp *s);
/* Connects, or asks the connection that there is, where that was not done lately. */
int smtp_ping(struct smtp *s, struct err *e) MUST_CHECK;
/* from, to: ASCII addresses, nothing around them; others are REFUSED, the server never sees them.
   message: lines end with CRLF; a line that begins with a point needs no care. */
void smtp_send(struct smtp *s, const char *from, const char *to, const char *message, size_t length,
	struct smtp_answer *out);
