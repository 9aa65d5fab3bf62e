/* SPDX-License-Identifier: MIT */
/* RabbitMQ: TCP, TLS and login, with messages that tell an operator what to mend. */
#include "link/broker_own.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "base/clock.h"
#include "version.h"

#define FRAME_MAX 131072
/*
 * A received frame may be larger than the agreed size: the broker adds headers
 * (x-death, x-delivery-count) to a message whose headers already filled a frame.
 */
#define FRAME_IN_MAX (BROKER_HEAD_MAX + 4096)

static int
open_tls(amqp_connection_state_t conn, const struct url *u, amqp_socket_t **out, const char **bad)
{
	const char *ca = url_param(u, "cacertfile"), *cert = url_param(u, "certfile");
	const char *key = url_param(u, "keyfile"), *verify = url_param(u, "verify");
	bool check = !verify || strcmp(verify, "verify_none") != 0;
	amqp_socket_t *s = *out = amqp_ssl_socket_new(conn);

	*bad = "TLS cannot be set up";
	if (!s)
		return AMQP_STATUS_NO_MEMORY;
	amqp_ssl_socket_set_verify_peer(s, check);
	amqp_ssl_socket_set_verify_hostname(s, check);
	(void)amqp_ssl_socket_set_ssl_versions(s, AMQP_TLSv1_2, AMQP_TLSvLATEST);
	*bad = "cacertfile cannot be read";
	if (check && amqp_ssl_socket_set_cacert(s, ca ? ca : "/etc/ssl/certs/ca-certificates.crt"))
		return AMQP_STATUS_SSL_ERROR;
	*bad = "certfile or keyfile cannot be read";
	if (cert && amqp_ssl_socket_set_key(s, cert, key ? key : cert))
		return AMQP_STATUS_SSL_ERROR;
	*bad = NULL;
	return AMQP_STATUS_OK;
}

/* The time for one step: connect_ms, or less if less is left. */
static struct timeval
span(const struct broker *b, int64_t until_ms)
{
	int64_t ms = until_ms - clock_mono_ms();

	if (ms > b->connect_ms)
		ms = b->connect_ms;
	if (ms < 1)
		ms = 1;
	return (struct timeval){ .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };
}

static amqp_rpc_reply_t
login(struct broker *b, const struct url *u)
{
	static const char *const can[] = { "consumer_cancel_notify", "connection.blocked",
		"publisher_confirms", "basic.nack", "authentication_failure_close" };
	amqp_table_entry_t cans[ARRAY_LEN(can)], about[4];
	const char *const texts[][2] = { { "product", "onboard" }, { "version", ONBOARD_VERSION },
		{ "connection_name", b->name } };
	amqp_table_t properties = { ARRAY_LEN(about), about };

	for (size_t i = 0; i < ARRAY_LEN(can); i++)
		cans[i] = (amqp_table_entry_t){ amqp_cstring_bytes(can[i]),
			{ .kind = AMQP_FIELD_KIND_BOOLEAN, .value.boolean = 1 } };
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		about[i] = (amqp_table_entry_t){ amqp_cstring_bytes(texts[i][0]),
			{ .kind = AMQP_FIELD_KIND_UTF8,
				.value.bytes = amqp_cstring_bytes(texts[i][1]) } };
	about[3] = (amqp_table_entry_t){ amqp_cstring_bytes("capabilities"),
		{ .kind = AMQP_FIELD_KIND_TABLE, .value.table = { ARRAY_LEN(cans), cans } } };
	return amqp_login_with_properties(b->conn, u->path, CH_COUNT - 1, FRAME_MAX,
		(int)b->heartbeat_s, &properties, AMQP_SASL_METHOD_PLAIN,
		u->user ? u->user : "guest", u->password ? u->password : "guest");
}

static int
login_failed(struct broker *b, amqp_rpc_reply_t r, struct err *e)
{
	amqp_connection_close_t *c = r.reply.decoded;

	if (r.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION &&
		r.reply.id == AMQP_CONNECTION_CLOSE_METHOD) {
		int n = (int)c->reply_text.len;
		const char *text = c->reply_text.bytes;

		if (c->reply_code == 403)
			return broker_lost(b, e,
				"wrong user or password in rabbitmq.url (the server says: %.*s)", n,
				text);
		if (c->reply_code == 530)
			return broker_lost(b, e,
				"the virtual host of rabbitmq.url is missing or not open to this user "
				"(the server says: %.*s)",
				n, text);
		return broker_lost(b, e, "login refused: %.*s", n, text);
	}
	if (r.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION &&
		r.library_error == AMQP_STATUS_TIMEOUT)
		return broker_lost(b, e, "the server is reached but does not answer");
	return broker_lost(b, e, "login failed: %s", amqp_error_string2(r.library_error));
}

static void
version_take(struct broker *b)
{
	amqp_table_t *t = amqp_get_server_properties(b->conn);

	b->version[0] = '\0';
	b->version_major = b->version_minor = 0;
	for (int i = 0; t && i < t->num_entries; i++) {
		amqp_bytes_t key = t->entries[i].key, v = t->entries[i].value.value.bytes;

		if (t->entries[i].value.kind != AMQP_FIELD_KIND_UTF8 || key.len != 7 ||
			memcmp(key.bytes, "version", 7) != 0)
			continue;
		snprintf(b->version, sizeof b->version, "%.*s", (int)v.len, (char *)v.bytes);
		if (sscanf(b->version, "%u.%u", &b->version_major, &b->version_minor) < 1)
			b->version_major = 0;
	}
}

static int
connect_failed(struct broker *b, const char *bad, int rc, struct err *e)
{
	/* the library does not tell why connect failed */
	if (!bad && rc == AMQP_STATUS_SOCKET_ERROR && (errno == EINPROGRESS || errno == 0))
		bad = "refused or unreachable (does RabbitMQ run; host and port of rabbitmq.url?)";
	else if (!bad && rc == AMQP_STATUS_SOCKET_ERROR)
		bad = strerror(errno);
	else if (rc == AMQP_STATUS_SSL_PEER_VERIFY_FAILED)
		bad = "the server's certificate is not from an authority of cacertfile, or out of date";
	else if (rc == AMQP_STATUS_SSL_HOSTNAME_VERIFY_FAILED)
		bad = "the server's certificate is for another host than rabbitmq.url's";
	return broker_lost(b, e, "cannot connect: %s", bad ? bad : amqp_error_string2(rc));
}

int
broker_login(struct broker *b, const struct url *u, int64_t until_ms, struct err *e)
{
	struct timeval wait = span(b, until_ms);
	const char *bad = NULL;
	amqp_socket_t *s = NULL;
	amqp_rpc_reply_t r;
	int rc;

	broker_discard(b);
	b->conn = amqp_new_connection();
	must(b->conn);
	b->tls = u->tls;
	rc = u->tls ? open_tls(b->conn, u, &s, &bad) : AMQP_STATUS_OK;
	if (!u->tls)
		must(s = amqp_tcp_socket_new(b->conn));
	if (rc == AMQP_STATUS_OK) {
		errno = 0;
		rc = amqp_socket_open_noblock(s, u->host, u->port, &wait);
	}
	if (rc != AMQP_STATUS_OK)
		return connect_failed(b, bad, rc, e);
	b->fd = amqp_get_sockfd(b->conn);
	link_socket_set(b->fd);
	wait = span(b, until_ms);
	(void)amqp_set_handshake_timeout(b->conn, &wait);
	r = login(b, u);
	if (r.reply_type != AMQP_RESPONSE_NORMAL)
		return login_failed(b, r, e);
	version_take(b);
	b->beat_ms = (int64_t)amqp_get_heartbeat(b->conn) * 1000;
	b->frame_max = (uint32_t)amqp_get_frame_max(b->conn);
	/* we send the heartbeats from now on: the library's would wait, or cut a frame in two */
	if (amqp_tune_connection(b->conn, CH_COUNT - 1, FRAME_IN_MAX, 0))
		return broker_lost(b, e, "out of memory");
	b->heard_ms = b->sent_ms = clock_mono_ms();
	b->more = true;
	return broker_channels_open(b, until_ms, e);
}
