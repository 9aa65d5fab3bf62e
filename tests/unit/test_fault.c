/* SPDX-License-Identifier: MIT */
#include "cm.h"

#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"

static unsigned
hits(const char *spec, int passages)
{
	unsigned bits = 0;
	struct err e;

	assert_int_equal(fault_init(spec, &e), 0);
	for (int i = 0; i < passages; i++)
		bits |= (unsigned)fault_hit(FAULT_selftest) << i;
	return bits;
}

static void
hits_when_told(void **state)
{
	(void)state;
	assert_int_equal(hits(NULL, 5), 0);
	assert_int_equal(hits("", 5), 0);
	assert_int_equal(hits("selftest=fail", 5), 0x1f);
	assert_int_equal(hits("selftest=fail@2", 5), 0x02);
	assert_int_equal(hits("selftest=fail@3+", 5), 0x1c);
	assert_int_equal(hits("selftest=stall:1", 5), 0);
	assert_int_equal(hits(NULL, 5), 0);
}

static void
the_wall_clock_is_ahead_and_the_other_is_not(void **state)
{
	struct err e;
	int64_t mono_us = clock_mono_us(), wall_us = clock_wall_us();

	(void)state;
	assert_int_equal(fault_init("clock_wall=ahead:7200000", &e), 0);
	assert_in_range(clock_wall_us() - wall_us, 7200000000, 7260000000);
	assert_in_range(clock_mono_us() - mono_us, 0, 60000000);
	assert_false(fault_hit(FAULT_clock_wall));
	assert_int_equal(fault_init(NULL, &e), 0);
	assert_in_range(clock_wall_us() - wall_us, 0, 60000000);
}

static void
a_wrong_spec_is_named(void **state)
{
	static const char *const rows[] = { "selftest", "nowhere=fail", "selftest=explode",
		"selftest=fail@0", "selftest=fail@x", "selftest=fail@1++",
		"selftest=stall:", "selftest=stall:-1", "clock_wall=ahead:-1", "=fail", ",",
		"selftest=fail,", "selftest=fail@2,selftest=fail" };
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(fault_init(rows[i], &e), -1);
		assert_int_equal(e.kind, ERR_INVALID);
		assert_non_null(strstr(e.text, "ONBOARD_FAULTS"));
		assert_false(fault_any);
	}
}

static void
on_alarm(int signal)
{
	(void)signal;
}

static void
a_stall_outlasts_signals(void **state)
{
	const struct sigaction action = { .sa_handler = on_alarm };
	const struct itimerval each_5_ms = { { 0, 5000 }, { 0, 5000 } }, none = { 0 };
	int64_t began;

	(void)state;
	assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
	assert_int_equal(setitimer(ITIMER_REAL, &each_5_ms, NULL), 0);
	began = clock_mono_us();
	assert_int_equal(hits("selftest=stall:60", 1), 0);
	assert_true(clock_mono_us() - began >= 60000);
	assert_int_equal(setitimer(ITIMER_REAL, &none, NULL), 0);
}

static void
kill_kills(void **state)
{
	struct err e;
	int status;
	pid_t pid;

	(void)state;
	pid = fork();
	if (pid == 0) {
		if (fault_init("selftest=kill@2", &e) < 0 || fault_hit(FAULT_selftest))
			_exit(1);
		fault_hit(FAULT_selftest);
		_exit(2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hits_when_told),
		cmocka_unit_test(the_wall_clock_is_ahead_and_the_other_is_not),
		cmocka_unit_test(a_wrong_spec_is_named),
		cmocka_unit_test(a_stall_outlasts_signals),
		cmocka_unit_test(kill_kills),
	};

	return cmocka_run_group_tests_name("fault", tests, NULL, NULL);
}
