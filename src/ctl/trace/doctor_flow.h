/* SPDX-License-Identifier: MIT */
/* doctor: whether events flow: queues, dead letters, pauses, the outbox and its days. */
#pragma once

#include "ctl/kit/ctl.h"
#include "link/broker.h"
#include "link/sql.h"

/* Each tells its findings; -1: the server could not be asked. *bad: something is wrong. */
int doctor_queues(struct ctl *c, struct broker *b, struct arena *mem, bool *bad, struct err *e)
	MUST_CHECK;
int doctor_outbox(struct ctl *c, struct sql *s, struct arena *mem, bool *bad, struct err *e)
	MUST_CHECK;
