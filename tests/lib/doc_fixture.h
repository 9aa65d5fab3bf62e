/* SPDX-License-Identifier: MIT */
/* What the tests of link/doc share: the server of ONBOARD_MONGO_URL, a database of this run's own. */
#pragma once

#include <mongoc/mongoc.h>

#include "base/clock.h"
#include "base/url.h"
#include "on_server.h"

#include "link/doc.h"
#include "link/doc_bulk.h"

static const char *given; /* ONBOARD_MONGO_URL */
static struct url server;
static struct arena *mem;
static struct doc *d;
static char url[400], database[64];

#ifdef __SANITIZE_THREAD__
/* the driver counts its references with atomics that the sanitizer does not see in a library */
__attribute__((visibility("default"))) const char *__tsan_default_suppressions(void);
const char *
__tsan_default_suppressions(void)
{
	return "race:libbson-1.0.so\nrace:libmongoc-1.0.so\n";
}
#endif

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

static int
setup(void **state)
{
	struct arena *own = arena_new(1024, 1 << 20);
	struct err e = ERR_INIT;

	(void)state;
	if (url_parse(URL_MONGO, given, own, &server, &e))
		return -1;
	snprintf(database, sizeof database, "test_link_doc_%d", (int)getpid());
	snprintf(url, sizeof url, "mongodb://%s:%d/%s", server.host, server.port, database);
	server.host = strdup(server.host);
	arena_free(own);
	mem = arena_new(4096, 64 << 20);
	d = doc_open(&(struct doc_options){ .url = url, .application = "test" }, &e);
	return d ? 0 : -1;
}

/* Drops the tests' database. The programs never drop one, so doc.h has no call for it. */
static void
database_drop(void)
{
	mongoc_client_t *client = mongoc_client_new(url);
	mongoc_database_t *whole;
	bson_error_t why;

	assert_non_null(client);
	whole = mongoc_client_get_database(client, database);
	if (!mongoc_database_drop(whole, &why))
		print_message("%s\n", why.message);
	mongoc_database_destroy(whole);
	mongoc_client_destroy(client);
}

static int
teardown(void **state)
{
	(void)state;
	database_drop();
	doc_close(d);
	arena_free(mem);
	free((char *)server.host);
	return 0;
}
