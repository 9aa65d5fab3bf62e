/* SPDX-License-Identifier: MIT */
/*
 * The state of a consumer: one enum, one function that changes it, one table of
 * legal steps.
 *
 * Three threads change it, each by what it alone learns:
 *
 *	step          thread    when
 *	STEP_STARTED  worker    the stores answer and handler->start has succeeded
 *	STEP_AWAY     worker    a store is away
 *	STEP_BACK     worker    a batch succeeds, or the probe of an idle worker
 *	STEP_PAUSE    I/O       the operator's flag is in the broker (run/pause.h)
 *	STEP_RESUME   I/O       the flag is gone
 *	STEP_DRAIN    main      SIGTERM; at most once
 *	STEP_DRAINED  I/O       a draining consumer holds nothing any more
 *
 * A thread names the step and not the state that follows. It would otherwise undo
 * what another thread has set since it looked: a pause and a store that is away can
 * hold at the same time, and each must survive the end of the other. Therefore both
 * have their states, and a second STEP_AWAY or STEP_PAUSE changes nothing.
 *
 * Everybody asks consumer_facts() what the state means: `/ready`, the threads, and
 * consumer_state_set() itself for its two gauges. A caller that decides by several
 * facts asks once, so that they belong together.
 *
 * Facts of another kind are no states and stay where they are, in struct consumer:
 * whether the broker has our subscription (`consuming`, `lost`: it goes and comes
 * with the connection, in any state), how many messages it may send (`intake`), and
 * whether the worker has a batch (`worker_busy`).
 *
 * Threads: any, but each step belongs to its thread.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct metric_cell;

enum consumer_state {
	CONSUMER_NO_STATE,        /* where an illegal step leads */
	CONSUMER_STARTING,        /* waits for its stores and for handler->start */
	CONSUMER_STARTING_PAUSED, /* the same, and an operator has paused it */
	CONSUMER_RUNNING,         /* the only one that takes messages */
	CONSUMER_AWAY,            /* a store is away */
	CONSUMER_PAUSED,          /* an operator has paused it: it finishes what it holds */
	CONSUMER_PAUSED_AWAY,     /* both: it keeps what it holds */
	CONSUMER_DRAINING,        /* it ends: it finishes what it holds */
	CONSUMER_DRAINING_AWAY,   /* it ends without a store: it hands back what it holds */
	CONSUMER_DRAINED,
	CONSUMER_STATES
};

enum consumer_step {
	STEP_STARTED,
	STEP_AWAY,
	STEP_BACK,
	STEP_PAUSE,
	STEP_RESUME,
	STEP_DRAIN,
	STEP_DRAINED,
	CONSUMER_STEPS
};

/* What a state means to those who read it. */
struct consumer_facts {
	const char *name;
	bool takes;    /* it wants messages */
	bool paused;   /* by an operator */
	bool away;     /* a store is */
	bool draining; /* until the process ends */
};

struct consumer_status {
	pthread_mutex_t lock; /* a step and its gauges are one */
	_Atomic(enum consumer_state) state;
	struct metric_cell *paused, *away; /* gauges */
};

/* The gauges must outlive the status. */
void consumer_status_init(struct consumer_status *s, struct metric_cell *paused,
	struct metric_cell *away);
void consumer_status_fini(struct consumer_status *s);

/* The only function that changes the state. False: it stays. An illegal step is a bug. */
bool consumer_state_set(struct consumer_status *s, enum consumer_step step);
enum consumer_state consumer_state(const struct consumer_status *s);
const struct consumer_facts *consumer_facts(const struct consumer_status *s); /* a constant */

/* The tables, for tests. */
enum consumer_state consumer_state_after(enum consumer_state from, enum consumer_step step);
const struct consumer_facts *consumer_state_facts(enum consumer_state state);
