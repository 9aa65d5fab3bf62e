/* SPDX-License-Identifier: MIT */
/* loop and notify */
#include "cm.h"

#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/loop.h"
#include "run/notify.h"

struct seen {
	struct loop *loop;
	struct loop_timer *timer;
	char order[16];
	int posts;
};

static void
on_post(void *arg)
{
	struct seen *s = arg;

	if (++s->posts == 4000)
		loop_stop(s->loop);
}

static void *
post_many(void *arg)
{
	struct seen *s = arg;
	struct err e;

	for (int i = 0; i < 1000; i++)
		while (loop_post(s->loop, on_post, s, &e) < 0)
			must(e.kind == ERR_LIMIT);
	return NULL;
}

static void
posts_from_threads_all_arrive(void **state)
{
	struct seen s = { .loop = loop_new() };
	pthread_t t[4];

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, post_many, &s), 0);
	loop_run(s.loop);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_join(t[i], NULL), 0);
	assert_int_equal(s.posts, 4000);
	loop_free(s.loop);
}

static void
posts_are_bounded(void **state)
{
	struct seen s = { .loop = loop_new() };
	struct err e = ERR_INIT;

	(void)state;
	for (int i = 0; i < LOOP_POSTS_MAX; i++)
		assert_int_equal(loop_post(s.loop, on_post, &s, &e), 0);
	assert_int_equal(loop_post(s.loop, on_post, &s, &e), -1);
	assert_int_equal(e.kind, ERR_LIMIT);
	loop_free(s.loop); /* never run: dropped without a leak */
	assert_int_equal(s.posts, 0);
}

static void
add_a(void *arg)
{
	struct seen *s = arg;

	s->order[strlen(s->order)] = 'a';
	loop_timer_set(s->timer, 1);
}

static void
add_b(void *arg)
{
	struct seen *s = arg;

	s->order[strlen(s->order)] = 'b';
	if (strlen(s->order) < 6)
		loop_timer_set(s->timer, 1); /* itself, anew */
	else
		loop_stop(s->loop);
}

static void
timers_fire_once_and_can_be_set_anew(void **state)
{
	struct seen s = { .loop = loop_new() };
	struct loop_timer *never = loop_timer_new(s.loop, add_a, &s), *first;

	(void)state;
	s.timer = loop_timer_new(s.loop, add_b, &s);
	first = loop_timer_new(s.loop, add_a, &s);
	loop_timer_set(never, 1);
	loop_timer_clear(never);
	loop_timer_set(first, 5);
	loop_run(s.loop);
	assert_string_equal(s.order, "abbbbb");
	loop_timer_free(never);
	loop_timer_free(first);
	loop_timer_free(s.timer);
	loop_timer_free(NULL);
	loop_free(s.loop);
}

static void
stop_when_turned_twice(void *arg)
{
	struct seen *s = arg;

	if (loop_turns(s->loop) >= 2)
		loop_stop(s->loop);
	else
		loop_timer_set(s->timer, 20);
}

static void
an_idle_loop_turns(void **state)
{
	struct seen s = { .loop = loop_new() };

	(void)state;
	s.timer = loop_timer_new(s.loop, stop_when_turned_twice, &s);
	loop_timer_set(s.timer, 0);
	loop_run(s.loop);
	assert_true(loop_turns(s.loop) >= 2);
	loop_timer_free(s.timer);
	loop_free(s.loop);
}

static int
notify_socket(const char *name, socklen_t length)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int s = socket(AF_UNIX, SOCK_DGRAM, 0);

	memcpy(address.sun_path, name, length);
	assert_int_equal(bind(s, (struct sockaddr *)&address,
				 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)),
		0);
	return s;
}

static void
heard(int s, const char *want)
{
	char text[256];
	ssize_t n = recv(s, text, sizeof text - 1, MSG_DONTWAIT);

	assert_true(n > 0);
	text[n] = '\0';
	assert_string_equal(text, want);
}

static void
systemd_is_told(void **state)
{
	char folder[] = "/tmp/onboard-test-notify-XXXXXX", path[64], abstract[64];
	int s;

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/socket", folder);
	s = notify_socket(path, (socklen_t)strlen(path));
	setenv("NOTIFY_SOCKET", path, 1);
	setenv("WATCHDOG_USEC", "10000000", 1);
	notify_init();
	assert_null(getenv("NOTIFY_SOCKET"));
	assert_null(getenv("WATCHDOG_USEC"));
	assert_int_equal(notify_watchdog_ms(), 5000);
	notify_send("READY=1\nSTATUS=%s", "fine");
	heard(s, "READY=1\nSTATUS=fine");
	close(s);
	unlink(path);
	rmdir(folder);
	notify_send("STATUS=nobody hears"); /* gone: no harm */

	snprintf(abstract, sizeof abstract, "@onboard-test-%ld", (long)getpid());
	abstract[0] = '\0';
	s = notify_socket(abstract, (socklen_t)(1 + strlen(abstract + 1)));
	abstract[0] = '@';
	setenv("NOTIFY_SOCKET", abstract, 1);
	setenv("WATCHDOG_USEC", "10000000", 1);
	setenv("WATCHDOG_PID", "1", 1); /* for somebody else */
	notify_init();
	assert_int_equal(notify_watchdog_ms(), 0);
	notify_send("STOPPING=1");
	heard(s, "STOPPING=1");
	close(s);
	notify_init(); /* without the variable: silent */
	notify_send("READY=1");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(posts_from_threads_all_arrive),
		cmocka_unit_test(posts_are_bounded),
		cmocka_unit_test(timers_fire_once_and_can_be_set_anew),
		cmocka_unit_test(an_idle_loop_turns),
		cmocka_unit_test(systemd_is_told),
	};

	return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
