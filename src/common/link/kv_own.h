/* SPDX-License-Identifier: MIT */
/* Shared by the files of link/kv. Other files must not include it. */
#pragma once

#include <hiredis/hiredis.h>
#if HIREDIS_MAJOR >= 1
#include <hiredis/hiredis_ssl.h>
#include <openssl/ssl.h>
#endif

#include "link/kv.h"

struct kv_settings {
	struct arena *mem;                           /* holds the texts below */
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
/* Begins TLS on a new connection for rediss://. The certificate must be valid for the host. */
int kv_tls_begin(const struct kv_settings *s, redisContext *c, struct err *e) MUST_CHECK;

/*
 * The first commands of a connection: AUTH and SELECT if the URL needs them, PING.
 * False: no more.
 */
bool kv_hello(const struct kv_settings *s, size_t i, struct buf *out);
/* 0: a good reply to one of these. */
int kv_hello_check(const struct kv_reply *r, struct err *e) MUST_CHECK;

struct kv_reply kv_view(const redisReply *r);
bool kv_is_noscript(const struct kv_reply *r);

/*
 * Appends the beginning of EVALSHA or EVAL. Both have the same tail: number of keys,
 * keys, arguments.
 */
void kv_encode_eval(struct buf *b, const struct kv_script *s, bool by_sha, size_t argc,
	const char *tail, size_t tail_length);
void kv_encode_tail(struct buf *b, size_t keys, size_t argc, const char *const *argv,
	const size_t *lengths);
