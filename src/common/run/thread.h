/* SPDX-License-Identifier: MIT */
/*
 * A thread beside the main loop. It stops when it is told to, and it ticks: the
 * daemon's watchdog checks the age of its last tick. It takes no signals.
 *
 * Threads: the thread that starts it also stops and joins it. Any thread may call
 * the rest.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct thread;

/* name: at most 15 bytes; top shows it. fn returns once thread_stopping is true. */
struct thread *thread_start(const char *name, void (*fn)(struct thread *t, void *arg), void *arg);
/* For the thread's own poll: readable after thread_wake, and once the thread should stop. */
int thread_wake_fd(const struct thread *t);
void thread_wake(struct thread *t);
void thread_wake_clear(struct thread *t); /* the thread calls it when it wakes */
bool thread_stopping(const struct thread *t);
void thread_wait(struct thread *t, int64_t ms); /* the thread sleeps until woken, at most ms */
void thread_tick(struct thread *t);             /* the thread made progress, or has no work */
bool thread_alive(const struct thread *t, int64_t stall_ms); /* it ticked within stall_ms */
void thread_stop(struct thread *t);                          /* tells it to stop; does not wait */
/*
 * Stops it and waits for its end. Of threads that wake each other, all must have
 * ended before one is freed. NULL is fine.
 */
void thread_finish(struct thread *t);
void thread_join(struct thread *t); /* thread_finish, and frees it; NULL is fine */
