/* SPDX-License-Identifier: MIT */
/* MongoDB through its link, on the server of ONBOARD_MONGO_URL, in a database of this run's own. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/url.h"

#include "link/doc.h"
#include "link/doc_bulk.h"

static struct url server;
static struct arena *mem;
static struct doc *d;
static char url[400], database[64];

/* A server that accepts and never says a word. */
static int
silent_server(int *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(listen(fd, 64), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &size), 0);
	*port = ntohs(a.sin_port);
	return fd;
}

/* ---- a proxy in front of the server: passes on, drips, holds, cuts ---- */

enum { PAIRS_MAX = 32 };

struct proxy {
	int listener, port;
	_Atomic int delay_ms; /* before each read */
	_Atomic bool drip;    /* to the client byte by byte */
	_Atomic bool hold, cut, stop;
	pthread_t thread;
	struct pollfd p[1 + 2 * PAIRS_MAX]; /* the listener, then client and server in turn */
	nfds_t n;
};

static void
proxy_accept(struct proxy *x)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(server.port) };
	int client = accept(x->p[0].fd, NULL, NULL), fd = socket(AF_INET, SOCK_STREAM, 0);

	inet_pton(AF_INET, server.host, &to.sin_addr);
	if (client < 0 || x->n + 2 > ARRAY_LEN(x->p) ||
		connect(fd, (struct sockaddr *)&to, sizeof to)) {
		close(fd);
		if (client >= 0)
			close(client);
		return;
	}
	x->p[x->n++] = (struct pollfd){ .fd = client, .events = POLLIN };
	x->p[x->n++] = (struct pollfd){ .fd = fd, .events = POLLIN };
}

/* False: the pair is at its end. */
static bool
proxy_pass(struct proxy *x, nfds_t i)
{
	char bytes[65536];
	bool to_client = i % 2 == 0;
	int to = x->p[to_client ? i - 1 : i + 1].fd;
	ssize_t n, sent;

	if (x->delay_ms)
		usleep((unsigned)x->delay_ms * 1000);
	n = read(x->p[i].fd, bytes, x->drip && to_client ? 1 : sizeof bytes);
	if (n <= 0)
		return false;
	if (x->drip && to_client)
		usleep(100000);
	for (ssize_t at = 0; at < n; at += sent)
		if ((sent = write(to, bytes + at, (size_t)(n - at))) < 0)
			return false;
	return true;
}

static void
proxy_end(struct proxy *x, nfds_t i)
{
	nfds_t first = i % 2 == 1 ? i : i - 1;
	const struct linger reset = { 1, 0 };

	for (nfds_t k = first; k < first + 2; k++) {
		setsockopt(x->p[k].fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
		close(x->p[k].fd);
	}
	x->n -= 2;
	x->p[first] = x->p[x->n];
	x->p[first + 1] = x->p[x->n + 1];
}

static void *
proxy_main(void *arg)
{
	struct proxy *x = arg;

	while (!x->stop) {
		if (x->cut) {
			while (x->n > 1)
				proxy_end(x, 1);
			x->cut = false;
		}
		if (x->hold || poll(x->p, x->n, 5) <= 0) {
			usleep(1000);
			continue;
		}
		if (x->p[0].revents)
			proxy_accept(x);
		for (nfds_t i = x->n - 1; i > 0; i--)
			if (x->p[i].revents && !proxy_pass(x, i)) {
				proxy_end(x, i);
				break; /* the rows have moved */
			}
	}
	while (x->n > 1)
		proxy_end(x, 1);
	close(x->listener);
	return NULL;
}

static void
proxy_start(struct proxy *x)
{
	*x = (struct proxy){ .n = 1 };
	x->listener = silent_server(&x->port);
	x->p[0] = (struct pollfd){ .fd = x->listener, .events = POLLIN };
	assert_int_equal(pthread_create(&x->thread, NULL, proxy_main, x), 0);
}

static void
proxy_stop(struct proxy *x)
{
	x->stop = true;
	pthread_join(x->thread, NULL);
}

static void
proxy_cut(struct proxy *x)
{
	x->cut = true;
	while (x->cut)
		usleep(500);
}

/* ---- helpers ---- */

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

static void
ok(int rc, const struct err *e)
{
	if (rc)
		fail_msg("%s: %s", err_kind_name(e->kind), e->text);
}

static struct doc_body *
one_i64(const char *name, int64_t n)
{
	struct doc_body *b = doc_new(mem);

	doc_add_i64(b, name, n);
	return b;
}

static struct doc_body *
set_i64(const char *name, int64_t n)
{
	struct doc_body *b = doc_new(mem);

	doc_begin(b, "$set");
	doc_add_i64(b, name, n);
	doc_end(b);
	return b;
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

static int
setup(void **state)
{
	struct arena *own = arena_new(1024, 1 << 20);
	struct err e = ERR_INIT;

	(void)state;
	if (url_parse(URL_MONGO, getenv("ONBOARD_MONGO_URL"), own, &server, &e))
		return -1;
	snprintf(database, sizeof database, "test_link_doc_%d", (int)getpid());
	snprintf(url, sizeof url, "mongodb://%s:%d/%s", server.host, server.port, database);
	server.host = strdup(server.host);
	arena_free(own);
	mem = arena_new(4096, 64 << 20);
	d = doc_open(&(struct doc_options){ .url = url, .application = "test" }, &e);
	return d ? 0 : -1;
}

static int
teardown(void **state)
{
	struct err e = ERR_INIT;

	(void)state;
	if (doc_drop_database(d, &e))
		print_message("%s\n", e.text);
	doc_close(d);
	arena_free(mem);
	free((char *)server.host);
	return 0;
}

/* ---- the tests ---- */

static void
the_first_call_connects(void **state)
{
	struct link_view v;
	struct err e = ERR_INIT;
	char version[32];

	(void)state;
	link_look(doc_link(d), &v);
	assert_int_equal(v.state, LINK_DOWN);
	assert_string_equal(v.name, "mongo");
	assert_int_equal(doc_due_ms(d), 0);
	ok(doc_ping(d, &e), &e);
	link_look(doc_link(d), &v);
	assert_int_equal(v.state, LINK_UP);
	assert_int_equal(v.reconnects, 0);
	ok(doc_version(d, version, &e), &e);
	assert_true(version[0] >= '4' && version[0] <= '9');
}

static void
single_writes(void **state)
{
	struct doc_wrote w;
	struct doc_view v;
	struct err e = ERR_INIT;
	struct doc_body *keys = one_i64("email", 1), *u = doc_new(mem), *empty = doc_new(mem);
	int64_t n;

	(void)state;
	ok(doc_create_index(d, "users",
		   &(struct doc_index){ .name = "email_1",
			   .keys = keys,
			   .unique = true,
			   .sparse = true },
		   &e),
		&e);
	doc_begin(u, "$set");
	doc_add_string(u, "email", "joe@example.com");
	doc_end(u);
	ok(doc_update_one(d, "users", one_i64("_id", 1), u, true, &w, &e), &e);
	assert_true(w.inserted);
	assert_int_equal(w.matched, 0);
	/* sparse: two without are fine */
	ok(doc_update_one(d, "users", one_i64("_id", 2), set_i64("n", 1), true, &w, &e), &e);
	ok(doc_update_one(d, "users", one_i64("_id", 3), set_i64("n", 1), true, &w, &e), &e);
	assert_int_equal(doc_update_one(d, "users", one_i64("_id", 2), u, true, &w, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_string_equal(w.index, "email_1");
	assert_non_null(strstr(e.text, "email_1"));
	assert_null(strstr(e.text, "joe"));
	assert_true(link_usable(doc_link(d)));
	ok(doc_update_many(d, "users", one_i64("n", 1), set_i64("n", 2), &w, &e), &e);
	assert_int_equal(w.matched, 2);
	assert_int_equal(w.modified, 2);
	ok(doc_find_one(d, mem, "users", one_i64("_id", 1), &v, &e), &e);
	assert_string_equal(doc_get_text(&v, "email", NULL), "joe@example.com");
	assert_int_equal(doc_find_one(d, mem, "users", one_i64("_id", 9), &v, &e), -1);
	assert_int_equal(e.kind, ERR_MISSING);
	ok(doc_count(d, "users", NULL, &n, &e), &e);
	assert_int_equal(n, 3);
	ok(doc_count(d, "users", one_i64("n", 2), &n, &e), &e);
	assert_int_equal(n, 2);
	ok(doc_delete_many(d, "users", one_i64("n", 2), &w, &e), &e);
	assert_int_equal(w.deleted, 2);
	/* an update that can never be right */
	doc_clear(u);
	doc_begin(u, "$nonsense");
	doc_add_string(u, "secret", "joe");
	doc_end(u);
	assert_int_equal(doc_update_one(d, "users", one_i64("_id", 1), u, false, &w, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_null(strstr(e.text, "joe"));
	assert_true(link_usable(doc_link(d)));
	ok(doc_delete_many(d, "users", empty, &w, &e), &e);
	assert_int_equal(w.deleted, 1);
}

/* A stale version loses: the guard's selector matches nothing, so the upsert meets _id. */
static void
version_guard(void **state)
{
	struct doc_wrote w;
	struct err e = ERR_INIT;

	(void)state;
	for (int64_t version = 2; version >= 1; version--) {
		struct doc_body *which = doc_new(mem);
		int rc;

		doc_add_i64(which, "_id", 70);
		doc_begin(which, "version");
		doc_add_i64(which, "$lt", version);
		doc_end(which);
		rc = doc_update_one(d, "users", which, set_i64("version", version), true, &w, &e);
		assert_int_equal(rc, version == 2 ? 0 : -1);
	}
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_string_equal(w.index, "_id_");
}

static void
bulk(void **state)
{
	struct doc_bulk *b = doc_bulk_new(mem, "bulk");
	const struct doc_item *items;
	struct doc_body *body = doc_new(mem);
	struct doc_view v;
	struct err e = ERR_INIT;
	int64_t n;

	(void)state;
	ok(doc_create_index(d, "bulk",
		   &(struct doc_index){ .name = "place", .keys = ({
					       struct doc_body *k = doc_new(mem);
					       doc_add_string(k, "place", "2dsphere");
					       k;
				       }) },
		   &e),
		&e);
	ok(doc_create_index(d, "bulk",
		   &(struct doc_index){ .name = "u_1",
			   .keys = one_i64("u", 1),
			   .unique = true,
			   .sparse = true },
		   &e),
		&e);
	ok(doc_bulk_run(d, doc_bulk_new(mem, "bulk"), &items, &e), &e); /* empty */
	for (int i = 0; i < 6; i++) {
		doc_clear(body);
		doc_add_i64(body, "_id", i == 3 ? 1 : i); /* 3 is a second 1 */
		if (i == 2 || i == 4)
			doc_add_i64(body, "u", 5); /* 4 is a second u: 5 */
		if (i == 5) {
			doc_begin(body, "place"); /* no such place */
			doc_add_string(body, "type", "Point");
			doc_begin_array(body, "coordinates");
			doc_add_f64(body, NULL, 4000);
			doc_add_f64(body, NULL, 1);
			doc_end(body);
			doc_end(body);
		}
		ok(doc_bulk_insert(b, body, &e), &e);
		if (i == 2) /* in between: items keep the order they came in */
			ok(doc_bulk_update_one(b, one_i64("_id", 100), set_i64("n", 1), true, &e),
				&e);
	}
	ok(doc_bulk_delete_one(b, one_i64("_id", 0), &e), &e);
	ok(doc_bulk_update_one(b, one_i64("_id", 101), set_i64("u", 5), true, &e), &e);
	assert_int_equal(doc_bulk_count(b), 9);
	ok(doc_bulk_run(d, b, &items, &e), &e);
	for (int i = 0; i < 9; i++)
		assert_int_equal(items[i].fate,
			i == 4 || i == 5 || i == 8 ? DOC_DUPLICATE
				: i == 6           ? DOC_FAILED
						   : DOC_DONE);
	assert_string_equal(items[4].index, "_id_");
	assert_string_equal(items[5].index, "u_1");
	assert_string_equal(items[8].index, "u_1");
	print_message("# failed item: %s: %s\n", err_kind_name(items[6].kind), items[6].why);
	assert_int_equal(items[6].kind, ERR_INVALID);
	ok(doc_count(d, "bulk", NULL, &n, &e), &e);
	assert_int_equal(n, 3); /* 1, 2, 100 */
	ok(doc_find_one(d, mem, "bulk", one_i64("_id", 100), &v, &e), &e);
}

/* What a producer may put into a payload. */
static void
odd_names(void **state)
{
	static const char text[] = "{\"a.b\":1,\"$x\":{\"$date\":1},\"\":2}";
	struct doc_bulk *b = doc_bulk_new(mem, "odd");
	const struct doc_item *items;
	const struct json *j;
	struct doc_body *body = doc_new(mem);
	struct doc_view v;
	struct err e = ERR_INIT;
	double n;

	(void)state;
	ok(json_parse(mem, text, strlen(text), &j, &e), &e);
	for (int i = 0; i < 2; i++) {
		doc_clear(body);
		doc_add_i64(body, "_id", i);
		if (i == 0)
			doc_add_json(body, "payload", j);
		ok(doc_bulk_insert(b, body, &e), &e);
	}
	ok(doc_bulk_run(d, b, &items, &e), &e);
	assert_int_equal(items[1].fate, DOC_DONE); /* whatever becomes of its neighbour */
	if (items[0].fate == DOC_DONE) {
		ok(doc_find_one(d, mem, "odd", one_i64("_id", 0), &v, &e), &e);
		assert_true(doc_get_f64(&v, "payload.$x.$date", &n));
	} else {
		print_message("# odd names: %s: %s\n", err_kind_name(items[0].kind), items[0].why);
		assert_int_equal(items[0].kind, ERR_INVALID);
	}
}

static void
finding(void **state)
{
	struct doc_bulk *b = doc_bulk_new(mem, "many");
	const struct doc_item *items;
	struct doc_body *body = doc_new(mem), *parameters = doc_new(mem);
	struct arena *small = arena_new(4096, 16384);
	struct doc_find o = { .limit = 3, .skip = 1 };
	struct doc_list l;
	struct err e = ERR_INIT;
	int64_t n = 0;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		doc_clear(body);
		doc_add_i64(body, "_id", i);
		doc_add_i64(body, "group", i % 3);
		doc_add_string(body, "text", "some text that takes place, some text that does");
		ok(doc_bulk_insert(b, body, &e), &e);
	}
	ok(doc_bulk_run(d, b, &items, &e), &e);
	o.sort = one_i64("_id", -1);
	o.projection = one_i64("group", 1);
	ok(doc_find(d, mem, "many", one_i64("group", 0), &o, &l, &e), &e);
	assert_int_equal(l.count, 3);
	assert_true(doc_get_i64(&l.at[0], "_id", &n));
	assert_int_equal(n, 996);
	assert_int_equal(doc_type(&l.at[0], "text"), DOC_ABSENT);
	ok(doc_find(d, mem, "many", NULL, NULL, &l, &e), &e); /* several batches */
	assert_int_equal(l.count, 1000);
	ok(doc_find(d, mem, "nothing_there", NULL, NULL, &l, &e), &e);
	assert_int_equal(l.count, 0);
	assert_int_equal(doc_find(d, small, "many", NULL, NULL, &l, &e), -1);
	assert_int_equal(e.kind, ERR_LIMIT);
	assert_true(link_usable(doc_link(d)));
	doc_add_i64(parameters, "from", 990);
	doc_begin_array(parameters, "groups");
	doc_add_i64(parameters, NULL, 0);
	doc_add_i64(parameters, NULL, 1);
	doc_end(parameters);
	ok(doc_aggregate(d, mem, "many",
		   "[{\"$match\": {\"_id\": {\"$gte\": \"@from\"}, \"group\": {\"$in\": "
		   "\"@groups\"}}}, {\"$group\": {\"_id\": \"$group\", \"n\": {\"$sum\": 1}}}, "
		   "{\"$sort\": {\"_id\": 1}}]",
		   parameters, &l, &e),
		&e);
	assert_int_equal(l.count, 2);
	assert_true(doc_get_i64(&l.at[0], "n", &n));
	assert_int_equal(n, 4); /* 990, 993, 996, 999 */
	arena_free(small);
}

static void
indexes(void **state)
{
	struct doc_body *keys = doc_new(mem), *partial = doc_new(mem);
	struct doc_index i = { .name = "user_time", .keys = keys };
	struct doc_list l;
	struct err e = ERR_INIT;
	int64_t n = 0;
	bool found = false;

	(void)state;
	doc_add_i64(keys, "user_id", 1);
	doc_add_i64(keys, "timestamp", -1);
	ok(doc_list_indexes(d, mem, "none_such", &l, &e), &e);
	assert_int_equal(l.count, 0);
	ok(doc_create_index(d, "ix", &i, &e), &e);
	ok(doc_create_index(d, "ix", &i, &e), &e); /* the same again */
	i.keys = one_i64("other", 1);
	assert_int_equal(doc_create_index(d, "ix", &i, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	doc_begin(partial, "a");
	doc_add_bool(partial, "$exists", true);
	doc_end(partial);
	i = (struct doc_index){ .name = "part", .keys = one_i64("a", 1), .partial = partial };
	ok(doc_create_index(d, "ix", &i, &e), &e);
	ok(doc_list_indexes(d, mem, "ix", &l, &e), &e);
	assert_int_equal(l.count, 3);
	for (size_t k = 0; k < l.count; k++)
		if (strcmp(doc_get_text(&l.at[k], "name", NULL), "user_time") == 0)
			found = doc_get_i64(&l.at[k], "key.timestamp", &n);
	assert_true(found);
	assert_int_equal(n, -1);
	ok(doc_drop_collection(d, "ix", &e), &e);
	ok(doc_drop_collection(d, "ix", &e), &e);
}

/* ---- what may go wrong ---- */

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
	assert_true(doc_due_ms(c) > 0);
	from = clock_mono_ms();
	assert_int_equal(doc_ping(c, &e), -1); /* while the backoff runs: at once */
	assert_int_equal(e.kind, ERR_AWAY);
	assert_in_range(clock_mono_ms() - from, 0, 20);
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
	away_within(c, 1500, 2500);
	close(fd);
	link_look(doc_link(c), &v);
	assert_string_not_equal(v.why, "");
	usleep((unsigned)doc_due_ms(c) * 1000 + 2000);
	away_within(c, 0, 2500); /* refused */
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
	proxy_start(&x);
	c = open_at("127.0.0.1", x.port, "");
	ok(doc_ping(c, &e), &e);
	x.hold = true; /* frozen in mid-life */
	away_within(c, 1500, 2500);
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
	proxy_start(&x);
	c = open_at("127.0.0.1", x.port, "");
	ok(doc_ping(c, &e), &e);
	for (int round = 0; round < 2; round++) {
		b = doc_bulk_new(mem, "cut");
		for (int i = 0; i < 10; i++)
			ok(doc_bulk_insert(b, one_i64("_id", i), &e), &e);
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
	proxy_start(&x);
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
	int number, good, away, other;
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
		if (doc_bulk_run(w->c, b, &items, &e) == 0 && items[0].fate == DOC_DONE)
			w->good++;
		else if (e.kind == ERR_AWAY)
			w->away++, usleep(2000);
		else
			w->other++;
		arena_reset(own);
	}
	arena_free(own);
	return NULL;
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
	proxy_start(&x);
	c = open_at("127.0.0.1", x.port, "");
	for (int i = 0; i < 4; i++) {
		w[i] = (struct worker){ .c = c, .number = i, .stop = &stop };
		assert_int_equal(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
	}
	for (int i = 0; i < 5; i++) {
		usleep(300000);
		proxy_cut(&x);
	}
	usleep(700000);
	stop = true;
	for (int i = 0; i < 4; i++) {
		pthread_join(w[i].thread, NULL);
		print_message("# thread %d: %d written, %d away\n", i, w[i].good, w[i].away);
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
		cmocka_unit_test(the_first_call_connects),
		cmocka_unit_test(single_writes),
		cmocka_unit_test(version_guard),
		cmocka_unit_test(bulk),
		cmocka_unit_test(odd_names),
		cmocka_unit_test(finding),
		cmocka_unit_test(indexes),
		cmocka_unit_test(silent_and_closed),
		cmocka_unit_test(wrong_password),
		cmocka_unit_test(frozen_and_slow),
		cmocka_unit_test(cut_in_mid_bulk),
		cmocka_unit_test(lost_a_hundred_times),
		cmocka_unit_test(threads_at_once),
	};

	signal(SIGPIPE, SIG_IGN); /* as the daemons do */
	if (!getenv("ONBOARD_MONGO_URL")) {
		printf("1..0 # SKIP ONBOARD_MONGO_URL is not set\n");
		return 0;
	}
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, setup, teardown);
}
