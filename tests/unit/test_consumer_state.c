/* SPDX-License-Identifier: MIT */
/* A consumer's state: which steps are legal, what each state means, steps of several threads. */
#include "cm.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/metrics.h"
#include "base/must.h"
#include "run/consumer_state.h"

static const struct metric_def defs[] = {
	{ "onboard_test_paused", METRIC_GAUGE, "1 while paused.", { NULL } },
	{ "onboard_test_away", METRIC_GAUGE, "1 while away.", { NULL } },
};

struct world {
	struct metrics *metrics;
	struct consumer_status status;
};

static void
world_open(struct world *w)
{
	w->metrics = metrics_new(defs, ARRAY_LEN(defs));
	consumer_status_init(&w->status, metrics_cell(w->metrics, 0), metrics_cell(w->metrics, 1));
}

static void
world_close(struct world *w)
{
	consumer_status_fini(&w->status);
	metrics_free(w->metrics);
}

static void
gauges_check(const struct world *w)
{
	const struct consumer_facts *f = consumer_facts(&w->status);

	assert_int_equal(metric_value(w->status.paused), f->paused);
	assert_int_equal(metric_value(w->status.away), f->away);
}

/* Each story begins with a consumer that starts; after each step it must be in the given state. */
static void
stories(void **state)
{
	static const struct {
		enum consumer_step step;
		enum consumer_state then;
	} told[][9] = {
		{ /* a store goes and comes */
			{ STEP_STARTED, CONSUMER_RUNNING }, { STEP_AWAY, CONSUMER_AWAY },
			{ STEP_AWAY, CONSUMER_AWAY }, { STEP_BACK, CONSUMER_RUNNING },
			{ STEP_BACK, CONSUMER_RUNNING }, { STEP_DRAIN, CONSUMER_DRAINING },
			{ STEP_DRAINED, CONSUMER_DRAINED } },
		{ /* a store goes while it is paused, and is back before the pause ends */
			{ STEP_STARTED, CONSUMER_RUNNING }, { STEP_PAUSE, CONSUMER_PAUSED },
			{ STEP_AWAY, CONSUMER_PAUSED_AWAY }, { STEP_BACK, CONSUMER_PAUSED },
			{ STEP_RESUME, CONSUMER_RUNNING } },
		{ /* the pause ends before the store is back */
			{ STEP_STARTED, CONSUMER_RUNNING }, { STEP_AWAY, CONSUMER_AWAY },
			{ STEP_PAUSE, CONSUMER_PAUSED_AWAY }, { STEP_PAUSE, CONSUMER_PAUSED_AWAY },
			{ STEP_RESUME, CONSUMER_AWAY }, { STEP_RESUME, CONSUMER_AWAY },
			{ STEP_BACK, CONSUMER_RUNNING } },
		{ /* it starts paused: it runs only once it is resumed */
			{ STEP_RESUME, CONSUMER_STARTING },
			{ STEP_PAUSE, CONSUMER_STARTING_PAUSED },
			{ STEP_PAUSE, CONSUMER_STARTING_PAUSED }, { STEP_STARTED, CONSUMER_PAUSED },
			{ STEP_RESUME, CONSUMER_RUNNING } },
		{ /* resumed before it has started */
			{ STEP_PAUSE, CONSUMER_STARTING_PAUSED },
			{ STEP_RESUME, CONSUMER_STARTING }, { STEP_STARTED, CONSUMER_RUNNING } },
		{ /* it ends without its store, which comes and goes meanwhile */
			{ STEP_STARTED, CONSUMER_RUNNING }, { STEP_AWAY, CONSUMER_AWAY },
			{ STEP_DRAIN, CONSUMER_DRAINING_AWAY }, { STEP_BACK, CONSUMER_DRAINING },
			{ STEP_AWAY, CONSUMER_DRAINING_AWAY }, { STEP_DRAINED, CONSUMER_DRAINED },
			{ STEP_BACK, CONSUMER_DRAINED }, { STEP_AWAY, CONSUMER_DRAINED } },
		{ /* it ends before it has started; the worker learns of it late */
			{ STEP_DRAIN, CONSUMER_DRAINING }, { STEP_DRAINED, CONSUMER_DRAINED },
			{ STEP_STARTED, CONSUMER_DRAINED }, { STEP_DRAINED, CONSUMER_DRAINED } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(told); i++) {
		enum consumer_state was = CONSUMER_STARTING;
		struct world w;

		world_open(&w);
		assert_int_equal(consumer_state(&w.status), CONSUMER_STARTING);
		for (size_t j = 0; told[i][j].then != CONSUMER_NO_STATE; j++) {
			bool changed = consumer_state_set(&w.status, told[i][j].step);

			assert_int_equal(consumer_state(&w.status), told[i][j].then);
			assert_int_equal(changed, was != told[i][j].then);
			gauges_check(&w);
			was = told[i][j].then;
		}
		world_close(&w);
	}
}

static const struct {
	enum consumer_state from;
	enum consumer_step step;
} illegal[] = {
	/* it has no batch before it has started */
	{ CONSUMER_STARTING, STEP_AWAY },
	{ CONSUMER_STARTING, STEP_BACK },
	{ CONSUMER_STARTING_PAUSED, STEP_AWAY },
	{ CONSUMER_STARTING_PAUSED, STEP_BACK },
	/* it starts once */
	{ CONSUMER_RUNNING, STEP_STARTED },
	{ CONSUMER_AWAY, STEP_STARTED },
	{ CONSUMER_PAUSED, STEP_STARTED },
	{ CONSUMER_PAUSED_AWAY, STEP_STARTED },
	{ CONSUMER_DRAINING_AWAY, STEP_STARTED },
	/* it drains before it has drained */
	{ CONSUMER_STARTING, STEP_DRAINED },
	{ CONSUMER_STARTING_PAUSED, STEP_DRAINED },
	{ CONSUMER_RUNNING, STEP_DRAINED },
	{ CONSUMER_AWAY, STEP_DRAINED },
	{ CONSUMER_PAUSED, STEP_DRAINED },
	{ CONSUMER_PAUSED_AWAY, STEP_DRAINED },
	/* it ends once */
	{ CONSUMER_DRAINING, STEP_DRAIN },
	{ CONSUMER_DRAINING_AWAY, STEP_DRAIN },
	{ CONSUMER_DRAINED, STEP_DRAIN },
	/* the I/O thread says itself that it has drained, and asks for no pause after that */
	{ CONSUMER_DRAINED, STEP_PAUSE },
	{ CONSUMER_DRAINED, STEP_RESUME },
};

static bool
is_illegal(enum consumer_state from, enum consumer_step step)
{
	for (size_t i = 0; i < ARRAY_LEN(illegal); i++)
		if (illegal[i].from == from && illegal[i].step == step)
			return true;
	return false;
}

static void
every_other_step_is_legal(void **state)
{
	(void)state;
	for (enum consumer_state from = CONSUMER_STARTING; from < CONSUMER_STATES; from++)
		for (enum consumer_step step = 0; step < CONSUMER_STEPS; step++)
			if ((consumer_state_after(from, step) == CONSUMER_NO_STATE) !=
				is_illegal(from, step))
				fail_msg("step %d from \"%s\"", step,
					consumer_state_facts(from)->name);
}

/* A pause and a store that is away are independent; the end is final. */
static void
a_step_changes_its_own_fact_alone(void **state)
{
	(void)state;
	for (enum consumer_state from = CONSUMER_STARTING; from < CONSUMER_STATES; from++)
		for (enum consumer_step step = 0; step < CONSUMER_STEPS; step++) {
			enum consumer_state to = consumer_state_after(from, step);
			const struct consumer_facts *a = consumer_state_facts(from);
			const struct consumer_facts *b = consumer_state_facts(to);
			bool worker = step == STEP_AWAY || step == STEP_BACK;
			bool pause = step == STEP_PAUSE || step == STEP_RESUME;

			if (to == CONSUMER_NO_STATE)
				continue;
			assert_int_equal(b->draining, a->draining || step == STEP_DRAIN);
			assert_int_equal(b->takes, to == CONSUMER_RUNNING);
			if (to == CONSUMER_DRAINED)
				assert_false(b->paused || b->away);
			else
				assert_int_equal(b->away, worker ? step == STEP_AWAY : a->away);
			if (b->draining)
				assert_false(b->paused);
			else
				assert_int_equal(b->paused, pause ? step == STEP_PAUSE : a->paused);
			/* the same news again changes nothing */
			if (consumer_state_after(to, step) != CONSUMER_NO_STATE)
				assert_int_equal(consumer_state_after(to, step), to);
		}
}

static void
an_illegal_step_ends_the_process(void **state)
{
	struct world w;
	pid_t child;
	int status;

	(void)state;
	world_open(&w);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		signal(SIGABRT, SIG_DFL);
		assert_non_null(freopen("/dev/null", "w", stderr));
		(void)consumer_state_set(&w.status, STEP_AWAY);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	world_close(&w);
}

#define ROUNDS 20000

static void *
worker_steps(void *arg)
{
	struct consumer_status *s = arg;

	consumer_state_set(s, STEP_STARTED);
	for (int i = 0; i < ROUNDS; i++) {
		consumer_state_set(s, STEP_AWAY);
		must(consumer_facts(s)->away);
		consumer_state_set(s, STEP_BACK);
		must(!consumer_facts(s)->away);
	}
	consumer_state_set(s, STEP_AWAY);
	return NULL;
}

static void *
io_steps(void *arg)
{
	struct consumer_status *s = arg;

	for (int i = 0; i < ROUNDS; i++) {
		consumer_state_set(s, STEP_PAUSE);
		must(consumer_facts(s)->paused);
		consumer_state_set(s, STEP_RESUME);
		must(!consumer_facts(s)->paused);
	}
	consumer_state_set(s, STEP_PAUSE);
	return NULL;
}

/* Neither thread undoes what the other has set. */
static void
threads(void **state)
{
	pthread_t worker, io;
	struct world w;

	(void)state;
	world_open(&w);
	assert_int_equal(pthread_create(&worker, NULL, worker_steps, &w.status), 0);
	assert_int_equal(pthread_create(&io, NULL, io_steps, &w.status), 0);
	assert_int_equal(pthread_join(worker, NULL), 0);
	assert_int_equal(pthread_join(io, NULL), 0);
	assert_int_equal(consumer_state(&w.status), CONSUMER_PAUSED_AWAY);
	gauges_check(&w);
	assert_true(consumer_state_set(&w.status, STEP_DRAIN));
	assert_int_equal(consumer_state(&w.status), CONSUMER_DRAINING_AWAY);
	gauges_check(&w);
	world_close(&w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stories),
		cmocka_unit_test(every_other_step_is_legal),
		cmocka_unit_test(a_step_changes_its_own_fact_alone),
		cmocka_unit_test(an_illegal_step_ends_the_process),
		cmocka_unit_test(threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
