/* SPDX-License-Identifier: MIT */
/*
 * All messages of one queue into another: each is published (mandatory,
 * confirmed) and only then acked. So at any kill a message is in one of the two,
 * or in both. Body, headers and properties stay, but for what a broker would not
 * take again or act on once more: user_id, expiration, CC, BCC and its own
 * counts. The routing key that it came by is kept in x-original-routing-key,
 * where the consumers' retries keep it, too.
 */
#pragma once

#include "base/conf.h"
#include "base/err.h"

struct broker;
struct mover;
struct progress;

struct mover *mover_open(const struct conf *f, struct err *e) MUST_CHECK;
/* Two more connections that are kept alive meanwhile: when one is lost the move ends, ERR_AWAY. */
void mover_beside(struct mover *m, struct broker *a, struct broker *b); /* NULL: none */
void mover_close(struct mover *m);                                      /* NULL is fine */
/* Until `from` is empty. *moved (added to) counts what was acked; p may be NULL. */
int mover_run(struct mover *m, const char *from, const char *to, uint64_t *moved,
	struct progress *p, struct err *e) MUST_CHECK;
