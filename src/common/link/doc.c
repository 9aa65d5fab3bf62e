/* SPDX-License-Identifier: MIT */
/* MongoDB: the pool, the link's state, and the begin and end of each call. */
#include "link/doc_own.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/url.h"

struct doc {
	struct link link;
	mongoc_client_pool_t *pool;
	char *database;
	int call_ms;
	pthread_mutex_t lock; /* guards the fields below and the changes of the link's state */
	int64_t due_ms;       /* when the next try may begin, while the link is down */
	uint64_t losses;      /* several threads that notice one loss must count it once */
};

/*
 * Before main(), the driver puts its counters, which we never read, into a file in
 * /dev/shm named after our process id. A killed process would leave that file, and
 * the driver would warn the next process with this id on stderr. So we remove the
 * file's name, and the file ends with the process.
 */
__attribute__((constructor)) static void
counters_unname(void)
{
	char name[32];

	snprintf(name, sizeof name, "/mongoc-%ld", (long)getpid());
	(void)shm_unlink(name);
}

static void
library_end(void)
{
	mongoc_cleanup();
}

static void
library_begin(void)
{
	mongoc_init();
	/* the driver would log host names to stderr; the errors tell what matters */
	mongoc_log_set_handler(NULL, NULL);
	must(atexit(library_end) == 0);
}

/* our time, or the URL's if that is shorter */
static int
bound(mongoc_uri_t *uri, const char *option, int64_t given, int ours)
{
	int ms = given > 0 ? (int)given : ours;
	int theirs = mongoc_uri_get_option_as_int32(uri, option, 0);

	if (theirs > 0 && theirs < ms)
		ms = theirs;
	must(mongoc_uri_set_option_as_int32(uri, option, ms));
	return ms;
}

static int
uri_settle(struct doc *d, mongoc_uri_t *uri, const struct doc_options *o, struct err *e)
{
	const char *database = mongoc_uri_get_database(uri);
	int connections = o->connections > 0 ? (int)o->connections : 16;

	if (!database || !*database)
		return err_set(e, ERR_INVALID,
			"a MongoDB URL names its database: mongodb://host:27017/database");
	if (!mongoc_write_concern_is_acknowledged(mongoc_uri_get_write_concern(uri)))
		return err_set(e, ERR_INVALID,
			"w=0 in a MongoDB URL: a write that nobody confirms is lost unseen");
	if (o->application && !mongoc_uri_get_appname(uri) &&
		!mongoc_uri_set_appname(uri, o->application))
		return err_set(e, ERR_INVALID, "the application's name is too long");
	(void)bound(uri, MONGOC_URI_SERVERSELECTIONTIMEOUTMS, o->select_ms, 2000);
	(void)bound(uri, MONGOC_URI_CONNECTTIMEOUTMS, o->connect_ms, 2000);
	(void)bound(uri, MONGOC_URI_WAITQUEUETIMEOUTMS, o->wait_ms, 2000);
	d->call_ms = bound(uri, MONGOC_URI_SOCKETTIMEOUTMS, o->call_ms, 2000);
	(void)bound(uri, MONGOC_URI_MAXPOOLSIZE, connections, connections);
	/* a retry would double the time; the callers retry themselves */
	must(mongoc_uri_set_option_as_bool(uri, MONGOC_URI_RETRYREADS, false));
	must(mongoc_uri_set_option_as_bool(uri, MONGOC_URI_RETRYWRITES, false));
	d->database = must_strdup(database);
	return 0;
}

static int
pool_open(struct doc *d, const struct doc_options *o, struct err *e)
{
	bson_error_t why = { 0 };
	char text[256];
	mongoc_uri_t *uri = mongoc_uri_new_with_error(o->url, &why);
	int rc;

	if (!uri)
		goto bad;
	rc = uri_settle(d, uri, o, e);
	if (rc == 0)
		d->pool = mongoc_client_pool_new_with_error(uri, &why);
	mongoc_uri_destroy(uri);
	if (rc)
		return -1;
	if (!d->pool)
		goto bad;
	(void)mongoc_client_pool_set_error_api(d->pool, MONGOC_ERROR_API_VERSION_2);
	return 0;
bad:
	doc_error_text(why.message, text, sizeof text);
	return err_set(e, ERR_INVALID, "the MongoDB URL: %s", text);
}

struct doc *
doc_open(const struct doc_options *o, struct err *e)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct arena *mem = arena_new(1024, 64 << 10);
	struct doc *d = NULL;
	struct url u;

	if (url_parse(URL_MONGO, o->url, mem, &u, e))
		goto out;
	must(pthread_once(&once, library_begin) == 0);
	d = must_calloc(1, sizeof *d);
	if (pool_open(d, o, e)) {
		free(d->database);
		free(d);
		d = NULL;
		goto out;
	}
	must(pthread_mutex_init(&d->lock, NULL) == 0);
	link_init(&d->link, o->link_name ? o->link_name : "mongo");
out:
	arena_free(mem);
	return d;
}

void
doc_close(struct doc *d)
{
	if (!d)
		return;
	doc_deadline_set(clock_mono_ms() + 500); /* for the driver's goodbye to the server */
	mongoc_client_pool_destroy(d->pool);
	doc_deadline_set(0);
	link_fini(&d->link);
	must(pthread_mutex_destroy(&d->lock) == 0);
	free(d->database);
	free(d);
}

struct link *
doc_link(struct doc *d)
{
	return &d->link;
}

int64_t
doc_due_ms(struct doc *d)
{
	int64_t left;

	must(pthread_mutex_lock(&d->lock) == 0);
	left = link_usable(&d->link) ? 0 : d->due_ms - clock_mono_ms();
	must(pthread_mutex_unlock(&d->lock) == 0);
	return left > 0 ? left : 0;
}

static int
away(struct doc *d, struct err *e)
{
	struct link_view v;

	link_look(&d->link, &v);
	return err_set(e, ERR_AWAY, "%s is away: %s", v.name, v.why);
}

static bool
may_try(struct doc *d, uint64_t *losses)
{
	bool yes;

	must(pthread_mutex_lock(&d->lock) == 0);
	yes = link_usable(&d->link) || clock_mono_ms() >= d->due_ms;
	if (yes && !link_usable(&d->link))
		link_state_set(&d->link, LINK_CONNECTING, NULL);
	*losses = d->losses;
	must(pthread_mutex_unlock(&d->lock) == 0);
	return yes;
}

static void
up(struct doc *d)
{
	must(pthread_mutex_lock(&d->lock) == 0);
	if (!link_usable(&d->link)) {
		/* another thread may have noticed a loss meanwhile */
		link_state_set(&d->link, LINK_CONNECTING, NULL);
		link_state_set(&d->link, LINK_UP, NULL);
	}
	must(pthread_mutex_unlock(&d->lock) == 0);
}

static void
down(struct doc *d, uint64_t losses, const char *why)
{
	must(pthread_mutex_lock(&d->lock) == 0);
	if (losses == d->losses) {
		d->losses++;
		d->due_ms = clock_mono_ms() + link_wait_ms(&d->link);
		link_state_set(&d->link, LINK_DOWN, why);
	}
	must(pthread_mutex_unlock(&d->lock) == 0);
}

static int
call_begin(struct doc *d, const char *collection, struct doc_call *c, bool whole, struct err *e)
{
	int64_t began = clock_mono_ms();

	*c = (struct doc_call){ .d = d, .database = d->database, .whole = whole };
	if (!may_try(d, &c->losses))
		return away(d, e);
	c->client = mongoc_client_pool_pop(d->pool);
	if (!c->client)
		return err_set(e, ERR_AWAY, "all connections are in use");
	if (whole)
		doc_deadline_set_whole(began + CALL_WHOLE_MS);
	else
		doc_deadline_set(began + CALL_ALL_MS);
	doc_stream_use(c->client);
	if (collection)
		c->collection = mongoc_client_get_collection(c->client, d->database, collection);
	return 0;
}

int
doc_call_begin(struct doc *d, const char *collection, struct doc_call *c, struct err *e)
{
	return call_begin(d, collection, c, false, e);
}

int
doc_call_begin_whole(struct doc *d, const char *collection, struct doc_call *c, struct err *e)
{
	return call_begin(d, collection, c, true, e);
}

int
doc_call_end(struct doc_call *c, bool good, struct err *e)
{
	struct err own = ERR_INIT;

	if (c->collection)
		mongoc_collection_destroy(c->collection);
	mongoc_client_pool_push(c->d->pool, c->client);
	doc_deadline_set(0);
	if (good) {
		up(c->d);
		return 0;
	}
	doc_error_set(&c->error, &own);
	if (own.kind == ERR_AWAY)
		down(c->d, c->losses, own.text);
	else if (c->error.domain == MONGOC_ERROR_SERVER)
		up(c->d); /* the server answered */
	if (e)
		*e = own;
	return -1;
}

int
doc_call_ms(const struct doc_call *c)
{
	return (c->whole ? CALL_WHOLE_MS : c->d->call_ms) * 9 / 10;
}

int
doc_ping(struct doc *d, struct err *e)
{
	struct doc_call c;
	bson_t command = BSON_INITIALIZER;
	bool good;

	if (doc_call_begin(d, NULL, &c, e))
		return -1;
	must(BSON_APPEND_INT32(&command, "ping", 1));
	good = mongoc_client_command_simple(c.client, c.database, &command, NULL, NULL, &c.error);
	bson_destroy(&command);
	return doc_call_end(&c, good, e);
}
