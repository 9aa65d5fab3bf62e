/* SPDX-License-Identifier: MIT */
#include "base/loop.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fault.h"

/* The loop wakes at least this often, so a turn counter that stands still means a stalled loop. */
#define HEARTBEAT_MS 500

struct post {
	void (*fn)(void *);
	void *arg;
};

struct loop {
	struct event_base *base;
	struct event *wake; /* readable while posts wait */
	struct event *heartbeat;
	int wake_fd;
	atomic_uint_fast64_t turns;

	pthread_mutex_t lock; /* guards the fields below */
	struct post *posts;   /* on_wake takes the whole list */
	size_t count, room;
};

struct loop_timer {
	struct event *event;
	void (*fn)(void *);
	void *arg;
};

/* Runs the waiting posts. Posts that these make run in the next turn. */
static void
on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct loop *l = arg;
	struct post *posts;
	uint64_t n;
	size_t count;

	(void)what;
	must(read(fd, &n, sizeof n) == sizeof n || errno == EAGAIN);
	must(pthread_mutex_lock(&l->lock) == 0);
	posts = l->posts;
	count = l->count;
	l->posts = NULL;
	l->count = l->room = 0;
	must(pthread_mutex_unlock(&l->lock) == 0);
	for (size_t i = 0; i < count; i++)
		posts[i].fn(posts[i].arg);
	free(posts);
}

static void
on_heartbeat(evutil_socket_t fd, short what, void *arg)
{
	struct loop *l = arg;

	(void)fd;
	(void)what;
	fault_hit(FAULT_loop_turn);
	atomic_fetch_add_explicit(&l->turns, 1, memory_order_relaxed);
}

static struct timeval
timeval_of(int64_t ms)
{
	return (struct timeval){ ms / 1000, ms % 1000 * 1000 };
}

struct loop *
loop_new(void)
{
	const struct timeval beat = timeval_of(HEARTBEAT_MS);
	struct loop *l = must_calloc(1, sizeof *l);
	struct event_config *config = event_config_new();

	/* only this thread uses the base: posts arrive through wake_fd */
	must(config && event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK) == 0);
	/* saves epoll_ctl calls; allowed because no descriptor in the loop is dup'ed */
	must(event_config_set_flag(config, EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST) == 0);
	l->base = event_base_new_with_config(config);
	event_config_free(config);
	/* two priorities: 0 for a channel's messages (link/kv_async.c), 1 for everything else */
	must(l->base && event_base_priority_init(l->base, 2) == 0);
	must(pthread_mutex_init(&l->lock, NULL) == 0);
	l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	must(l->wake_fd >= 0);
	l->wake = event_new(l->base, l->wake_fd, EV_READ | EV_PERSIST, on_wake, l);
	l->heartbeat = event_new(l->base, -1, EV_PERSIST, on_heartbeat, l);
	must(l->wake && event_add(l->wake, NULL) == 0);
	must(l->heartbeat && event_add(l->heartbeat, &beat) == 0);
	return l;
}

void
loop_free(struct loop *l)
{
	if (!l)
		return;
	event_free(l->wake);
	event_free(l->heartbeat);
	event_base_free(l->base);
	close(l->wake_fd);
	free(l->posts);
	must(pthread_mutex_destroy(&l->lock) == 0);
	free(l);
}

struct event_base *
loop_base(struct loop *l)
{
	return l->base;
}

void
loop_run(struct loop *l)
{
	must(event_base_dispatch(l->base) >= 0);
}

void
loop_stop(struct loop *l)
{
	must(event_base_loopbreak(l->base) == 0);
}

uint64_t
loop_turns(const struct loop *l)
{
	return atomic_load_explicit(&l->turns, memory_order_relaxed);
}

int
loop_post(struct loop *l, void (*fn)(void *), void *arg, struct err *e)
{
	const uint64_t one = 1;
	bool first, full;

	must(pthread_mutex_lock(&l->lock) == 0);
	full = l->count == LOOP_POSTS_MAX;
	first = l->count == 0;
	if (!full && l->count == l->room) {
		l->room = l->room ? l->room * 2 : 64;
		l->posts = must_realloc(l->posts, l->room * sizeof *l->posts);
	}
	if (!full)
		l->posts[l->count++] = (struct post){ fn, arg };
	must(pthread_mutex_unlock(&l->lock) == 0);
	if (full)
		return err_set(e, ERR_LIMIT, "%d posts wait for the event loop", LOOP_POSTS_MAX);
	if (first) /* one wake-up a batch */
		must(write(l->wake_fd, &one, sizeof one) == sizeof one);
	return 0;
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct loop_timer *t = arg;

	(void)fd;
	(void)what;
	t->fn(t->arg);
}

struct loop_timer *
loop_timer_new(struct loop *l, void (*fn)(void *), void *arg)
{
	struct loop_timer *t = must_calloc(1, sizeof *t);

	*t = (struct loop_timer){ event_new(l->base, -1, 0, on_timer, t), fn, arg };
	must(t->event);
	return t;
}

void
loop_timer_free(struct loop_timer *t)
{
	if (!t)
		return;
	event_free(t->event);
	free(t);
}

void
loop_timer_set(struct loop_timer *t, int64_t ms)
{
	const struct timeval wait = timeval_of(ms > 0 ? ms : 0);

	must(event_add(t->event, &wait) == 0);
}

void
loop_timer_clear(struct loop_timer *t)
{
	must(event_del(t->event) == 0);
}
