/* SPDX-License-Identifier: MIT */
#include "cm.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/metrics.h"

enum { M_ASKED, M_WAITING, M_TOOK, M_BUSY, M_COUNT };

static const struct metric_def defs[M_COUNT] = {
	[M_ASKED] = { "onboard_asked_total", METRIC_COUNTER, "Questions.", { "route", "status" } },
	[M_WAITING] = { "onboard_waiting", METRIC_GAUGE, "Waiting now.", { NULL } },
	[M_TOOK] = { "onboard_took_seconds", METRIC_HISTOGRAM, "Time.", { "route" } },
	[M_BUSY] = { "process_busy_seconds_total", METRIC_COUNTER_US, "Busy.", { NULL } },
};

static void
page(void **state)
{
	struct metrics *m = metrics_new(defs, M_COUNT);
	struct buf b;

	(void)state;
	metric_add(metrics_cell(m, M_ASKED, "signup", "201"), 3);
	metric_add(metrics_cell(m, M_ASKED, "signup", "201"), 4);
	metric_add(metrics_cell(m, M_ASKED, "a\"b\\c\nd", "500"), 1);
	metric_set(metrics_cell(m, M_WAITING), 10);
	metric_set(metrics_cell(m, M_WAITING), -3);
	metric_add(metrics_cell(m, M_BUSY), 12000034);
	metric_observe_us(metrics_cell(m, M_TOOK, "x"), 100);
	metric_observe_us(metrics_cell(m, M_TOOK, "x"), 101);
	metric_observe_us(metrics_cell(m, M_TOOK, "x"), 20000000);
	buf_init(&b, 100000);
	metrics_write(m, &b);
	assert_non_null(strstr(b.data,
		"# HELP onboard_asked_total Questions.\n# TYPE onboard_asked_total counter\n"
		"onboard_asked_total{route=\"signup\",status=\"201\"} 7\n"
		"onboard_asked_total{route=\"a\\\"b\\\\c\\nd\",status=\"500\"} 1\n"));
	assert_non_null(strstr(b.data,
		"# TYPE process_busy_seconds_total counter\nprocess_busy_seconds_total 12.000034\n"));
	assert_non_null(strstr(b.data, "# TYPE onboard_waiting gauge\nonboard_waiting -3\n"));
	assert_non_null(strstr(b.data,
		"onboard_took_seconds_bucket{route=\"x\",le=\"0.0001\"} 1\n"
		"onboard_took_seconds_bucket{route=\"x\",le=\"0.00025\"} 2\n"));
	assert_non_null(strstr(b.data,
		"onboard_took_seconds_bucket{route=\"x\",le=\"10\"} 2\n"
		"onboard_took_seconds_bucket{route=\"x\",le=\"+Inf\"} 3\n"
		"onboard_took_seconds_sum{route=\"x\"} 20.000201\n"
		"onboard_took_seconds_count{route=\"x\"} 3\n"));
	buf_fini(&b);
	metrics_free(m);
}

static void
cells_are_bounded(void **state)
{
	struct metrics *m = metrics_new(defs, M_COUNT);
	struct metric_cell *other;
	char label[16];

	(void)state;
	for (int i = 0; i < 5000; i++) {
		snprintf(label, sizeof label, "r%d", i);
		metric_add(metrics_cell(m, M_ASKED, label, "200"), 1);
	}
	other = metrics_cell(m, M_ASKED, "r4999", "200");
	assert_ptr_equal(other, metrics_cell(m, M_ASKED, "r4998", "200"));
	assert_int_equal(metric_value(other), 5000 - (METRICS_CELLS_MAX - 1));
	assert_int_equal(metric_value(metrics_cell(m, M_ASKED, "r0", "200")), 1);
	metrics_free(m);
}

/* A sum that falls would look like a restart to whoever reads the page. */
static void
a_clock_that_steps_back_counts_as_nothing(void **state)
{
	struct metrics *m = metrics_new(defs, M_COUNT);
	struct buf b;

	(void)state;
	metric_observe_us(metrics_cell(m, M_TOOK, "x"), -5);
	buf_init(&b, 100000);
	metrics_write(m, &b);
	assert_non_null(strstr(b.data, "le=\"0.0001\"} 1\n"));
	assert_non_null(strstr(b.data, "_sum{route=\"x\"} 0.000000\n"));
	buf_fini(&b);
	metrics_free(m);
}

/* A bad table is a bug: the process stops where the table is taken. */
static void
bad_tables_stop_the_process(void **state)
{
	static const struct metric_def bad[] = {
		{ "Onboard_x", METRIC_COUNTER, "Help.", { NULL } },
		{ "9x", METRIC_COUNTER, "Help.", { NULL } },
		{ "x-y", METRIC_COUNTER, "Help.", { NULL } },
		{ "", METRIC_COUNTER, "Help.", { NULL } },
		{ "x", METRIC_COUNTER, "", { NULL } },
		{ "x", METRIC_COUNTER, "a\nb", { NULL } },
		{ "x", METRIC_COUNTER, "Help.", { "a b" } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		pid_t child = fork();
		int status;

		assert_true(child >= 0);
		if (child == 0) {
			signal(SIGABRT, SIG_DFL);
			close(2);
			metrics_free(metrics_new(&bad[i], 1));
			_exit(0);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
			fail_msg("row %zu was accepted", i);
	}
}

static void *
hammer(void *arg)
{
	struct metrics *m = arg;
	struct buf b;

	for (int i = 0; i < 2000; i++) {
		metric_add(metrics_cell(m, M_ASKED, i & 1 ? "a" : "b", "200"), 1);
		metric_observe_us(metrics_cell(m, M_TOOK, "x"), i);
	}
	buf_init(&b, 100000);
	metrics_write(m, &b);
	buf_fini(&b);
	return NULL;
}

static void
threads_lose_nothing(void **state)
{
	struct metrics *m = metrics_new(defs, M_COUNT);
	pthread_t t[4];

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, hammer, m), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_join(t[i], NULL), 0);
	assert_int_equal(metric_value(metrics_cell(m, M_ASKED, "a", "200")), 4000);
	assert_int_equal(metric_value(metrics_cell(m, M_TOOK, "x")), 8000);
	metrics_free(m);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(page),
		cmocka_unit_test(cells_are_bounded),
		cmocka_unit_test(threads_lose_nothing),
		cmocka_unit_test(a_clock_that_steps_back_counts_as_nothing),
		cmocka_unit_test(bad_tables_stop_the_process),
	};

	return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
