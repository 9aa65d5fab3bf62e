/* SPDX-License-Identifier: MIT */
#include "run/consumer_state.h"

#include "base/log.h"
#include "base/metrics.h"
#include "base/must.h"

static const struct consumer_facts facts[CONSUMER_STATES] = {
	[CONSUMER_STARTING] = { .name = "starting" },
	[CONSUMER_STARTING_PAUSED] = { .name = "starting, paused", .paused = true },
	[CONSUMER_RUNNING] = { .name = "running", .takes = true },
	[CONSUMER_AWAY] = { .name = "away", .away = true },
	[CONSUMER_PAUSED] = { .name = "paused", .paused = true },
	[CONSUMER_PAUSED_AWAY] = { .name = "paused, away", .paused = true, .away = true },
	[CONSUMER_DRAINING] = { .name = "draining", .draining = true },
	[CONSUMER_DRAINING_AWAY] = { .name = "draining, away", .draining = true, .away = true },
	[CONSUMER_DRAINED] = { .name = "drained", .draining = true },
};

/*
 * Rows: from; columns: the step. A step that is not named is illegal.
 *
 * A thread may learn its news just before SIGTERM and step just after it. So a
 * draining consumer accepts every step of the worker and of the I/O thread. A drained
 * consumer accepts every step of the worker, because draining does not wait for it.
 */
static const enum consumer_state legal[CONSUMER_STATES][CONSUMER_STEPS] = {
	[CONSUMER_STARTING] = {
		[STEP_STARTED] = CONSUMER_RUNNING,
		[STEP_PAUSE] = CONSUMER_STARTING_PAUSED,
		[STEP_RESUME] = CONSUMER_STARTING,
		[STEP_DRAIN] = CONSUMER_DRAINING,
	},
	[CONSUMER_STARTING_PAUSED] = {
		[STEP_STARTED] = CONSUMER_PAUSED,
		[STEP_PAUSE] = CONSUMER_STARTING_PAUSED,
		[STEP_RESUME] = CONSUMER_STARTING,
		[STEP_DRAIN] = CONSUMER_DRAINING,
	},
	[CONSUMER_RUNNING] = {
		[STEP_AWAY] = CONSUMER_AWAY,
		[STEP_BACK] = CONSUMER_RUNNING,
		[STEP_PAUSE] = CONSUMER_PAUSED,
		[STEP_RESUME] = CONSUMER_RUNNING,
		[STEP_DRAIN] = CONSUMER_DRAINING,
	},
	[CONSUMER_AWAY] = {
		[STEP_AWAY] = CONSUMER_AWAY,
		[STEP_BACK] = CONSUMER_RUNNING,
		[STEP_PAUSE] = CONSUMER_PAUSED_AWAY,
		[STEP_RESUME] = CONSUMER_AWAY,
		[STEP_DRAIN] = CONSUMER_DRAINING_AWAY,
	},
	[CONSUMER_PAUSED] = {
		[STEP_AWAY] = CONSUMER_PAUSED_AWAY,
		[STEP_BACK] = CONSUMER_PAUSED,
		[STEP_PAUSE] = CONSUMER_PAUSED,
		[STEP_RESUME] = CONSUMER_RUNNING,
		[STEP_DRAIN] = CONSUMER_DRAINING,
	},
	[CONSUMER_PAUSED_AWAY] = {
		[STEP_AWAY] = CONSUMER_PAUSED_AWAY,
		[STEP_BACK] = CONSUMER_PAUSED,
		[STEP_PAUSE] = CONSUMER_PAUSED_AWAY,
		[STEP_RESUME] = CONSUMER_AWAY,
		[STEP_DRAIN] = CONSUMER_DRAINING_AWAY,
	},
	[CONSUMER_DRAINING] = {
		[STEP_STARTED] = CONSUMER_DRAINING,
		[STEP_AWAY] = CONSUMER_DRAINING_AWAY,
		[STEP_BACK] = CONSUMER_DRAINING,
		[STEP_PAUSE] = CONSUMER_DRAINING,
		[STEP_RESUME] = CONSUMER_DRAINING,
		[STEP_DRAINED] = CONSUMER_DRAINED,
	},
	[CONSUMER_DRAINING_AWAY] = {
		[STEP_AWAY] = CONSUMER_DRAINING_AWAY,
		[STEP_BACK] = CONSUMER_DRAINING,
		[STEP_PAUSE] = CONSUMER_DRAINING_AWAY,
		[STEP_RESUME] = CONSUMER_DRAINING_AWAY,
		[STEP_DRAINED] = CONSUMER_DRAINED,
	},
	[CONSUMER_DRAINED] = {
		[STEP_STARTED] = CONSUMER_DRAINED,
		[STEP_AWAY] = CONSUMER_DRAINED,
		[STEP_BACK] = CONSUMER_DRAINED,
		[STEP_DRAINED] = CONSUMER_DRAINED,
	},
};

enum consumer_state
consumer_state_after(enum consumer_state from, enum consumer_step step)
{
	return legal[from][step];
}

const struct consumer_facts *
consumer_state_facts(enum consumer_state state)
{
	return &facts[state];
}

void
consumer_status_init(struct consumer_status *s, struct metric_cell *paused,
	struct metric_cell *away)
{
	must(pthread_mutex_init(&s->lock, NULL) == 0);
	atomic_init(&s->state, CONSUMER_STARTING);
	s->paused = paused;
	s->away = away;
}

void
consumer_status_fini(struct consumer_status *s)
{
	must(pthread_mutex_destroy(&s->lock) == 0);
}

bool
consumer_state_set(struct consumer_status *s, enum consumer_step step)
{
	enum consumer_state from, to;

	must(pthread_mutex_lock(&s->lock) == 0);
	from = atomic_load(&s->state);
	to = legal[from][step];
	if (to == CONSUMER_NO_STATE)
		log_error("a consumer's step is illegal", LOG_S("state", facts[from].name),
			LOG_I("step", step));
	must(to != CONSUMER_NO_STATE);
	atomic_store(&s->state, to);
	metric_set(s->paused, facts[to].paused);
	metric_set(s->away, facts[to].away);
	must(pthread_mutex_unlock(&s->lock) == 0);
	return to != from;
}

enum consumer_state
consumer_state(const struct consumer_status *s)
{
	return atomic_load(&s->state);
}

const struct consumer_facts *
consumer_facts(const struct consumer_status *s)
{
	return &facts[atomic_load(&s->state)];
}
