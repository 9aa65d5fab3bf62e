/* SPDX-License-Identifier: MIT */
/*
 * Moves all messages of one queue into another: each is published (mandatory,
 * confirmed) and only then acked. So after a kill, a message is in one of the two
 * queues or in both. Body, headers and properties stay, except those that the broker
 * would refuse or act on again: user_id, expiration, CC, BCC and its own counts. The
 * header x-original-routing-key keeps the routing key, as the consumers' retries do.
 */
#pragma once

#include "base/conf.h"
#include "base/err.h"

struct broker;
struct mover;
struct progress;

struct mover *mover_open(const struct conf *f, struct err *e) MUST_CHECK;
/* Keeps two more connections alive meanwhile; when one is lost, the move ends with ERR_AWAY. */
void mover_beside(struct mover *m, struct broker *a, struct broker *b); /* NULL: none */
void mover_close(struct mover *m);                                      /* NULL is fine */
/* Until `from` is empty. *moved (added to) counts what was acked; p may be NULL. */
int mover_run(struct mover *m, const char *from, const char *to, uint64_t *moved,
	struct progress *p, struct err *e) MUST_CHECK;
