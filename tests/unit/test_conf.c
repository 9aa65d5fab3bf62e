/* SPDX-License-Identifier: MIT */
#include "cm.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/conf.h"

static const struct conf_key keys[] = {
	{ "api", "batch", CONF_INT, "512", 1, 512, .help = "Most signups in one transaction." },
	{ "api", "linger", CONF_DURATION_MS, "5ms", 0, 1000, .help = "A wait." },
	{ "api", "body", CONF_SIZE_BYTES, "64KiB", 1024, 1 << 20, .help = "A size." },
	{ "api", "strict", CONF_BOOL, "true", .help = "A switch." },
	{ "api", "listen", CONF_LISTEN, "127.0.0.1:8001", .help = "An address." },
	{ "api", "mode", CONF_ENUM, "fast", .choices = "fast|safe", .help = "A mode." },
	{ "db", "url", CONF_URL_POSTGRES, "postgresql://o@h/d", .help = "A server.",
		.flags = CONF_SECRET },
	{ "db", "token", CONF_STRING, NULL, .help = "A secret.", .flags = CONF_SECRET },
	{ "orders", "postgres_url", CONF_URL_POSTGRES, "", .choices = "db.url", .help = "Another.",
		.flags = CONF_SECRET | CONF_FALLBACK },
	{ 0 },
};

static char folder[] = "/tmp/onboard-test-conf-XXXXXX";
static char path[100];

static void
write_text(const char *name, const char *text, size_t n)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, n), n);
	close(fd);
}

static struct conf *
load(const char *text, const struct conf_override *overrides)
{
	struct conf *c = NULL;
	struct err e = ERR_INIT;

	write_text(path, text, strlen(text));
	if (conf_load(keys, path, overrides, &c, &e) < 0)
		fail_msg("%s", e.text);
	return c;
}

static void
an_empty_file_gives_the_defaults(void **state)
{
	struct conf *c = load("", NULL);

	(void)state;
	assert_int_equal(conf_int(c, "api", "batch"), 512);
	assert_int_equal(conf_int(c, "api", "linger"), 5);
	assert_int_equal(conf_int(c, "api", "body"), 65536);
	assert_true(conf_bool(c, "api", "strict"));
	assert_string_equal(conf_string(c, "api", "listen"), "127.0.0.1:8001");
	assert_null(conf_string(c, "db", "token"));
	assert_string_equal(conf_string(c, "orders", "postgres_url"), "postgresql://o@h/d");
	assert_string_equal(conf_origin(c, "api", "batch"), "default");
	conf_free(c);
}

static void
flag_wins_over_environment_over_file(void **state)
{
	const struct conf_override flags[] = { { "api", "batch", "7" }, { 0 } };
	const char file[] = "[api]\nbatch = 100\nlinger = 1s\nmode = safe\n";
	struct conf *c;

	(void)state;
	setenv("ONBOARD_API_BATCH", "50", 1);
	setenv("ONBOARD_API_LINGER", "20ms", 1);
	c = load(file, flags);
	unsetenv("ONBOARD_API_BATCH");
	unsetenv("ONBOARD_API_LINGER");
	assert_int_equal(conf_int(c, "api", "batch"), 7);
	assert_int_equal(conf_int(c, "api", "linger"), 20);
	assert_string_equal(conf_string(c, "api", "mode"), "safe");
	assert_non_null(strstr(conf_origin(c, "api", "batch"), "flag"));
	assert_non_null(strstr(conf_origin(c, "api", "linger"), "environment ONBOARD_API_LINGER"));
	assert_non_null(strstr(conf_origin(c, "api", "mode"), ":4"));
	conf_free(c);
}

static void
values_go_to_the_end_of_the_line(void **state)
{
	struct conf *c =
		load("\xef\xbb\xbf# comment\r\n; another\n[db]\r\n  token =  a;b # c = \"d\"  \r\n"
		     "url = postgresql://o:p%23;x=1@h:1/d?a=b&c=d\n\n[api]\n\tbatch=3",
			NULL);

	(void)state;
	assert_string_equal(conf_string(c, "db", "token"), "a;b # c = \"d\"");
	assert_string_equal(conf_string(c, "db", "url"), "postgresql://o:p%23;x=1@h:1/d?a=b&c=d");
	assert_string_equal(conf_string(c, "orders", "postgres_url"), conf_string(c, "db", "url"));
	assert_int_equal(conf_int(c, "api", "batch"), 3);
	conf_free(c);
}

static void
faults_are_one_line_with_file_and_line(void **state)
{
	static const struct {
		const char *text;
		size_t length; /* 0: strlen */
		const char *where, *why;
	} rows[] = {
		{ "[api]\n\nbatsch = 1\n", 0, ":3", "batsch" },
		{ "[apy]\n", 0, ":1", "apy" },
		{ "batch = 1\n", 0, ":1", "batch" },
		{ "[api]\nbatch = 0\n", 0, ":2", "1 to 512" },
		{ "[api]\nbatch = 513\n", 0, ":2", "1 to 512" },
		{ "[api]\nbatch = 5x\n", 0, ":2", "5x" },
		{ "[api]\nbatch =\n", 0, ":2", "whole number" },
		{ "[api]\nbatch = 99999999999999999999\n", 0, ":2", "whole number" },
		{ "[api]\nlinger = 5 s\n", 0, ":2", "duration" },
		{ "[api]\nlinger = 2s\n", 0, ":2", "1s" },
		{ "[api]\nbody = 1kb\n", 0, ":2", "size" },
		{ "[api]\nstrict = maybe\n", 0, ":2", "true or false" },
		{ "[api]\nlisten = 8001\n", 0, ":2", "host:port" },
		{ "[api]\nlisten = ::1:8001\n", 0, ":2", "host:port" },
		{ "[api]\nlisten = h:65536\n", 0, ":2", "host:port" },
		{ "[api]\nmode = fas\n", 0, ":2", "fast|safe" },
		{ "[api]\nmode = fast|safe\n", 0, ":2", "fast|safe" },
		{ "[api]\nmode =\n", 0, ":2", "fast|safe" },
		{ "[api]\nlisten = []:1\n", 0, ":2", "host:port" },
		{ "[api]\nlisten = h:-0\n", 0, ":2", "host:port" },
		{ "[db]\ntoken = a\n\ntoken_file = b\n", 0, ":4", "line 2" },
		{ "[api]\nbatch_file = b\n", 0, ":2", "batch_file" },
		{ "[api]\nbatch = 1\nmode = fast\nbatch = 2\n", 0, ":4", "line 2" },
		{ "[api]\nbatch\n", 0, ":2", "key = value" },
		{ "[api\nbatch = 1\n", 0, ":1", "]" },
		{ "[db]\nurl = mysql://x\n", 0, ":2", "postgresql://" },
		{ "[db]\ntoken_file = /nonexistent/x\n", 0, ":2", "/nonexistent/x" },
		{ "[db]\ntoken = a\x1b[0m\n", 0, ":2", "control" },
		{ "[db]\ntoken = \xff\n", 0, ":2", "UTF-8" },
		{ "[db]\ntoken = a\0b\n", 15, "", "NUL" },
	};
	struct conf *c;
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		write_text(path, rows[i].text,
			rows[i].length ? rows[i].length : strlen(rows[i].text));
		e = ERR_INIT;
		if (conf_load(keys, path, NULL, &c, &e) == 0)
			fail_msg("row %zu was accepted", i);
		assert_int_equal(e.kind, ERR_INVALID);
		assert_null(strchr(e.text, '\n'));
		if (!strstr(e.text, path) || !strstr(e.text, rows[i].where) ||
			!strstr(e.text, rows[i].why))
			fail_msg("row %zu: want %s and %s in: %s", i, rows[i].where, rows[i].why,
				e.text);
	}
}

static void
files_that_cannot_be_read(void **state)
{
	struct conf *c = NULL;
	struct err e;

	(void)state;
	assert_int_equal(conf_load(keys, "/nonexistent/onboard.conf", NULL, &c, &e), -1);
	assert_non_null(strstr(e.text, "/nonexistent/onboard.conf"));
	assert_non_null(strstr(e.text, "No such file"));
	assert_int_equal(conf_load(keys, folder, NULL, &c, &e), -1);
	assert_non_null(strstr(e.text, "directory"));
	setenv("ONBOARD_CONFIG", "/nonexistent/other.conf", 1);
	assert_int_equal(conf_load(keys, NULL, NULL, &c, &e), -1);
	assert_non_null(strstr(e.text, "other.conf"));
	unsetenv("ONBOARD_CONFIG");
}

/* As composers pass on a variable that nobody set; an empty secret would be one that all know. */
static void
an_empty_value_unsets_what_has_no_default(void **state)
{
	char text[200], secret[128];
	struct conf *c;
	struct err e;

	(void)state;
	setenv("ONBOARD_DB_TOKEN", "", 1);
	c = load("[db]\ntoken = x\n[orders]\npostgres_url =\n", NULL);
	unsetenv("ONBOARD_DB_TOKEN");
	assert_null(conf_string(c, "db", "token"));
	assert_string_equal(conf_string(c, "orders", "postgres_url"), "postgresql://o@h/d");
	conf_free(c);
	snprintf(secret, sizeof secret, "%s/secret", folder);
	write_text(secret, "\n", 1);
	snprintf(text, sizeof text, "[db]\ntoken_file = %s\n", secret);
	write_text(path, text, strlen(text));
	assert_int_equal(conf_load(keys, path, NULL, &c, &e), -1);
	assert_non_null(strstr(e.text, "is empty"));
	unlink(secret);
}

static void
a_file_is_at_most_a_megabyte(void **state)
{
	size_t n = (1 << 20) + 1;
	char *text = must_malloc(n);
	struct conf *c = NULL;
	struct err e;

	(void)state;
	/* one line and one value of it all: read in no more than its length */
	memset(text, 'x', n);
	memcpy(text, "[db]\ntoken=", 11);
	write_text(path, text, n - 1);
	assert_int_equal(conf_load(keys, path, NULL, &c, &e), 0);
	assert_int_equal(strlen(conf_string(c, "db", "token")), n - 12);
	conf_free(c);
	write_text(path, text, n);
	assert_int_equal(conf_load(keys, path, NULL, &c, &e), -1);
	assert_non_null(strstr(e.text, "larger than 1048576 bytes"));
	free(text);
}

/* A line of any length is read whole: nothing is cut at 200 bytes. */
static void
long_lines_are_whole(void **state)
{
	char text[3000] = "[db]\ntoken = ";
	struct conf *c;

	(void)state;
	memset(text + 13, 'x', 2900);
	c = load(text, NULL);
	assert_int_equal(strlen(conf_string(c, "db", "token")), 2900);
	conf_free(c);
}

static char *
printed(const struct conf *c)
{
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	conf_print(c, f);
	fclose(f);
	return text;
}

static void
secrets_come_by_file_and_are_never_printed(void **state)
{
	char secret[128], text[300];
	struct conf *c;
	struct err e;
	char *out;

	(void)state;
	snprintf(secret, sizeof secret, "%s/secret", folder);
	write_text(secret, "hunter2hunter2\n", 15);
	snprintf(text, sizeof text,
		"[db]\ntoken_file = %s\nurl = postgresql://o:hunter2hunter2@h:1/d\n", secret);
	c = load(text, NULL);
	assert_string_equal(conf_string(c, "db", "token"), "hunter2hunter2");
	out = printed(c);
	assert_null(strstr(out, "hunter2"));
	assert_non_null(strstr(out, "token = ***"));
	assert_non_null(strstr(out, "postgresql://o:***@h:1/d"));
	free(out);
	conf_free(c);
	setenv("ONBOARD_DB_TOKEN_FILE", secret, 1);
	c = load("[db]\ntoken = other\n", NULL);
	assert_string_equal(conf_string(c, "db", "token"), "hunter2hunter2");
	conf_free(c);
	setenv("ONBOARD_DB_TOKEN", "x", 1);
	assert_int_equal(conf_load(keys, path, NULL, &c, &e), -1);
	assert_non_null(strstr(e.text, "ONBOARD_DB_TOKEN_FILE"));
	unsetenv("ONBOARD_DB_TOKEN");
	unsetenv("ONBOARD_DB_TOKEN_FILE");
	unlink(secret);
}

static void
credentials_win_over_the_file_and_not_over_the_environment(void **state)
{
	char dir[128], beside[160], held[160];
	struct conf *c;

	(void)state;
	snprintf(dir, sizeof dir, "%s/credentials", folder);
	assert_int_equal(mkdir(dir, 0700), 0);
	snprintf(beside, sizeof beside, "%s/db.token", dir);
	snprintf(held, sizeof held, "%s/onboard_db.token", dir);
	write_text(beside, "of-the-folder\n", 14);
	write_text(held, "of-systemd\n", 11);
	c = load("[db]\ntoken = other\n", NULL);
	assert_string_equal(conf_string(c, "db", "token"), "of-the-folder");
	assert_non_null(strstr(conf_origin(c, "db", "token"), "credential"));
	conf_free(c);
	setenv("CREDENTIALS_DIRECTORY", dir, 1);
	c = load("[db]\ntoken = other\n", NULL);
	assert_string_equal(conf_string(c, "db", "token"), "of-systemd");
	conf_free(c);
	setenv("ONBOARD_DB_TOKEN", "of-the-environment", 1);
	c = load("", NULL);
	assert_string_equal(conf_string(c, "db", "token"), "of-the-environment");
	conf_free(c);
	unsetenv("ONBOARD_DB_TOKEN");
	unlink(held);
	c = load("[db]\ntoken = other\n", NULL);
	assert_string_equal(conf_string(c, "db", "token"), "other");
	conf_free(c);
	unsetenv("CREDENTIALS_DIRECTORY");
	unlink(beside);
	rmdir(dir);
}

static void
what_is_printed_loads_again(void **state)
{
	struct conf *c = load("[api]\nbatch = 9\nlinger = 50ms\n[db]\ntoken = x\n", NULL);
	char *first = printed(c), *second;

	(void)state;
	conf_free(c);
	c = load(first, NULL);
	assert_int_equal(conf_int(c, "api", "batch"), 9);
	second = printed(c);
	assert_non_null(strstr(second, "batch = 9"));
	conf_free(c);
	free(first);
	free(second);
}

static void
the_sample_is_the_table(void **state)
{
	static char shipped[1 << 18];
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n), *sample = fopen("config/onboard.conf", "r");

	(void)state;
	conf_print_sample(conf_keys, f);
	fclose(f);
	assert_non_null(sample);
	shipped[fread(shipped, 1, sizeof shipped - 1, sample)] = '\0';
	fclose(sample);
	if (strcmp(text, shipped) != 0)
		fail_msg("renew it: build/debug/tests/prog/conf_sample >config/onboard.conf");
	free(text);
}

static int
set_up(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/onboard.conf", folder);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(folder);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_file_gives_the_defaults),
		cmocka_unit_test(flag_wins_over_environment_over_file),
		cmocka_unit_test(values_go_to_the_end_of_the_line),
		cmocka_unit_test(faults_are_one_line_with_file_and_line),
		cmocka_unit_test(files_that_cannot_be_read),
		cmocka_unit_test(an_empty_value_unsets_what_has_no_default),
		cmocka_unit_test(a_file_is_at_most_a_megabyte),
		cmocka_unit_test(long_lines_are_whole),
		cmocka_unit_test(secrets_come_by_file_and_are_never_printed),
		cmocka_unit_test(credentials_win_over_the_file_and_not_over_the_environment),
		cmocka_unit_test(what_is_printed_loads_again),
		cmocka_unit_test(the_sample_is_the_table),
	};

	return cmocka_run_group_tests_name("conf", tests, set_up, tear_down);
}
