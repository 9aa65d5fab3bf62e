/* SPDX-License-Identifier: MIT */
/*
 * The event loop of one thread: a thin layer over libevent's base, which gives
 * every daemon the same timers, posts from other threads and turn counter.
 *
 * Threads: any thread may call loop_post and loop_turns. All other functions
 * belong to the loop's own thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct event_base;
struct loop;
struct loop_timer;

struct loop *loop_new(void);
void loop_free(struct loop *l); /* drops posts that have not run; free the timers first */
struct event_base *loop_base(struct loop *l);
void loop_run(struct loop *l);  /* returns after loop_stop */
void loop_stop(struct loop *l); /* the loop ends after its current turn */

/* A counter of turns: if it stands still, the loop is stalled. */
uint64_t loop_turns(const struct loop *l);

/*
 * Runs fn(arg) on the loop's thread, in the order of the posts.
 * ERR_LIMIT: LOOP_POSTS_MAX posts are waiting.
 */
#define LOOP_POSTS_MAX 65536
int loop_post(struct loop *l, void (*fn)(void *), void *arg, struct err *e) MUST_CHECK;

/* One-shot timers. They can be set again, also from within fn. */
struct loop_timer *loop_timer_new(struct loop *l, void (*fn)(void *), void *arg);
void loop_timer_free(struct loop_timer *t); /* NULL is fine */
void loop_timer_set(struct loop_timer *t, int64_t ms);
void loop_timer_clear(struct loop_timer *t);
