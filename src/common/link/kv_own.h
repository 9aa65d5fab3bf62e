/* SPDX-License-Identifier: MIT */
/* What the files of link/kv share; nobody else includes it. */
#pragma once

#include <hiredis/hiredis.h>
#if HIREDIS_MAJOR >= 1
#include <hiredis/hiredis_ssl.h>
#include <openssl/ssl.h>
#endif

#include "link/kv.h"

struct kv_settings {
	struct arena *mem;                           /* of all below */
	const char *host, *user, *password, *number; /* NULL: not given */
	int port;
	bool tls;
	int64_t connect_ms, call_ms;
#if HIREDIS_MAJOR >= 1
	SSL_CTX *ssl; /* NULL: redis:// */
#endif
};

int kv_settings_init(struct kv_settings *s, const struct kv_options *o, struct err *e) MUST_CHECK;
void kv_settings_fini(struct kv_settings *s);
/* TLS on a new connection where the URL wants it; the server's certificate must be for its host. */
int kv_tls_begin(const struct kv_settings *s, redisContext *c, struct err *e) MUST_CHECK;

/* AUTH and SELECT if the URL wants them, PING: what a new connection says; false: no more. */
bool kv_hello(const struct kv_settings *s, size_t i, struct buf *out);
/* 0 when it is a good reply to one of these. */
int kv_hello_check(const struct kv_reply *r, struct err *e) MUST_CHECK;

struct kv_reply kv_view(const redisReply *r);
bool kv_is_noscript(const struct kv_reply *r);

/* The head of EVALSHA or EVAL; tail (the keys' number, keys, arguments) is the same for both. */
void kv_encode_eval(struct buf *b, const struct kv_script *s, bool by_sha, size_t argc,
	const char *tail, size_t tail_length);
void kv_encode_tail(struct buf *b, size_t keys, size_t argc, const char *const *argv,
	const size_t *lengths);
