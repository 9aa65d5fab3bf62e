/* SPDX-License-Identifier: MIT */
#include "run/thread.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/must.h"

struct thread {
	pthread_t id;
	void (*fn)(struct thread *, void *);
	void *arg;
	int wake_fd;
	bool finished;
	atomic_bool stopping;
	_Atomic int64_t tick_ms;
};

static void *
thread_main(void *arg)
{
	struct thread *t = arg;

	t->fn(t, t->arg);
	return NULL;
}

struct thread *
thread_start(const char *name, void (*fn)(struct thread *t, void *arg), void *arg)
{
	struct thread *t = must_calloc(1, sizeof *t);
	pthread_attr_t attr;
	sigset_t all, before;

	t->fn = fn;
	t->arg = arg;
	t->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	must(t->wake_fd >= 0);
	thread_tick(t);
	sigfillset(&all);
	must(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
	must(pthread_attr_init(&attr) == 0);
	must(pthread_create(&t->id, &attr, thread_main, t) == 0);
	must(pthread_attr_destroy(&attr) == 0);
	must(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
	must(pthread_setname_np(t->id, name) == 0);
	return t;
}

int
thread_wake_fd(const struct thread *t)
{
	return t->wake_fd;
}

void
thread_wake(struct thread *t)
{
	const uint64_t one = 1;

	/* EAGAIN: the counter is full, so the thread is awake already */
	must(write(t->wake_fd, &one, sizeof one) == sizeof one || errno == EAGAIN);
}

void
thread_wake_clear(struct thread *t)
{
	uint64_t n;

	/* after thread_stop the descriptor stays readable */
	if (!thread_stopping(t))
		must(read(t->wake_fd, &n, sizeof n) == sizeof n || errno == EAGAIN);
	if (thread_stopping(t))
		thread_wake(t);
}

bool
thread_stopping(const struct thread *t)
{
	return atomic_load(&t->stopping);
}

void
thread_wait(struct thread *t, int64_t ms)
{
	struct pollfd p = { .fd = t->wake_fd, .events = POLLIN };

	if (ms > 0 && !thread_stopping(t))
		(void)poll(&p, 1, ms > 60000 ? 60000 : (int)ms);
	thread_wake_clear(t);
}

void
thread_tick(struct thread *t)
{
	atomic_store_explicit(&t->tick_ms, clock_mono_ms(), memory_order_relaxed);
}

bool
thread_alive(const struct thread *t, int64_t stall_ms)
{
	return clock_mono_ms() - atomic_load_explicit(&t->tick_ms, memory_order_relaxed) <=
		stall_ms;
}

void
thread_stop(struct thread *t)
{
	atomic_store(&t->stopping, true);
	thread_wake(t);
}

void
thread_finish(struct thread *t)
{
	if (!t || t->finished)
		return;
	thread_stop(t);
	must(pthread_join(t->id, NULL) == 0);
	t->finished = true;
}

void
thread_join(struct thread *t)
{
	if (!t)
		return;
	thread_finish(t);
	close(t->wake_fd);
	free(t);
}
