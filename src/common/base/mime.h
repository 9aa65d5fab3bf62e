/* SPDX-License-Identifier: MIT */
/*
 * The parts of a mail's text, as RFC 5322, 2045 and 2047 want them: header
 * lines that any text may go into, and quoted-printable. Whatever is given,
 * what comes out is ASCII, its lines have at most 78 bytes where they can be
 * broken, and no header grows a line of the text's own: control bytes become
 * spaces.
 *
 * Threads: any.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* "Subject: text", folded, as encoded words where it is not plain ASCII. */
void mime_header(struct buf *out, const char *name, const char *text);
/* "From: display <address>"; display NULL or "": the address alone. address: as email_normalize
   left it. */
void mime_header_address(struct buf *out, const char *name, const char *display,
	const char *address);
/* "Date: Fri, 20 Nov 2026 12:00:00 +0000" */
void mime_header_date(struct buf *out, int64_t wall_us);
/* Lines of text, ended by LF or CRLF; ends with CRLF. */
void mime_quoted_printable(struct buf *out, const char *text, size_t length);
