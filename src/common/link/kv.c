/* SPDX-License-Identifier: MIT */
/* Redis, shared by the blocking and the loop's connection: settings, encoding, replies, scripts. */
#include "link/kv_own.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "base/text.h"
#include "base/url.h"

#if HIREDIS_MAJOR >= 1
/*
 * Trusts OpenSSL's own authorities: /etc/ssl/certs on Debian, or the file that
 * SSL_CERT_FILE names.
 */
static int
tls_init(struct kv_settings *s, struct err *e)
{
	redisInitOpenSSL();
	s->ssl = SSL_CTX_new(TLS_client_method());
	if (!s->ssl || SSL_CTX_set_default_verify_paths(s->ssl) != 1 ||
		SSL_CTX_set_min_proto_version(s->ssl, TLS1_2_VERSION) != 1)
		return err_set(e, ERR_INVALID, "TLS: OpenSSL cannot be set up");
	SSL_CTX_set_verify(s->ssl, SSL_VERIFY_PEER, NULL);
	return 0;
}

/* Replaces hiredis' own context, which accepts an authority's certificate for any host. */
int
kv_tls_begin(const struct kv_settings *s, redisContext *c, struct err *e)
{
	struct in6_addr ip;
	bool name = inet_pton(AF_INET, s->host, &ip) != 1 && inet_pton(AF_INET6, s->host, &ip) != 1;
	SSL *ssl;

	if (!s->ssl)
		return 0;
	ssl = SSL_new(s->ssl);
	if (!ssl || SSL_set1_host(ssl, s->host) != 1 ||
		(name && SSL_set_tlsext_host_name(ssl, s->host) != 1)) {
		SSL_free(ssl);
		return err_set(e, ERR_AWAY, "TLS: OpenSSL refuses the host's name");
	}
	if (redisInitiateSSL(c, ssl) == REDIS_OK) /* c owns ssl now */
		return 0;
	err_set(e, ERR_AWAY, "TLS: %s", c->errstr);
	SSL_free(ssl);
	return -1;
}
#else
static int
tls_init(struct kv_settings *s, struct err *e)
{
	(void)s;
	return err_set(e, ERR_INVALID,
		"rediss:// needs hiredis 1.0 or newer, and this program has %d.%d: build "
		"with a newer hiredis, or use redis:// to a local TLS tunnel (stunnel)",
		HIREDIS_MAJOR, HIREDIS_MINOR);
}

int
kv_tls_begin(const struct kv_settings *s, redisContext *c, struct err *e)
{
	(void)s;
	(void)c;
	(void)e;
	return 0; /* tls_init has refused a rediss:// URL */
}
#endif

int
kv_settings_init(struct kv_settings *s, const struct kv_options *o, struct err *e)
{
	struct url u;

	*s = (struct kv_settings){ .mem = arena_new(1024, 64 << 10),
		.connect_ms = o->connect_ms ? o->connect_ms : 2000,
		.call_ms = o->call_ms ? o->call_ms : 2000 };
	if (url_parse(URL_REDIS, o->url, s->mem, &u, e))
		goto bad;
	s->host = u.host;
	s->port = u.port;
	s->tls = u.tls;
	s->user = u.user && *u.user ? u.user : NULL;
	s->password = u.password && *u.password ? u.password : NULL;
	s->number = *u.path && strcmp(u.path, "0") != 0 ? u.path : NULL;
	if (s->number && strspn(s->number, "0123456789") != strlen(s->number)) {
		err_set(e, ERR_INVALID, "a Redis URL's path is the number of a database");
		goto bad;
	}
	if (s->tls && tls_init(s, e))
		goto bad;
	return 0;
bad:
	kv_settings_fini(s);
	return -1;
}

void
kv_settings_fini(struct kv_settings *s)
{
#if HIREDIS_MAJOR >= 1
	SSL_CTX_free(s->ssl);
#endif
	arena_free(s->mem);
	*s = (struct kv_settings){ 0 };
}

static void
encode_bytes(struct buf *b, const char *bytes, size_t length)
{
	buf_add_char(b, '$');
	buf_add_i64(b, (int64_t)length);
	buf_add(b, "\r\n", 2);
	buf_add(b, bytes, length);
	buf_add(b, "\r\n", 2);
}

static void
encode_count(struct buf *b, size_t n)
{
	buf_add_char(b, '*');
	buf_add_i64(b, (int64_t)n);
	buf_add(b, "\r\n", 2);
}

void
kv_encode(struct buf *b, size_t argc, const char *const *argv, const size_t *lengths)
{
	encode_count(b, argc);
	for (size_t i = 0; i < argc; i++)
		encode_bytes(b, argv[i], lengths ? lengths[i] : strlen(argv[i]));
}

void
kv_encode_tail(struct buf *b, size_t keys, size_t argc, const char *const *argv,
	const size_t *lengths)
{
	char digits[TEXT_I64_SIZE];

	must(keys <= argc);
	encode_bytes(b, digits, text_i64((int64_t)keys, digits));
	for (size_t i = 0; i < argc; i++)
		encode_bytes(b, argv[i], lengths ? lengths[i] : strlen(argv[i]));
}

void
kv_encode_eval(struct buf *b, const struct kv_script *s, bool by_sha, size_t argc, const char *tail,
	size_t tail_length)
{
	const char *what = by_sha ? s->sha : s->text;

	encode_count(b, argc + 3);
	encode_bytes(b, by_sha ? "EVALSHA" : "EVAL", by_sha ? 7 : 4);
	encode_bytes(b, what, strlen(what));
	buf_add(b, tail, tail_length);
}

bool
kv_hello(const struct kv_settings *s, size_t i, struct buf *out)
{
	if (s->password && i-- == 0) {
		if (s->user)
			kv_encode(out, 3, (const char *const[]){ "AUTH", s->user, s->password },
				NULL);
		else
			kv_encode(out, 2, (const char *const[]){ "AUTH", s->password }, NULL);
		return true;
	}
	if (s->number && i-- == 0) {
		kv_encode(out, 2, (const char *const[]){ "SELECT", s->number }, NULL);
		return true;
	}
	if (i > 0)
		return false;
	kv_encode(out, 1, (const char *const[]){ "PING" }, NULL);
	return true;
}

int
kv_hello_check(const struct kv_reply *r, struct err *e)
{
	if (kv_check(r, e)) {
		if (e)
			e->kind = ERR_AWAY; /* the set-up is wrong, not the data */
		return -1;
	}
	if (r->type != KV_TEXT || (strcmp(r->text, "OK") != 0 && strcmp(r->text, "PONG") != 0))
		return err_set(e, ERR_AWAY, "the server does not answer like Redis");
	return 0;
}

struct kv_reply
kv_view(const redisReply *r)
{
	struct kv_reply v = { .type = KV_NIL, .own = r };

	switch (r->type) {
	case REDIS_REPLY_ERROR:
	case REDIS_REPLY_STRING:
	case REDIS_REPLY_STATUS:
		v.type = r->type == REDIS_REPLY_ERROR ? KV_ERROR : KV_TEXT;
		v.text = r->str;
		v.length = (size_t)r->len;
		break;
	case REDIS_REPLY_INTEGER:
		v.type = KV_INT;
		v.number = r->integer;
		break;
	case REDIS_REPLY_ARRAY:
		v.type = KV_ARRAY;
		v.count = r->elements;
		break;
	default: break; /* NIL; other types come only with RESP3, which we do not ask for */
	}
	return v;
}

struct kv_reply
kv_reply_at(const struct kv_reply *array, size_t i)
{
	const redisReply *r = array->own;

	must(array->type == KV_ARRAY && i < array->count);
	return kv_view(r->element[i]);
}

enum err_kind
kv_error_kind(const char *text)
{
	static const struct {
		const char *word;
		enum err_kind kind;
	} kinds[] = {
		{ "LOADING", ERR_AWAY },
		{ "BUSY", ERR_AWAY },
		{ "MASTERDOWN", ERR_AWAY },
		{ "READONLY", ERR_AWAY },
		{ "MISCONF", ERR_AWAY },
		{ "TRYAGAIN", ERR_AWAY },
		{ "OOM", ERR_AWAY },
		{ "CLUSTERDOWN", ERR_AWAY },
		{ "NOREPLICAS", ERR_AWAY },
		{ "NOAUTH", ERR_AWAY },
		{ "WRONGPASS", ERR_AWAY },
		{ "NOPERM", ERR_AWAY },
		{ "UNKILLABLE", ERR_AWAY },
		{ "NOSCRIPT", ERR_MISSING },
		{ "BUSYKEY", ERR_CONFLICT },
	};
	/* these also tell of the server's state, but have no error word of their own */
	static const char *const refusals[] = { "ERR max number of clients",
		"ERR ACL failure in script", "ERR The user executing the script can't" };
	size_t n = strcspn(text, " ");

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (strlen(kinds[i].word) == n && strncmp(text, kinds[i].word, n) == 0)
			return kinds[i].kind;
	for (size_t i = 0; i < ARRAY_LEN(refusals); i++)
		if (strncmp(text, refusals[i], strlen(refusals[i])) == 0)
			return ERR_AWAY;
	return ERR_INTERNAL;
}

int
kv_check(const struct kv_reply *r, struct err *e)
{
	const char *stop;
	size_t n;

	if (r->type != KV_ERROR)
		return 0;
	/* the server quotes the refused input: leave it out */
	n = strcspn(r->text, "'`\"\r\n");
	stop = strstr(r->text, "with args");
	if (stop && (size_t)(stop - r->text) < n)
		n = (size_t)(stop - r->text);
	while (n > 0 && (r->text[n - 1] == ' ' || r->text[n - 1] == ':' || r->text[n - 1] == ','))
		n--;
	return err_set(e, kv_error_kind(r->text), "%.*s", (int)(n < 160 ? n : 160), r->text);
}

bool
kv_is_noscript(const struct kv_reply *r)
{
	return r->type == KV_ERROR && strncmp(r->text, "NOSCRIPT", 8) == 0;
}
