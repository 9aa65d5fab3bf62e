/* SPDX-License-Identifier: MIT */
/*
 * Writes the welcome mail. letters_new reads the templates and the sender that
 * the configuration names, and checks all of them. Part of onboard-mailer.
 *
 * Threads: any; a struct letters never changes after it was made.
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

/* NULL: ERR_INVALID, which names the file and the line, or the key. */
struct letters *letters_new(const struct conf *c, struct err *e) MUST_CHECK;
void letters_free(struct letters *l); /* NULL is fine */
const char *letters_sender(const struct letters *l);
/* An event always gets the same id. The id has no < and >. */
void letters_message_id(const struct letters *l, const struct event *ev,
	char out[static MESSAGE_ID_SIZE]);
/* Writes headers and both parts; lines end with CRLF. ERR_LIMIT: larger than LETTER_MAX. */
int letters_write(const struct letters *l, const struct event *ev, const char *message_id,
	int64_t wall_us, struct buf *out, struct err *e) MUST_CHECK;
