/* SPDX-License-Identifier: MIT */
/*
 * The welcome mail as bytes: templates and sender as the configuration says,
 * read and checked whole. Part of onboard-mailer.
 *
 * Threads: made by any; a struct letters never changes after that.
 */
#pragma once

#include "base/buf.h"
#include "base/conf.h"
#include "base/err.h"
#include "model/event.h"
#include "model/mail_log.h"

#define LETTER_MAX (1u << 20)
#define MESSAGE_ID_SIZE 200

struct letters;

/* NULL: ERR_INVALID with file and line, or the key. */
struct letters *letters_new(const struct conf *c, struct err *e) MUST_CHECK;
void letters_free(struct letters *l); /* NULL is fine */
const char *letters_sender(const struct letters *l);
/* The same for the same event, without < and >. */
void letters_message_id(const struct letters *l, const struct event *ev,
	char out[static MESSAGE_ID_SIZE]);
/* Headers and both parts, lines ended by CRLF. ERR_LIMIT: larger than LETTER_MAX. */
int letters_write(const struct letters *l, const struct event *ev, const char *message_id,
	int64_t wall_us, struct buf *out, struct err *e) MUST_CHECK;
