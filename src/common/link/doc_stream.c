/* SPDX-License-Identifier: MIT */
/*
 * The driver's timeouts begin again with every read, and a call has several reads:
 * hello, login, the two halves of each answer, each batch of a cursor. So we wrap
 * our clients' streams in one that knows the deadline of the whole call.
 */
#include "link/doc_own.h"

#include <errno.h>

#include "base/clock.h"

enum { STREAM_OURS = 0x6f62 }; /* a number that the driver does not use */

struct stream {
	mongoc_stream_t base; /* must be first: the driver points to it */
	mongoc_stream_t *inner;
	bool late;
};

/*
 * The driver exports this function but declares it in no header. It is weak: if a
 * later driver hides it, only the driver's own timeouts bound a call.
 */
extern mongoc_stream_t *mongoc_client_default_stream_initiator(const mongoc_uri_t *uri,
	const mongoc_host_list_t *host, void *client, bson_error_t *error) __attribute__((weak));

static _Thread_local int64_t deadline_ms;
static _Thread_local bool whole; /* one wait may last until the deadline */

void
doc_deadline_set(int64_t mono_ms)
{
	deadline_ms = mono_ms;
	whole = false;
}

void
doc_deadline_set_whole(int64_t mono_ms)
{
	deadline_ms = mono_ms;
	whole = true;
}

/* The time for a wait of timeout ms (below 0: endless) before the deadline; 0: no time left. */
static int32_t
left_of(int32_t timeout)
{
	int64_t left;

	if (deadline_ms == 0)
		return timeout;
	left = deadline_ms - clock_mono_ms();
	if (left <= 0)
		return 0;
	return whole || timeout < 0 || left < timeout ? (int32_t)left : timeout;
}

static bool
too_late(struct stream *s)
{
	if (deadline_ms == 0 || clock_mono_ms() < deadline_ms)
		return false;
	s->late = true;
	errno = ETIMEDOUT;
	return true;
}

static struct stream *
ours(mongoc_stream_t *base)
{
	must(base->type == STREAM_OURS);
	return (struct stream *)base;
}

static void
on_destroy(mongoc_stream_t *base)
{
	struct stream *s = ours(base);

	mongoc_stream_destroy(s->inner);
	free(s);
}

static void
on_failed(mongoc_stream_t *base)
{
	struct stream *s = ours(base);

	mongoc_stream_failed(s->inner);
	free(s);
}

static int
on_close(mongoc_stream_t *base)
{
	return mongoc_stream_close(ours(base)->inner);
}

static int
on_flush(mongoc_stream_t *base)
{
	return mongoc_stream_flush(ours(base)->inner);
}

static ssize_t
on_writev(mongoc_stream_t *base, mongoc_iovec_t *iov, size_t count, int32_t timeout)
{
	struct stream *s = ours(base);

	return too_late(s) ? -1 : mongoc_stream_writev(s->inner, iov, count, left_of(timeout));
}

static ssize_t
on_readv(mongoc_stream_t *base, mongoc_iovec_t *iov, size_t count, size_t min, int32_t timeout)
{
	struct stream *s = ours(base);

	return too_late(s) ? -1 : mongoc_stream_readv(s->inner, iov, count, min, left_of(timeout));
}

static int
on_setsockopt(mongoc_stream_t *base, int level, int name, void *value, mongoc_socklen_t size)
{
	return mongoc_stream_setsockopt(ours(base)->inner, level, name, value, size);
}

static mongoc_stream_t *
on_base(mongoc_stream_t *base)
{
	return ours(base)->inner;
}

static bool
on_check_closed(mongoc_stream_t *base)
{
	return mongoc_stream_check_closed(ours(base)->inner);
}

static ssize_t
on_poll(mongoc_stream_poll_t *streams, size_t n, int32_t timeout)
{
	mongoc_stream_poll_t *inner = must_calloc(n, sizeof *inner);
	ssize_t rc;

	for (size_t i = 0; i < n; i++) {
		inner[i] = streams[i];
		inner[i].stream = ours(streams[i].stream)->inner;
	}
	rc = mongoc_stream_poll(inner, n, left_of(timeout));
	for (size_t i = 0; i < n; i++)
		streams[i].revents = inner[i].revents;
	free(inner);
	return rc;
}

static bool
on_timed_out(mongoc_stream_t *base)
{
	struct stream *s = ours(base);

	return s->late || mongoc_stream_timed_out(s->inner);
}

static bool
on_should_retry(mongoc_stream_t *base)
{
	struct stream *s = ours(base);

	return !s->late && mongoc_stream_should_retry(s->inner);
}

static mongoc_stream_t *
stream_open(const mongoc_uri_t *uri, const mongoc_host_list_t *host, void *client,
	bson_error_t *error)
{
	int32_t connect_ms = mongoc_uri_get_option_as_int32(uri, MONGOC_URI_CONNECTTIMEOUTMS, 0);
	mongoc_stream_t *inner;
	struct stream *s;

	if (left_of(connect_ms) < connect_ms) {
		/* connecting takes no shorter timeout */
		bson_set_error(error, MONGOC_ERROR_STREAM, MONGOC_ERROR_STREAM_CONNECT,
			"no time left to connect");
		return NULL;
	}
	inner = mongoc_client_default_stream_initiator(uri, host, client, error);
	if (!inner)
		return NULL;
	s = must_calloc(1, sizeof *s);
	s->inner = inner;
	s->base = (mongoc_stream_t){ .type = STREAM_OURS,
		.destroy = on_destroy,
		.close = on_close,
		.flush = on_flush,
		.writev = on_writev,
		.readv = on_readv,
		.setsockopt = on_setsockopt,
		.get_base_stream = on_base,
		.check_closed = on_check_closed,
		.poll = on_poll,
		.failed = on_failed,
		.timed_out = on_timed_out,
		.should_retry = on_should_retry };
	return &s->base;
}

void
doc_stream_use(mongoc_client_t *client)
{
	if (mongoc_client_default_stream_initiator)
		mongoc_client_set_stream_initiator(client, stream_open, client);
}
