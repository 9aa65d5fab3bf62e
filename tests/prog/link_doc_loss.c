/* SPDX-License-Identifier: MIT */
/* MongoDB through its link: servers that are silent, frozen, slow, cut off; many threads. */
#include <dirent.h>

#include "../lib/doc_fixture.h"
#include "../lib/tcp_proxy.h"

static struct doc *
open_at(const char *host, int port, const char *login)
{
	char where[400];
	struct err e = ERR_INIT;
	struct doc *c;

	snprintf(where, sizeof where, "mongodb://%s%s:%d/%s", login, host, port, database);
	c = doc_open(&(struct doc_options){ .url = where, .application = "test" }, &e);
	if (!c)
		fail_msg("%s", e.text);
	return c;
}

static bool
comes_up(struct doc *c, int64_t within_ms)
{
	int64_t end = clock_mono_ms() + within_ms;
	struct err e = ERR_INIT;

	while (doc_ping(c, &e)) {
		assert_int_equal(e.kind, ERR_AWAY);
		if (clock_mono_ms() > end)
			return false;
		usleep((unsigned)doc_due_ms(c) * 1000 + 1000);
	}
	return true;
}

static size_t
descriptors(void)
{
	DIR *folder = opendir("/proc/self/fd");
	size_t n = 0;

	while (readdir(folder))
		n++;
	closedir(folder);
	return n;
}

static long
private_kib(void)
{
	char line[200];
	long n = 0, sum = 0;
	FILE *f = fopen("/proc/self/smaps_rollup", "r");

	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "Private_Dirty: %ld", &n) == 1)
			sum += n;
	if (f)
		fclose(f);
	return sum;
}

static void
away_within(struct doc *c, int64_t least_ms, int64_t most_ms)
{
	struct err e = ERR_INIT;
	int64_t from = clock_mono_ms(), took;

	assert_int_equal(doc_ping(c, &e), -1);
	took = clock_mono_ms() - from;
	print_message("# %lld ms: %s\n", (long long)took, e.text);
	assert_int_equal(e.kind, ERR_AWAY);
	assert_in_range(took, least_ms, most_ms);
	assert_null(strstr(e.text, "secret"));
	assert_null(strstr(e.text, "127.0.0.1"));
	assert_false(link_usable(doc_link(c)));
	while (doc_due_ms(c) < 20) /* a busy machine slept through it: the next wait is longer */
		assert_int_equal(doc_ping(c, &e), -1);
	from = clock_mono_ms();
	assert_int_equal(doc_ping(c, &e), -1); /* while the backoff runs: at once */
	assert_int_equal(e.kind, ERR_AWAY);
	assert_in_range(clock_mono_ms() - from, 0, 250);
}

static void
close_within(struct doc *c, int64_t most_ms)
{
	int64_t from = clock_mono_ms(), took;

	doc_close(c);
	took = clock_mono_ms() - from;
	print_message("# closed in %lld ms\n", (long long)took);
	assert_in_range(took, 0, most_ms);
}

static void
silent_and_closed(void **state)
{
	int port, fd = silent_server(&port);
	struct doc *c = open_at("127.0.0.1", port, "u:secret@");
	struct link_view v;

	(void)state;
	away_within(c, 1500, 4900);
	close(fd);
	link_look(doc_link(c), &v);
	assert_string_not_equal(v.why, "");
	usleep((unsigned)doc_due_ms(c) * 1000 + 2000);
	away_within(c, 0, 4900); /* refused */
	close_within(c, 2500);
}

static void
wrong_password(void **state)
{
	struct doc *c = open_at(server.host, server.port, "nobody:secret@");
	struct err e = ERR_INIT;
	int64_t from = clock_mono_ms();

	(void)state;
	if (doc_ping(c, &e) == 0) {
		print_message("# this server asks for no password\n");
	} else {
		print_message("# %s\n", e.text);
		assert_int_equal(e.kind, ERR_AWAY);
		assert_null(strstr(e.text, "secret"));
	}
	assert_in_range(clock_mono_ms() - from, 0, 4900);
	doc_close(c);
}

static void
frozen_and_slow(void **state)
{
	struct proxy x;
	struct doc *c;
	struct err e = ERR_INIT;
	int64_t from, took;

	(void)state;
	proxy_start(&x, server.host, server.port);
	c = open_at("127.0.0.1", x.port, "");
	ok(doc_ping(c, &e), &e);
	x.hold = true; /* frozen in mid-life */
	away_within(c, 1500, 4900);
	usleep((unsigned)doc_due_ms(c) * 1000 + 2000);
	away_within(c, 1500, 4900);
	x.hold = false;
	assert_true(comes_up(c, 10000));
	x.drip = true; /* each byte is in time, the whole is not */
	away_within(c, 2000, 4900);
	x.drip = false;
	assert_true(comes_up(c, 15000));
	doc_close(c);
	/* slow from its first word on */
	x.delay_ms = 450;
	c = open_at("127.0.0.1", x.port, "");
	for (int i = 0; i < 3; i++) {
		from = clock_mono_ms();
		if (doc_ping(c, &e))
			assert_int_equal(e.kind, ERR_AWAY);
		took = clock_mono_ms() - from;
		print_message("# slow: %lld ms\n", (long long)took);
		assert_in_range(took, 0, 4900);
		usleep((unsigned)doc_due_ms(c) * 1000 + 2000);
	}
	close_within(c, 4900);
	proxy_stop(&x);
}

static struct doc_body *
one_set(void)
{
	struct doc_body *b = doc_new(mem);

	doc_begin(b, "$set");
	doc_add_i64(b, "n", 1);
	doc_end(b);
	return b;
}

/* Three commands, each answered in time: the call as a whole has its end too. */
static void
slow_in_sum(void **state)
{
	struct proxy x;
	struct doc *c;
	struct doc_bulk *b = doc_bulk_new(mem, "slow");
	const struct doc_item *items;
	struct err e = ERR_INIT;
	int64_t from, took;

	(void)state;
	proxy_start(&x, server.host, server.port);
	c = open_at("127.0.0.1", x.port, "");
	ok(doc_ping(c, &e), &e);
	ok(doc_bulk_insert(b, one_i64("_id", 1), &e), &e);
	ok(doc_bulk_update_one(b, one_i64("_id", 2), one_set(), true, &e), &e);
	ok(doc_bulk_delete_one(b, one_i64("_id", 3), &e), &e);
	x.delay_ms = 900;
	from = clock_mono_ms();
	assert_int_equal(doc_bulk_run(c, b, &items, &e), -1);
	assert_int_equal(e.kind, ERR_AWAY);
	took = clock_mono_ms() - from;
	print_message("# %lld ms: %s\n", (long long)took, e.text);
	assert_in_range(took, 0, 4900);
	x.delay_ms = 0;
	doc_close(c);
	proxy_stop(&x);
}

static void
cut_in_mid_bulk(void **state)
{
	struct proxy x;
	struct doc *c;
	struct doc_bulk *b = doc_bulk_new(mem, "cut");
	const struct doc_item *items;
	struct err e = ERR_INIT;
	int64_t n;

	(void)state;
	proxy_start(&x, server.host, server.port);
	c = open_at("127.0.0.1", x.port, "");
	ok(doc_ping(c, &e), &e);
	for (int round = 0; round < 2; round++) {
		b = doc_bulk_new(mem, "cut");
		/* of updates alone: no count in the answer would show that there was none */
		for (int i = 0; i < 10; i++)
			ok(doc_bulk_update_one(b, one_i64("_id", i), one_set(), true, &e), &e);
		if (round == 0)
			proxy_cut(&x);
		if (round == 0) {
			assert_int_equal(doc_bulk_run(c, b, &items, &e), -1);
			assert_int_equal(e.kind, ERR_AWAY);
			assert_false(link_usable(doc_link(c)));
			assert_true(comes_up(c, 10000));
		} else {
			ok(doc_bulk_run(c, b, &items, &e), &e);
		}
	}
	ok(doc_count(c, "cut", NULL, &n, &e), &e);
	assert_int_equal(n, 10);
	doc_close(c);
	proxy_stop(&x);
}

static void
lost_a_hundred_times(void **state)
{
	struct proxy x;
	struct doc *c;
	struct link_view v;
	size_t fds = 0;
	long kib = 0;

	(void)state;
	proxy_start(&x, server.host, server.port);
	c = open_at("127.0.0.1", x.port, "");
	assert_true(comes_up(c, 5000));
	for (int i = 0; i < 100; i++) {
		struct err e = ERR_INIT;

		proxy_cut(&x);
		assert_int_equal(doc_ping(c, &e), -1);
		assert_int_equal(e.kind, ERR_AWAY);
		assert_true(comes_up(c, 10000));
		if (i == 19) {
			fds = descriptors();
			kib = private_kib();
		}
	}
	link_look(doc_link(c), &v);
	assert_int_equal(v.reconnects, 100);
	print_message("# descriptors %zu then %zu, private dirty %ld then %ld KiB\n", fds,
		descriptors(), kib, private_kib());
	assert_in_range(descriptors(), 0, fds + 4);
#if !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__
	assert_in_range(private_kib(), 0, kib + 512);
#endif
	doc_close(c);
	proxy_stop(&x);
}

struct worker {
	pthread_t thread;
	struct doc *c;
	int number;
	_Atomic int good, away, other;
	_Atomic bool *stop;
};

static void *
work(void *arg)
{
	struct worker *w = arg;
	struct arena *own = arena_new(4096, 1 << 20);

	for (int64_t i = 0; !*w->stop; i++) {
		struct doc_bulk *b = doc_bulk_new(own, "threads");
		struct doc_body *body = doc_new(own);
		const struct doc_item *items;
		struct err e = ERR_INIT;

		doc_add_i64(body, "_id", i * 10 + w->number);
		if (doc_bulk_insert(b, body, &e))
			break;
		if (doc_bulk_run(w->c, b, &items, &e) == 0 && items[0].fate == DOC_DONE) {
			w->good++;
		} else if (e.kind == ERR_AWAY) {
			w->away++;
			usleep(2000);
		} else {
			w->other++;
		}
		arena_reset(own);
	}
	arena_free(own);
	return NULL;
}

/* Each has written, and has met a cut. */
static bool
all_met_a_cut(struct worker *w, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (w[i].good <= 10 || w[i].away == 0)
			return false;
	return true;
}

static void
threads_at_once(void **state)
{
	struct worker w[4];
	_Atomic bool stop = false;
	struct proxy x;
	struct doc *c;
	struct err e = ERR_INIT;
	int64_t n, good = 0;

	(void)state;
	proxy_start(&x, server.host, server.port);
	c = open_at("127.0.0.1", x.port, "");
	for (int i = 0; i < 4; i++) {
		w[i] = (struct worker){ .c = c, .number = i, .stop = &stop };
		assert_int_equal(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
	}
	for (int i = 0; i < 5 || (i < 100 && !all_met_a_cut(w, ARRAY_LEN(w))); i++) {
		usleep(300000);
		proxy_cut(&x);
	}
	usleep(700000);
	stop = true;
	for (int i = 0; i < 4; i++) {
		pthread_join(w[i].thread, NULL);
		print_message("# thread %d: %d written, %d away\n", i, (int)w[i].good,
			(int)w[i].away);
		assert_int_equal(w[i].other, 0);
		assert_true(w[i].good > 10);
		assert_true(w[i].away > 0);
		good += w[i].good;
	}
	ok(doc_count(d, "threads", NULL, &n, &e), &e);
	assert_true(n >= good); /* more: written, and the answer was lost */
	doc_close(c);
	proxy_stop(&x);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(silent_and_closed),
		cmocka_unit_test(wrong_password),
		cmocka_unit_test(frozen_and_slow),
		cmocka_unit_test(slow_in_sum),
		cmocka_unit_test(cut_in_mid_bulk),
		cmocka_unit_test(lost_a_hundred_times),
		cmocka_unit_test(threads_at_once),
	};

	ON_SERVER_RUN("ONBOARD_MONGO_URL", given, tests, setup, teardown);
}
