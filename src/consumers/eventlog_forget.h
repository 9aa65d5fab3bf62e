/* SPDX-License-Identifier: MIT */
/* Name and e-mail leave the events of a user who is deleted. Part of onboard-eventlog. */
#pragma once

#include "run/consumer.h"

struct eventlog_order {
	int64_t newest_us; /* of the events that were handled so far */
};

/*
 * After the inserts of b: strips the events of those who are deleted in it; and
 * of those whose event comes late, behind others or once more, when they have
 * been deleted before: what came in the usual order costs no question.
 */
int eventlog_forget(struct consumer *c, struct eventlog_order *o, struct batch *b, struct err *e)
	MUST_CHECK;
