/* SPDX-License-Identifier: MIT */
/*
 * Standard output that remembers why it failed. stdio keeps only that a write
 * failed, and by the end errno tells of something else.
 */
#pragma once

/* Before the first byte is printed. */
void output_begin(void);
/* Flushes. 0, or the errno of the first write that failed; EPIPE: the reader has gone. */
int output_end(void);
