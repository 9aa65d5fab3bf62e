/* SPDX-License-Identifier: MIT */
/*
 * Sends mail by SMTP (libcurl). One connection serves many mails, with TLS from the
 * start (smtps://) or by STARTTLS, and a login.
 *
 * The fate of a mail tells what may be done next. A server that cannot be reached
 * took nothing. A server that answered has decided. If the connection ended after
 * the whole mail was sent and before the answer, the outcome is unknown, and the
 * mail must not be sent again blindly.
 *
 * Threads: call smtp_open in the main thread before other threads begin; then one
 * thread uses the connection. Any thread may read the link.
 * Time: connecting, TLS and login take at most connect_ms, a whole mail with its
 * connecting at most total_ms.
 * Texts hold the server's code but never its words, which may repeat addresses.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/conf.h"
#include "base/err.h"
#include "link/link.h"

struct smtp;

/*
 * TRY: uses TLS if the server offers it, with any certificate. With a login on a
 * server outside of loopback, TRY means REQUIRED. REQUIRED and smtps:// check the
 * server's certificate.
 */
enum smtp_tls { SMTP_TLS_OFF, SMTP_TLS_TRY, SMTP_TLS_REQUIRED };

struct smtp_options {
	const char *url;      /* smtp(s)://[user[:password]@]host[:port] */
	const char *password; /* NULL: the URL's */
	const char *ca_file;  /* trusts these authorities alone; NULL: the system's */
	enum smtp_tls tls;
	int64_t connect_ms; /* 0: 2000 */
	int64_t total_ms;   /* 0: 5000 */
};

enum smtp_fate {
	SMTP_SENT,
	SMTP_AGAIN,   /* the server answered 4xx, or was lost before it had the whole mail */
	SMTP_REFUSED, /* 5xx */
	SMTP_UNSURE,  /* the server had the whole mail and gave no answer */
	SMTP_AWAY, /* the server cannot be reached or takes no mail from us now: it took nothing */
};

struct smtp_answer {
	enum smtp_fate fate;
	int code;      /* the server's last code for this mail; 0: none */
	char why[256]; /* the reason; "" for SENT */
};

/* Reads the keys of [smtp]; out borrows the configuration's texts. */
void smtp_options_read(const struct conf *c, struct smtp_options *out);
struct smtp *smtp_open(const struct smtp_options *o, struct err *e) MUST_CHECK;
void smtp_close(struct smtp *s); /* NULL is fine */
struct link *smtp_link(struct smtp *s);
/* Connects; asks an existing connection if it was quiet for a while. */
int smtp_ping(struct smtp *s, struct err *e) MUST_CHECK;
/* from, to: bare ASCII addresses; others are REFUSED, and the server never sees them.
   message: its lines end with CRLF; a point at the begin of a line needs no care. */
void smtp_send(struct smtp *s, const char *from, const char *to, const char *message, size_t length,
	struct smtp_answer *out);
