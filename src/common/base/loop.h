/* SPDX-License-Identifier: MIT */
/*
 * The event loop of one thread: a thin shell over libevent's base, so that
 * timers, posts from other threads and the turn count look the same in every
 * daemon. All but loop_post and loop_turns belong to the loop's own thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct event_base;
struct loop;
struct loop_timer;

struct loop *loop_new(void);
void loop_free(struct loop *l); /* posts that were never run are dropped; timers must be gone */
struct event_base *loop_base(struct loop *l);
void loop_run(struct loop *l);  /* until loop_stop */
void loop_stop(struct loop *l); /* after the turn under way */

/* Grows while the loop turns: what the watchdog watches. Any thread. */
uint64_t loop_turns(const struct loop *l);

/*
 * fn(arg) will run on the loop's thread, in the order of posting. Any thread.
 * ERR_LIMIT: LOOP_POSTS_MAX are waiting already.
 */
#define LOOP_POSTS_MAX 65536
int loop_post(struct loop *l, void (*fn)(void *), void *arg, struct err *e) MUST_CHECK;

/* One-shot timers that can be set anew, also from within fn. */
struct loop_timer *loop_timer_new(struct loop *l, void (*fn)(void *), void *arg);
void loop_timer_free(struct loop_timer *t); /* NULL is fine */
void loop_timer_set(struct loop_timer *t, int64_t ms);
void loop_timer_clear(struct loop_timer *t);
