/* SPDX-License-Identifier: MIT */
/*
 * A thread beside the main loop that can be told to stop and is watched: its
 * ticks are what the daemon's watchdog asks for. It takes no signals.
 *
 * Threads: start, stop and join belong to the maker; the rest to any.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct thread;

/* name: at most 15 bytes, as top shows it. fn ends once thread_stopping says so. */
struct thread *thread_start(const char *name, void (*fn)(struct thread *t, void *arg), void *arg);
/* Readable once it should stop, and after each thread_wake: for a poll of its own. */
int thread_wake_fd(const struct thread *t);
void thread_wake(struct thread *t);
void thread_wake_clear(struct thread *t); /* the thread itself, when it woke */
bool thread_stopping(const struct thread *t);
void thread_wait(struct thread *t, int64_t ms); /* the thread itself: until woken or ms are over */
void thread_tick(struct thread *t);             /* progress was made, or there is nothing to do */
bool thread_alive(const struct thread *t, int64_t stall_ms); /* it ticked within stall_ms */
void thread_stop(struct thread *t);                          /* tells it; does not wait */
/*
 * Stops it and waits for its end. Of threads that wake each other, all must have
 * ended before one is freed. NULL is fine.
 */
void thread_finish(struct thread *t);
void thread_join(struct thread *t); /* thread_finish, and frees it; NULL is fine */
