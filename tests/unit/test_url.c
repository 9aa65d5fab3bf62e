/* SPDX-License-Identifier: MIT */
#include "cm.h"

#include "base/url.h"

static void
parts(void **state)
{
	struct arena *mem = arena_new(1024, 1 << 20);
	struct url u;
	struct err e;

	(void)state;
	assert_int_equal(
		url_parse(URL_POSTGRES,
			"postgresql://onboard:p%40s%2Fs@db.example:6432/on%20board?sslmode=verify-full&a=%26",
			mem, &u, &e),
		0);
	assert_string_equal(u.user, "onboard");
	assert_string_equal(u.password, "p@s/s");
	assert_string_equal(u.host, "db.example");
	assert_int_equal(u.port, 6432);
	assert_string_equal(u.path, "on board");
	assert_string_equal(url_param(&u, "sslmode"), "verify-full");
	assert_string_equal(url_param(&u, "a"), "&");
	assert_null(url_param(&u, "b"));
	assert_int_equal(url_parse(URL_AMQP, "amqps://[::1]/%2f", mem, &u, &e), 0);
	assert_string_equal(u.host, "::1");
	assert_int_equal(u.port, 5671);
	assert_true(u.tls);
	assert_string_equal(u.path, "/");
	assert_null(u.user);
	assert_int_equal(url_parse(URL_REDIS, "redis://:secret@127.0.0.1", mem, &u, &e), 0);
	assert_null(u.user);
	assert_string_equal(u.password, "secret");
	assert_string_equal(u.path, "");
	assert_int_equal(u.port, 6379);
	assert_int_equal(url_parse(URL_MONGO, "mongodb://a:1,b:2/db?replicaSet=x", mem, &u, &e), 0);
	assert_string_equal(u.host, "a");
	assert_int_equal(u.port, 1);
	arena_free(mem);
}

static void
refused_with_the_reason(void **state)
{
	static const struct {
		enum url_kind kind;
		const char *text, *why;
	} rows[] = {
		{ URL_POSTGRES, "", "begins with postgresql://" },
		{ URL_POSTGRES, "mysql://x", "not a PostgreSQL URL" },
		{ URL_REDIS, "redis:127.0.0.1", "begins with redis://" },
		{ URL_REDIS, "redis://", "names no host" },
		{ URL_REDIS, "redis://:p@/0", "names no host" },
		{ URL_REDIS, "redis://h:0", "port" },
		{ URL_REDIS, "redis://h:65536", "port" },
		{ URL_REDIS, "redis://h:99999999999999999999", "port" },
		{ URL_REDIS, "redis://h:", "port" },
		{ URL_REDIS, "redis://h:6x", "port" },
		{ URL_AMQP, "amqp://[::1", "]" },
		{ URL_AMQP, "amqp://[::1]x", "]" },
		{ URL_AMQP, "amqp://u:a@b@h/", "two @" },
		{ URL_AMQP, "amqp://u:a#b@h/", "#" },
		{ URL_AMQP, "amqp://u:p%4@h/", "two hex digits" },
		{ URL_AMQP, "amqp://u:p%@h/", "two hex digits" },
		{ URL_AMQP, "amqp://u:p%zz@h/", "two hex digits" },
		{ URL_AMQP, "amqp://u:%00@h/", "not UTF-8" },
		{ URL_AMQP, "amqp://u:%ff@h/", "not UTF-8" },
		{ URL_AMQP, "amqp://h%0d%0a/", "not UTF-8" },
		{ URL_AMQP, "amqp://u:s3/cret@h", "is written %2F" },
		{ URL_MONGO, "mongodb://a,b:x/db", "port" },
		{ URL_MONGO, "mongodb://a,,b/db", "names no host" },
		{ URL_SMTP, "smtp://h /", "space" },
		{ URL_SMTP, "smtp://h\n", "space" },
		{ URL_SMTP, "smtp://h/?x", "name=value" },
		{ URL_SMTP, "smtp://h/?=x", "name=value" },
	};
	struct arena *mem = arena_new(1024, 1 << 20);
	struct url u;
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (url_parse(rows[i].kind, rows[i].text, mem, &u, &e) == 0)
			fail_msg("row %zu was accepted: %s", i, rows[i].text);
		assert_int_equal(e.kind, ERR_INVALID);
		if (!strstr(e.text, rows[i].why))
			fail_msg("row %zu: \"%s\" is not in: %s", i, rows[i].why, e.text);
		assert_null(strstr(e.text, "s3")); /* the message goes into a log */
	}
	arena_free(mem);
}

static void
redacted(void **state)
{
	static const struct {
		enum url_kind kind;
		const char *text, *red;
	} rows[] = {
		{ URL_POSTGRES, "postgresql://o:secret@h/db?password=secret",
			"postgresql://o:***@h/db?password=***" },
		{ URL_REDIS, "redis://:secret@[::1]:7/0", "redis://:***@[::1]:7/0" },
		{ URL_SMTP, "smtp://127.0.0.1:1025", "smtp://127.0.0.1:1025" },
		{ URL_AMQP, "amqp://a%20b:@h/%2f", "amqp://a%20b:***@h/%2f" },
		{ URL_MONGO, "mongodb://u:p:q%40@a:1,b:2/db?x=&y=z&",
			"mongodb://u:***@a:1,b:2/db?x=***&y=***" },
	};
	struct arena *mem = arena_new(1024, 1 << 20);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_string_equal(url_redact(rows[i].kind, rows[i].text, mem), rows[i].red);
	assert_null(url_redact(URL_REDIS, "nonsense:secret", mem));
	arena_free(mem);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parts),
		cmocka_unit_test(refused_with_the_reason),
		cmocka_unit_test(redacted),
	};

	return cmocka_run_group_tests_name("url", tests, NULL, NULL);
}
