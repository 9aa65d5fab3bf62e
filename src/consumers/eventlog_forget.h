/* SPDX-License-Identifier: MIT */
/* Name and e-mail leave the events of a user who is deleted. Part of onboard-eventlog. */
#pragma once

#include "run/consumer.h"

/*
 * After the inserts of b: strips the events of those who are deleted in it, and
 * of those who have been deleted before and of whom an event came late. Whoever
 * handles a deletion remembers it and then strips; whoever handles another event
 * inserts it and then asks: so of two processes at once one sees the other.
 */
int eventlog_forget(struct consumer *c, struct batch *b, struct err *e) MUST_CHECK;
