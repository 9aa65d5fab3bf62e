/* SPDX-License-Identifier: MIT */
/* trace: what its files share. A hop is printed as soon as it is known. */
#pragma once

#include "model/event.h"
#include "link/doc.h"
#include "link/kv.h"
#include "link/sql.h"
#include "ctl/broker/look.h"
#include "ctl/kit/ctl.h"

struct dlq;

struct trace {
	struct ctl *c;
	struct arena *mem;
	struct sql *sql; /* each opened once, NULL where its URL is none */
	struct doc *doc;
	struct kv *kv;
	struct broker *b; /* NULL: away */
	struct look look;
	struct dlq *dlq; /* while it looks at the dead letters */
	bool away;       /* a server could not be asked */
	bool found;      /* there is something of it */
	bool behind;     /* it has not arrived everywhere */
};

/* What is known of the event under way. */
struct traced {
	const char *id, *type; /* type NULL: not known */
	int64_t user_id;       /* 0: not known */
	int64_t version;       /* 0: not known */
	int64_t made_us;       /* 0: not known */
	bool unpublished;
};

/* HOP_UNKNOWN: a server could not be asked. HOP_UNASKED: nobody can be asked. */
enum hop_state { HOP_ARRIVED, HOP_NOT, HOP_NONE, HOP_UNKNOWN, HOP_UNASKED };
/* at, next: NULL: none. */
void trace_tell(struct trace *t, const struct traced *v, const char *hop, enum hop_state s,
	const char *at, const char *text, const char *next);
/* A server that could not be asked. */
void trace_unknown(struct trace *t, const struct traced *v, const char *hop, const struct err *e);
/* The consumer has not handled the event: where the event stands, and what to do. */
void trace_waits(struct trace *t, const struct traced *v, const struct consumer_row *c);
/* trace cannot tell whether the consumer has handled the event: what its queue holds. */
void trace_unasked(struct trace *t, const struct traced *v, const struct consumer_row *c);
/* The consumer gets events of this type; true too when the type is not known. */
bool trace_bound(const struct traced *v, const struct consumer_row *c);

/* trace_dlq.c: which consumers have given it up. ids: NULL-ended. */
void trace_dlq(struct trace *t, const struct traced *v, const char *const *ids);

/* trace_stores.c: each consumer's effect. */
void trace_stores(struct trace *t, const struct traced *v);
