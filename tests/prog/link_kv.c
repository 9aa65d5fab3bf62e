/* SPDX-License-Identifier: MIT */
/* Redis through both links, on the server of ONBOARD_REDIS_URL, under a key prefix of its own. */
#include <event2/event.h>

#include "../lib/on_server.h"
#include "base/clock.h"

#include "link/kv.h"

static const char *url;
static struct arena *mem;
static struct kv *k;
static char key[64]; /* a prefix of this run's own */

#define ARGV(...) ((const char *const[]){ __VA_ARGS__ })

static int
setup(void **state)
{
	struct err e = ERR_INIT;

	(void)state;
	snprintf(key, sizeof key, "test:link_kv:%d", (int)getpid());
	mem = arena_new(4096, 16 << 20);
	k = kv_open(&(struct kv_options){ .url = url }, &e);
	return k ? 0 : -1;
}

static int
teardown(void **state)
{
	struct kv_reply r;
	struct err e = ERR_INIT;

	(void)state;
	if (kv_run(k, mem, 2, ARGV("DEL", key), NULL, &r, &e))
		print_message("%s\n", e.text);
	kv_close(k);
	arena_free(mem);
	return 0;
}

static int64_t
number(struct kv *c, size_t argc, const char *const *argv)
{
	struct kv_reply r;
	struct err e = ERR_INIT;

	if (kv_run(c, mem, argc, argv, NULL, &r, &e))
		fail_msg("%s", e.text);
	assert_int_equal(r.type, KV_INT);
	return r.number;
}

static void
kill_client(int64_t id)
{
	struct err e = ERR_INIT;
	struct kv *other = kv_open(&(struct kv_options){ .url = url, .link_name = "other" }, &e);
	char text[24];

	snprintf(text, sizeof text, "%lld", (long long)id);
	assert_int_equal(number(other, 4, ARGV("CLIENT", "KILL", "ID", text)), 1);
	usleep(20000); /* the end reaches the other socket on its own */
	kv_close(other);
}

static void
pipelines(void **state)
{
	static const char binary[] = "a\0b\r\n%s";
	struct kv_reply r[1000], item;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(kv_ping(k, &e), 0);
	assert_int_equal(kv_add(k, 4, ARGV("HSET", key, "f", binary),
				 (const size_t[]){ 4, strlen(key), 1, sizeof binary - 1 }, &e),
		0);
	assert_int_equal(kv_add(k, 3, ARGV("HGET", key, "f"), NULL, &e), 0);
	assert_int_equal(kv_add(k, 3, ARGV("HGET", key, "none"), NULL, &e), 0);
	assert_int_equal(kv_add(k, 2, ARGV("GET", key), NULL, &e), 0); /* the wrong type */
	assert_int_equal(kv_add(k, 3, ARGV("HMGET", key, "f"), NULL, &e), 0);
	assert_int_equal(kv_flush(k, mem, r, 5, &e), 0);
	assert_int_equal(r[0].type, KV_INT);
	assert_int_equal(r[1].type, KV_TEXT);
	assert_int_equal(r[1].length, sizeof binary - 1);
	assert_memory_equal(r[1].text, binary, sizeof binary - 1);
	assert_int_equal(r[2].type, KV_NIL);
	assert_int_equal(r[3].type, KV_ERROR); /* its neighbours are fine */
	assert_int_equal(kv_check(&r[3], &e), -1);
	assert_int_equal(r[4].type, KV_ARRAY);
	item = kv_reply_at(&r[4], 0);
	assert_int_equal(item.length, sizeof binary - 1);
	assert_int_equal(kv_added(k), 0);
	/* a command that was refused leaves nothing behind in the pipeline */
	{
		char *huge = must_calloc(1, KV_PIPELINE_BYTES_MAX + 1);

		memset(huge, 'x', KV_PIPELINE_BYTES_MAX);
		assert_int_equal(kv_add(k, 2, ARGV("ECHO", huge), NULL, &e), -1);
		assert_int_equal(kv_add(k, 1, ARGV("PING"), NULL, &e), 0);
		assert_int_equal(kv_flush(k, mem, r, 1, &e), 0);
		assert_string_equal(r[0].text, "PONG");
		free(huge);
	}
	/* More in both directions than the sockets' buffers hold. Not over TLS: there Redis 8.0 ends the
	 * connection when it has to write a reply in parts ("SSL routines::bad length"). */
	for (int round = 0; round < 2; round++) {
		const int count = strncmp(url, "rediss:", 7) == 0 ? 50 : 1000;
		char *large = must_calloc(1, 10001);

		memset(large, 'x', 10000);
		for (int i = 0; i < count; i++)
			assert_int_equal(kv_add(k, 2, ARGV("ECHO", large), NULL, &e), 0);
		assert_int_equal(kv_flush(k, mem, r, (size_t)count, &e), 0);
		assert_int_equal(r[count - 1].length, 10000);
		free(large);
	}
}

static void
scripts(void **state)
{
	struct kv_script s, failing;
	struct kv_reply r[4];
	struct err e = ERR_INIT;
	char text[200];

	(void)state;
	/* a text of its own, so that the server can't have it yet */
	snprintf(text, sizeof text, "return KEYS[1] .. ARGV[1] -- %s", key);
	kv_script_init(&s, text);
	kv_script_init(&failing, "return redis.error_reply('OWN no')");
	for (int round = 0; round < 2; round++) {
		assert_int_equal(kv_add_script(k, &s, 1, 2, ARGV(key, "1"), NULL, &e), 0);
		assert_int_equal(kv_add(k, 1, ARGV("PING"), NULL, &e), 0);
		assert_int_equal(kv_add_script(k, &failing, 0, 0, NULL, NULL, &e), 0);
		assert_int_equal(kv_add_script(k, &s, 1, 2, ARGV(key, "2"), NULL, &e), 0);
		assert_int_equal(kv_flush(k, mem, r, 4, &e), 0);
		assert_memory_equal(r[0].text, key, strlen(key));
		assert_int_equal(r[0].text[r[0].length - 1], '1');
		assert_string_equal(r[1].text, "PONG");
		assert_int_equal(r[2].type, KV_ERROR);
		assert_string_equal(r[2].text, "OWN no");
		assert_int_equal(r[3].text[r[3].length - 1], '2');
	}
}

static void
comes_back(void **state)
{
	struct link_view v;
	struct err e = ERR_INIT;
	int64_t id = number(k, 2, ARGV("CLIENT", "ID"));

	(void)state;
	kill_client(id);
	assert_int_not_equal(number(k, 2, ARGV("CLIENT", "ID")),
		id); /* seen before anything was sent */
	link_look(kv_link(k), &v);
	assert_int_equal(v.reconnects, 1);
	/* cut in the middle: the call fails, the next ones at once, then it is back */
	assert_int_equal(kv_add(k, 1, ARGV("PING"), NULL, &e), 0);
	assert_int_equal(kv_add(k, 1, ARGV("QUIT"), NULL, &e), 0);
	assert_int_equal(kv_add(k, 1, ARGV("PING"), NULL, &e), 0);
	assert_int_equal(kv_flush(k, mem, (struct kv_reply[3]){ 0 }, 3, &e), -1);
	assert_int_equal(e.kind, ERR_AWAY);
	assert_int_equal(kv_ping(k, &e), -1);
	assert_int_equal(e.kind, ERR_AWAY);
	assert_true(kv_due_ms(k) > 0);
	usleep((unsigned)kv_due_ms(k) * 1000 + 2000);
	assert_int_equal(kv_ping(k, &e), 0);
}

static void
silent_and_slow(void **state)
{
	struct err e = ERR_INIT;
	char where[100];
	int64_t from;
	int port, fd = silent_server(&port);
	struct kv *c;
	struct kv_reply r;

	(void)state;
	snprintf(where, sizeof where, "redis://u:secret@127.0.0.1:%d/3", port);
	c = kv_open(&(struct kv_options){ .url = where, .connect_ms = 300 }, &e);
	from = clock_mono_ms();
	assert_int_equal(kv_ping(c, &e), -1);
	assert_int_equal(e.kind, ERR_AWAY);
	assert_in_range(clock_mono_ms() - from, 300, 1900);
	from = clock_mono_ms();
	assert_int_equal(kv_ping(c, &e), -1); /* while the backoff runs: at once */
	assert_in_range(clock_mono_ms() - from, 0, 250);
	assert_null(strstr(e.text, "secret"));
	kv_close(c);
	close(fd);
	c = kv_open(&(struct kv_options){ .url = url, .call_ms = 200 }, &e);
	assert_int_equal(kv_ping(c, &e), 0);
	from = clock_mono_ms();
	assert_int_equal(kv_run(c, mem, 3, ARGV("BLPOP", key, "5"), NULL, &r, &e), -1);
	assert_int_equal(e.kind, ERR_INTERNAL); /* the key is a hash: WRONGTYPE */
	assert_int_equal(kv_run(c, mem, 3, ARGV("BLPOP", "test:link_kv:none", "5"), NULL, &r, &e),
		-1);
	assert_int_equal(e.kind, ERR_AWAY);
	assert_in_range(clock_mono_ms() - from, 200, 1900);
	kv_close(c);
}

/* ---- on the loop ---- */

struct told {
	int good, bad, messages, begun;
	enum err_kind kind;
	int64_t number;
	char text[512];
};

static void
on_done(void *arg, const struct kv_reply *r, const struct err *e)
{
	struct told *t = arg;

	assert_true((r == NULL) != (e == NULL));
	if (e) {
		t->bad++;
		t->kind = e->kind;
		return;
	}
	t->good++;
	t->number = r->number;
	snprintf(t->text, sizeof t->text, "%.*s", (int)r->length, r->text ? r->text : "");
}

static void
on_message(void *arg, const struct kv_reply *r)
{
	struct told *t = arg;

	if (!r) {
		t->begun++;
		return;
	}
	t->messages++;
	snprintf(t->text, sizeof t->text, "%.*s", (int)r->length, r->text);
}

static bool
turn_until(struct event_base *base, const int *what, int want, int64_t ms)
{
	const struct timeval step = { 0, 5000 };
	int64_t end = clock_mono_ms() + ms;

	while (*what < want && clock_mono_ms() < end) {
		event_base_loopexit(base, &step);
		event_base_loop(base, 0);
	}
	return *what >= want;
}

static bool
turn_until_up(struct event_base *base, struct link *l, bool up, int64_t ms)
{
	const struct timeval step = { 0, 5000 };
	int64_t end = clock_mono_ms() + ms;

	while (link_usable(l) != up && clock_mono_ms() < end) {
		event_base_loopexit(base, &step);
		event_base_loop(base, 0);
	}
	return link_usable(l) == up;
}

static void
async_calls(void **state)
{
	struct event_base *base = event_base_new();
	struct err e = ERR_INIT;
	struct told t = { 0 };
	struct kv_script s;
	char text[200];
	struct kv_async *a = kv_async_open(base,
		&(struct kv_options){ .url = url, .calls_max = 4, .call_ms = 300, .ping_ms = 50 },
		&e);

	(void)state;
	snprintf(text, sizeof text, "return ARGV[1] -- async %s", key);
	kv_script_init(&s, text);
	assert_non_null(a);
	assert_int_equal(kv_async_run(a, 1, ARGV("PING"), NULL, on_done, &t, &e), -1);
	assert_int_equal(e.kind, ERR_AWAY);
	assert_true(turn_until_up(base, kv_async_link(a), true, 2000));
	turn_until(base, &t.bad, 1, 200); /* pings in between */
	while (kv_async_waiting(a) > 0)
		turn_until(base, &t.bad, 1, 10); /* the last one's answer */
	for (int i = 0; i < 4; i++)
		assert_int_equal(kv_async_script(a, &s, 0, 1, ARGV("hello"), NULL, on_done, &t, &e),
			0);
	assert_int_equal(kv_async_run(a, 1, ARGV("PING"), NULL, on_done, &t, &e), -1);
	assert_int_equal(e.kind, ERR_LIMIT);
	assert_int_equal(t.good, 0); /* never from within */
	assert_true(turn_until(base, &t.good, 4, 1000));
	assert_string_equal(t.text, "hello");
	assert_int_equal(kv_async_run(a, 2, ARGV("CLIENT", "ID"), NULL, on_done, &t, &e), 0);
	assert_true(turn_until(base, &t.good, 5, 1000));

	kill_client(t.number); /* while idle */
	assert_true(turn_until_up(base, kv_async_link(a), false, 1000));
	assert_true(turn_until_up(base, kv_async_link(a), true, 1000));

	/* late: it and the one behind it are told, then a new connection */
	assert_int_equal(
		kv_async_run(a, 3, ARGV("BLPOP", "test:link_kv:none", "5"), NULL, on_done, &t, &e),
		0);
	assert_int_equal(kv_async_run(a, 1, ARGV("PING"), NULL, on_done, &t, &e), 0);
	assert_true(turn_until(base, &t.bad, 2, 600));
	assert_int_equal(t.kind, ERR_AWAY);
	assert_int_equal(kv_async_waiting(a), 0);
	assert_true(turn_until_up(base, kv_async_link(a), true, 1000));
	assert_int_equal(kv_async_run(a, 1, ARGV("PING"), NULL, on_done, &t, &e), 0);
	kv_async_close(a); /* answers what waits */
	assert_int_equal(t.bad, 3);
	event_base_free(base);
}

static void
async_channel(void **state)
{
	struct event_base *base = event_base_new();
	struct err e = ERR_INIT;
	struct told t = { 0 };
	struct kv_async *a = kv_async_open(base,
		&(struct kv_options){ .url = url,
			.channel = key,
			.message = on_message,
			.message_arg = &t },
		&e);

	(void)state;
	assert_true(turn_until(base, &t.begun, 1, 2000));
	assert_int_equal(number(k, 3, ARGV("PUBLISH", key, "one")), 1);
	assert_true(turn_until(base, &t.messages, 1, 1000));
	assert_string_equal(t.text, "one");
	kv_async_close(a);
	event_base_free(base);
}

static void
async_silent_server(void **state)
{
	struct event_base *base = event_base_new();
	struct err e = ERR_INIT;
	struct link_view v;
	char where[100];
	int never = 0, port, fd = silent_server(&port);
	struct kv_async *a;

	(void)state;
	snprintf(where, sizeof where, "redis://u:secret@127.0.0.1:%d", port);
	a = kv_async_open(base, &(struct kv_options){ .url = where, .connect_ms = 100 }, &e);
	turn_until(base, &never, 1, 600); /* several tries */
	link_look(kv_async_link(a), &v);
	assert_int_not_equal(v.state, LINK_UP);
	assert_string_equal(v.why, "no answer to the connect in time");
	close(fd);
	turn_until(base, &never, 1, 1500);
	link_look(kv_async_link(a), &v);
	assert_non_null(strstr(v.why, "refused"));
	kv_async_close(a);
	event_base_free(base);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pipelines),
		cmocka_unit_test(scripts),
		cmocka_unit_test(comes_back),
		cmocka_unit_test(silent_and_slow),
		cmocka_unit_test(async_calls),
		cmocka_unit_test(async_channel),
		cmocka_unit_test(async_silent_server),
	};

	ON_SERVER_RUN("ONBOARD_REDIS_URL", url, tests, setup, teardown);
}
