/* SPDX-License-Identifier: MIT */
/*
 * RabbitMQ: a connection's life: refused, silent, cut, blocked, stalled, opened
 * a hundred times; on the server of ONBOARD_RABBITMQ_URL, through a relay.
 * ONBOARD_RABBITMQ_ALARM is a command that takes "on" or "off" for a real alarm;
 * without it the relay says what the server would.
 */
#include "broker_told.h"

#include <dirent.h>
#include <malloc.h>

#include "base/url.h"
#include "relay.h"

static struct url parsed;
static struct relay relay;

/* The same server with other parts; NULL: as it is. */
static const char *
url_with(const char *user, const char *password, uint16_t port, const char *vhost)
{
	const char *text = arena_printf(mem, "amqp://%s:%s@%s:%u/%s", user ? user : parsed.user,
		password ? password : parsed.password, port ? "127.0.0.1" : parsed.host,
		port ? port : parsed.port, vhost ? vhost : "%2f");

	must(text);
	return text;
}

static void
on_blocked(void *arg, const char *why)
{
	struct told *w = arg;

	w->code++;
	snprintf(w->why, sizeof w->why, "%s", why);
}

static void
on_unblocked(void *arg)
{
	struct told *w = arg;

	w->code--;
}

static struct broker *
make(const struct broker_options *o)
{
	static const struct broker_events events = { .deliver = on_deliver,
		.confirmed = on_confirmed,
		.blocked = on_blocked,
		.unblocked = on_unblocked };
	struct broker_options all = *o;
	struct err e = ERR_INIT;
	struct broker *made;

	t = (struct told){ 0 };
	all.events = &events;
	all.arg = &t;
	made = broker_new(&all, &e);
	if (!made)
		fail_msg("%s", e.text);
	return made;
}

static int
setup_life(void **state)
{
	struct err e = ERR_INIT;

	(void)state;
	snprintf(name, sizeof name, "test.life.%d", (int)getpid());
	mem = arena_new(64 << 10, 256 << 20);
	if (url_parse(URL_AMQP, url, mem, &parsed, &e) || parsed.tls)
		return -1;
	relay_start(&relay, parsed.host, parsed.port);
	return 0;
}

static int
teardown_life(void **state)
{
	(void)state;
	relay_stop(&relay);
	arena_free(mem);
	return 0;
}

static void
refused(const char *where, const char *word)
{
	struct broker *c = make(&(struct broker_options){ .url = where });
	struct err e = ERR_INIT;
	struct link_view v;
	int64_t from = clock_mono_ms();

	assert_int_equal(broker_connect(c, &e), -1);
	assert_in_range(clock_mono_ms() - from, 0, 4900);
	assert_int_equal(e.kind, ERR_AWAY);
	if (!strstr(e.text, word))
		fail_msg("no \"%s\" in: %s", word, e.text);
	assert_null(strstr(e.text, "s3cret"));
	assert_null(strstr(e.text, "127.0.0.1"));
	link_look(broker_link(c), &v);
	assert_int_equal(v.state, LINK_DOWN);
	assert_string_equal(v.why, e.text);
	assert_true(broker_due_ms(c) > 0);
	assert_int_equal(broker_fd(c), -1);
	assert_int_equal(broker_pump(c, 0, &e), -1);
	assert_int_equal(e.kind, ERR_AWAY);
	broker_free(c);
}

static void
login_failures(void **state)
{
	uint16_t port;
	int fd = relay_listener(&port);
	struct err e = ERR_INIT;

	(void)state;
	close(fd); /* nobody listens there now */
	refused(url_with(NULL, "s3cret", 0, NULL), "wrong user or password in rabbitmq.url");
	refused(url_with("nobody", "s3cret", 0, NULL), "ACCESS_REFUSED");
	refused(url_with(NULL, NULL, 0, "no-such-vhost"), "virtual host");
	refused(url_with(NULL, NULL, 0, "no-such-vhost"), "no-such-vhost");
	refused(url_with("u", "s3cret", port, NULL), "refused or unreachable");
	assert_null(broker_new(&(struct broker_options){ .url = "http://u:s3cret@h" }, &e));
	assert_int_equal(e.kind, ERR_INVALID);
	assert_null(strstr(e.text, "s3cret"));
	assert_null(broker_new(&(struct broker_options){ .url = "" }, &e));
	assert_int_equal(e.kind, ERR_INVALID);
}

/* Silence after any number of the server's bytes, be it in the middle of a frame. */
static void
silent_servers(void **state)
{
	static const long limits[] = { 0, 3, 100, 600, 640, 680, 700 };
	struct err e = ERR_INIT;
	struct broker *c;
	int64_t from;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
		atomic_store(&relay.limit, limits[i]);
		c = make(&(struct broker_options){ .url = url_with(NULL, NULL, relay.port, NULL),
			.connect_ms = 150 });
		from = clock_mono_ms();
		if (broker_connect(c, &e) == 0) {
			assert_true(i > 3); /* the greeting alone has more */
		} else {
			assert_int_equal(e.kind, ERR_AWAY);
			assert_in_range(clock_mono_ms() - from, 140, 1900);
		}
		atomic_store(&relay.limit, -1);
		broker_free(c);
	}
}

/* Many that say nothing: the whole try has its limit, and the next begins with the next. */
static void
several_urls(void **state)
{
	struct err e = ERR_INIT;
	uint16_t port;
	int fd = relay_listener(&port); /* accepts in the kernel; says nothing */
	const char *dead = url_with(NULL, NULL, port, NULL);
	const char *list = arena_printf(mem, "%s,%s,%s,%s,%s", dead, dead, dead, dead, url);
	struct broker *c = make(&(struct broker_options){ .url = list });
	int64_t from = clock_mono_ms();
	int tries = 1;

	(void)state;
	assert_int_equal(broker_connect(c, &e), -1);
	assert_string_equal(e.text, "the server is reached but does not answer");
	assert_in_range(clock_mono_ms() - from, 3000, 5050);
	from = clock_mono_ms();
	while (broker_connect(c, &e))
		tries++;
	assert_int_equal(tries, 1);
	assert_in_range(clock_mono_ms() - from, 0, 4900);
	from = clock_mono_ms();
	ok(broker_connect(c, &e), &e); /* the one that was good */
	assert_in_range(clock_mono_ms() - from, 0, 4900);
	broker_free(c);
	close(fd);
}

static void
comes_back(void **state)
{
	struct broker *c =
		make(&(struct broker_options){ .url = url_with(NULL, NULL, relay.port, NULL),
			.window = 64 });
	const char *q = queue_name("back");
	struct err e = ERR_INIT;
	struct link_view v;
	int64_t from;
	uint64_t tag;

	(void)state;
	ok(broker_connect(c, &e), &e);
	make_queue(c, "back");
	publish(c, q, "one", NULL);
	ok(broker_settle(c, 3000, &e), &e);
	publish(c, q, "two", NULL);
	relay_cut(&relay);
	from = clock_mono_ms();
	assert_int_equal(broker_settle(c, 3000, &e), -1);
	assert_int_equal(e.kind, ERR_AWAY);
	assert_in_range(clock_mono_ms() - from, 0, 2900);
	link_look(broker_link(c), &v);
	assert_int_equal(v.state, LINK_DOWN);
	assert_in_range(broker_due_ms(c), 1, 5000);
	assert_int_equal(broker_publish(c,
				 &(struct broker_publish){ .exchange = "", .routing_key = q }, NULL,
				 &e),
		-1);
	assert_int_equal(e.kind, ERR_AWAY);
	assert_int_equal(broker_ack(c, 1, false, &e), -1);
	assert_int_equal(e.kind, ERR_AWAY);
	ok(broker_connect(c, &e), &e);
	assert_int_equal(broker_due_ms(c), 0);
	assert_int_equal(broker_unconfirmed(c), 0);
	link_look(broker_link(c), &v);
	assert_int_equal(v.reconnects, 1);
	make_queue(c, "again"); /* the server may not know yet that the first connection is gone */
	publish(c, queue_name("again"), "three", &tag);
	assert_int_equal(tag, 1);
	ok(broker_settle(c, 3000, &e), &e);
	broker_free(c);
}

/* A cable that is cut: nothing comes, nothing goes, nothing hangs. */
static void
stalled(void **state)
{
	struct broker *c =
		make(&(struct broker_options){ .url = url_with(NULL, NULL, relay.port, NULL),
			.call_ms = 300,
			.heartbeat_s = 1,
			.window = 64 });
	char *body = must_calloc(1, 12 << 20);
	struct err e = ERR_INIT;
	int64_t from;

	(void)state;
	ok(broker_connect(c, &e), &e);
	/* heartbeats keep a quiet one */
	from = clock_mono_ms();
	while (clock_mono_ms() - from < 2500)
		ok(broker_pump(c, 2500 - (clock_mono_ms() - from), &e), &e);
	/* a question, more than the sockets hold, and silence: each within its time */
	for (int what = 0; what < 3; what++) {
		ok(broker_connect(c, &e), &e);
		atomic_store(&relay.stalled, true);
		from = clock_mono_ms();
		if (what == 0) {
			assert_int_equal(broker_qos(c, 1, &e), -1);
			assert_in_range(clock_mono_ms() - from, 290, 3000);
		} else if (what == 1) {
			ok(broker_publish(c,
				   &(struct broker_publish){ .exchange = "",
					   .routing_key = "nowhere",
					   .body = body,
					   .length = 12 << 20 },
				   NULL, &e),
				&e);
			assert_int_equal(broker_flush(c, &e), -1);
			assert_in_range(clock_mono_ms() - from, 290, 3000);
		} else {
			while (broker_pump(c, 5000, &e) == 0)
				assert_in_range(clock_mono_ms() - from, 0, 4900);
			assert_in_range(clock_mono_ms() - from, 1400, 4900);
			assert_non_null(strstr(e.text, "silent"));
		}
		assert_int_equal(e.kind, ERR_AWAY);
		atomic_store(&relay.stalled, false);
		relay_cut(&relay);
	}
	broker_free(c);
	free(body);
}

static void
alarm_set(bool on)
{
	static const char blocked[] = "\1\0\0\0\0\0\x0f\0\x0a\0\x3c\x0alow on ram\xce";
	static const char unblocked[] = "\1\0\0\0\0\0\4\0\x0a\0\x3d\xce";
	const char *command = getenv("ONBOARD_RABBITMQ_ALARM");
	char line[600];

	if (command) {
		snprintf(line, sizeof line, "%s %s", command, on ? "on" : "off");
		must(system(line) == 0);
		return;
	}
	atomic_store(&relay.what, on ? blocked : unblocked);
	atomic_store(&relay.said, on ? sizeof blocked - 1 : sizeof unblocked - 1);
}

static void
blocked_by_an_alarm(void **state)
{
	struct broker *c =
		make(&(struct broker_options){ .url = url_with(NULL, NULL, relay.port, NULL),
			.window = 64 });
	const char *q = queue_name("blocked");
	struct err e = ERR_INIT;
	struct link_view v;

	(void)state;
	ok(broker_connect(c, &e), &e);
	make_queue(c, "blocked");
	alarm_set(true);
	/* a server tells who publishes, not before */
	publish(c, q, "one", NULL);
	until(c, &t.code, 1);
	assert_string_equal(t.why,
		getenv("ONBOARD_RABBITMQ_ALARM") ? "low on memory" : "low on ram");
	link_look(broker_link(c), &v);
	assert_int_equal(v.state, LINK_BLOCKED);
	assert_int_equal(broker_publish(c,
				 &(struct broker_publish){ .exchange = "", .routing_key = q }, NULL,
				 &e),
		-1);
	assert_int_equal(e.kind, ERR_AWAY);
	ok(broker_flush(c, &e), &e); /* at once */
	alarm_set(false);
	for (int64_t end = clock_mono_ms() + 5000; t.code && clock_mono_ms() < end;)
		ok(broker_pump(c, 50, &e), &e);
	assert_int_equal(t.code, 0);
	link_look(broker_link(c), &v);
	assert_int_equal(v.state, LINK_UP);
	publish(c, q, "two", NULL);
	ok(broker_settle(c, 3000, &e), &e);
	assert_int_equal(t.confirmed, 2);
	broker_free(c);
}

static int
descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	must(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void
nothing_grows(void **state)
{
	struct broker *c =
		make(&(struct broker_options){ .url = url_with(NULL, NULL, relay.port, NULL),
			.window = 64 });
	struct err e = ERR_INIT;
	char what[20];
	size_t used = 0;
	int open = 0;

	(void)state;
	for (int i = 0; i < 101; i++) {
		ok(broker_connect(c, &e), &e);
		snprintf(what, sizeof what, "grows-%d", i);
		publish(c, make_queue(c, what), "x", NULL);
		if (i % 2) {
			ok(broker_settle(c, 3000, &e), &e);
		} else {
			relay_cut(&relay);
			while (broker_pump(c, 100, &e) == 0)
				;
		}
		if (i == 1) {
			used = mallinfo2().uordblks;
			open = descriptors();
		}
	}
	ok(broker_connect(c, &e), &e);
	assert_int_equal(descriptors(), open);
	if (used) /* a sanitizer's malloc counts nothing */
		assert_in_range(mallinfo2().uordblks, 0, used + 65536);
	broker_free(c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(login_failures),
		cmocka_unit_test(silent_servers),
		cmocka_unit_test(several_urls),
		cmocka_unit_test(comes_back),
		cmocka_unit_test(stalled),
		cmocka_unit_test(blocked_by_an_alarm),
		cmocka_unit_test(nothing_grows),
	};

	ON_SERVER_RUN("ONBOARD_RABBITMQ_URL", url, tests, setup_life, teardown_life);
}
