/* SPDX-License-Identifier: MIT */
/* Base64 (RFC 4648, with padding): bytes that are no text, in lines that are. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

void base64_add(struct buf *out, const void *bytes, size_t length);
/* False, out as it was: text is no base64. */
bool base64_read(struct buf *out, const char *text);
