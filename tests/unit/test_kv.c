/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "link/kv.h"

static void
commands_are_encoded_by_length(void **state)
{
	static const char *const argv[] = { "SET", "k\r\n*1", "a\0b" };
	static const size_t lengths[] = { 3, 5, 3 };
	static const char want[] = "*3\r\n$3\r\nSET\r\n$5\r\nk\r\n*1\r\n$3\r\na\0b\r\n";
	struct buf b;

	(void)state;
	buf_init(&b, 100);
	kv_encode(&b, 3, argv, lengths);
	assert_int_equal(b.length, sizeof want - 1);
	assert_memory_equal(b.data, want, sizeof want - 1);
	buf_fini(&b);
}

static void
script_names(void **state)
{
	/* by sha1sum(1); the lengths around a block's end are where padding goes wrong */
	static const struct {
		size_t length;
		const char *sha;
	} rows[] = {
		{ 0, "da39a3ee5e6b4b0d3255bfef95601890afd80709" },
		{ 1, "11f6ad8ec52a2984abaafd7c3b516503785c2072" },
		{ 55, "cef734ba81a024479e09eb5a75b6ddae62e6abf1" },
		{ 56, "901305367c259952f4e7af8323f480d59f81335b" },
		{ 63, "0ddc4e0cccd9a12850deb5abb0853a4425559fec" },
		{ 64, "bb2fa3ee7afb9f54c6dfb5d021f14b1ffe40c163" },
		{ 65, "78c741ddc482e4cdf8c474a0876347a0905b6233" },
		{ 200, "94218caae9904e93a3d7bf578bf4791926fc5e82" },
	};
	struct kv_script s;
	char text[201];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		memset(text, 'x', rows[i].length);
		text[rows[i].length] = '\0';
		kv_script_init(&s, text);
		assert_string_equal(s.sha, rows[i].sha);
	}
	kv_script_init(&s, "return 1");
	assert_string_equal(s.sha, "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
}

static void
error_replies(void **state)
{
	static const struct {
		const char *reply, *text;
		enum err_kind kind;
	} rows[] = {
		{ "LOADING Redis is loading", "LOADING Redis is loading", ERR_AWAY },
		{ "BUSYKEY Target", "BUSYKEY Target", ERR_CONFLICT },
		{ "BUSY script", "BUSY script", ERR_AWAY },
		{ "OOM command not allowed", "OOM command not allowed", ERR_AWAY },
		{ "ERR ACL failure in script: User x has no permissions to run the 'set' command",
			"ERR ACL failure in script: User x has no permissions to run the",
			ERR_AWAY },
		{ "ERR max number of clients reached", "ERR max number of clients reached",
			ERR_AWAY },
		{ "ERR unknown command `FOO`, with args beginning with: `secret`",
			"ERR unknown command", ERR_INTERNAL },
		{ "ERR unknown subcommand 'secret'.", "ERR unknown subcommand", ERR_INTERNAL },
		{ "WRONGTYPE Operation", "WRONGTYPE Operation", ERR_INTERNAL },
	};
	struct err e = ERR_INIT;
	struct kv_reply r;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		r = (struct kv_reply){ .type = KV_ERROR, .text = rows[i].reply };
		assert_int_equal(kv_check(&r, &e), -1);
		assert_string_equal(e.text, rows[i].text);
		assert_int_equal(e.kind, rows[i].kind);
	}
	r = (struct kv_reply){ .type = KV_NIL };
	assert_int_equal(kv_check(&r, &e), 0);
}

static void
the_pipeline_is_bounded(void **state)
{
	static const char *const ping[] = { "PING" };
	struct err e = ERR_INIT;
	struct kv *k = kv_open(&(struct kv_options){ .url = "redis://127.0.0.1:1" }, &e);
	char *large = must_calloc(1, KV_PIPELINE_BYTES_MAX + 1);

	(void)state;
	assert_non_null(k);
	memset(large, 'x', KV_PIPELINE_BYTES_MAX);
	assert_int_equal(kv_add(k, 1, ping, NULL, &e), 0);
	assert_int_equal(kv_add(k, 2, (const char *const[]){ "ECHO", large }, NULL, &e), -1);
	assert_int_equal(e.kind, ERR_LIMIT);
	assert_int_equal(kv_added(k), 1); /* the large one left nothing behind */
	for (size_t i = 1; i < KV_PIPELINE_MAX; i++)
		assert_int_equal(kv_add(k, 1, ping, NULL, &e), 0);
	assert_int_equal(kv_add(k, 1, ping, NULL, &e), -1);
	assert_int_equal(e.kind, ERR_LIMIT);
	kv_forget(k);
	assert_int_equal(kv_added(k), 0);
	free(large);
	kv_close(k);
}

static void
bad_urls(void **state)
{
	struct err e = ERR_INIT;

	(void)state;
	assert_null(kv_open(&(struct kv_options){ .url = "http://h" }, &e));
	assert_int_equal(e.kind, ERR_INVALID);
	assert_null(kv_open(&(struct kv_options){ .url = "redis://127.0.0.1/name" }, &e));
	assert_int_equal(e.kind, ERR_INVALID);
}

static void
tls_or_the_way_out(void **state)
{
	struct err e = ERR_INIT;
	struct kv *k = kv_open(&(struct kv_options){ .url = "rediss://127.0.0.1" }, &e);

	(void)state;
	if (!k) {
		assert_int_equal(e.kind, ERR_INVALID);
		assert_non_null(strstr(e.text, "hiredis 1.0"));
	}
	kv_close(k);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(commands_are_encoded_by_length),
		cmocka_unit_test(script_names),
		cmocka_unit_test(error_replies),
		cmocka_unit_test(the_pipeline_is_bounded),
		cmocka_unit_test(bad_urls),
		cmocka_unit_test(tls_or_the_way_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
