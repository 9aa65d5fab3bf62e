/* SPDX-License-Identifier: MIT */
/*
 * The parts of a mail by RFC 5322, 2045 and 2047: header lines from any text,
 * and quoted-printable. The output is always ASCII. Lines have at most 78 bytes
 * where they can be broken. Control bytes become spaces, so no text can add a
 * header line of its own.
 *
 * Threads: any.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* "Subject: text", folded; text that is not plain ASCII becomes encoded words. */
void mime_header(struct buf *out, const char *name, const char *text);
/* "From: display <address>"; display NULL or "": the address alone. email_normalize has checked
   the address. */
void mime_header_address(struct buf *out, const char *name, const char *display,
	const char *address);
/* "Date: Fri, 20 Nov 2026 12:00:00 +0000" */
void mime_header_date(struct buf *out, int64_t wall_us);
/* The lines of text end with LF or CRLF; the output ends with CRLF. */
void mime_quoted_printable(struct buf *out, const char *text, size_t length);
