/* SPDX-License-Identifier: MIT */
#include "cm.h"

#include <math.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/log_format.h"

#define AT 1763640000123456 /* 2025-11-20T12:00:00.123456Z */

/* stderr goes into a file meanwhile; what came is read back. */
static char captured[200000];
static int real_stderr = -1, file = -1;

static void
capture_begin(void)
{
	char name[] = "/tmp/onboard-test-log-XXXXXX";

	fflush(stderr);
	file = mkstemp(name);
	assert_true(file >= 0);
	unlink(name);
	real_stderr = dup(STDERR_FILENO);
	assert_true(dup2(file, STDERR_FILENO) == STDERR_FILENO);
}

static const char *
capture_end(void)
{
	ssize_t n = pread(file, captured, sizeof captured - 1, 0);

	dup2(real_stderr, STDERR_FILENO);
	close(real_stderr);
	close(file);
	assert_true(n >= 0);
	captured[n] = '\0';
	return captured;
}

static void
forms(void **state)
{
	const struct log_field fields[] = { LOG_S("event_id", "0192"),
		LOG_S("why", "it \"broke\"\nbadly\xff"), LOG_S("absent", NULL), LOG_I("n", -7),
		LOG_D("ms", 1.5), LOG_D("nan", NAN), LOG_B("again", true), { 0 } };
	const struct log_line line = { AT, LOG_LEVEL_WARN, "onboard-x", "something happened",
		fields, 3 };
	const char journal[] =
		"PRIORITY=4\nSYSLOG_IDENTIFIER\n\x09\0\0\0\0\0\0\0onboard-x\nMESSAGE\n\x12\0\0\0\0\0\0\0"
		"something happened\nEVENT_ID\n\x04\0\0\0\0\0\0\0"
		"0192\nWHY\n\x11\0\0\0\0\0\0\0"
		"it \"broke\"\nbadly\xff\nN\n\x02\0\0\0\0\0\0\0-7\nMS\n\x03\0\0\0\0\0\0\0"
		"1.5\n"
		"NAN\n\x04\0\0\0\0\0\0\0null\nAGAIN\n\x04\0\0\0\0\0\0\0true\nREPEATED=3\n";
	struct buf b;

	(void)state;
	buf_init(&b, LOG_LINE_MAX);
	log_format_text(&line, false, &b);
	assert_string_equal(buf_text(&b),
		"2025-11-20T12:00:00.123Z warn  onboard-x: something happened event_id=0192 "
		"why=\"it \\\"broke\\\"\\nbadly\xef\xbf\xbd\" n=-7 ms=1.5 nan=null again=true "
		"repeated=3\n");
	buf_clear(&b);
	log_format_json(&line, &b);
	assert_string_equal(buf_text(&b),
		"{\"time\":\"2025-11-20T12:00:00.123456Z\",\"level\":\"warn\",\"program\":"
		"\"onboard-x\",\"message\":\"something happened\",\"event_id\":\"0192\",\"why\":"
		"\"it \\\"broke\\\"\\nbadly\xef\xbf\xbd\",\"n\":-7,\"ms\":1.5,\"nan\":null,"
		"\"again\":true,\"repeated\":3}\n");
	buf_clear(&b);
	log_format_journal(&line, &b);
	assert_int_equal(b.length, sizeof journal - 1);
	assert_memory_equal(b.data, journal, b.length);
	buf_fini(&b);
}

static void
one_json_object_a_line_whatever_comes(void **state)
{
	char hostile[5000];
	const struct json *v;
	struct arena *mem = arena_new(1024, 1 << 20);
	const char *p;
	struct err e;
	int lines = 0;

	(void)state;
	for (size_t i = 0; i < sizeof hostile - 1; i++)
		hostile[i] = (char)(1 + i % 255);
	hostile[sizeof hostile - 1] = '\0';
	capture_begin();
	log_init("test", LOG_LEVEL_INFO, LOG_FORMAT_AUTO); /* a file: JSON */
	log_info("one", LOG_S("x", hostile));
	log_info("no fields");
	log_debug("not written");
	log_info("too much", LOG_S("a", hostile), LOG_S("b", hostile), LOG_S("c", hostile),
		LOG_S("d", hostile), LOG_S("e", hostile), LOG_S("f", hostile), LOG_S("g", hostile),
		LOG_S("h", hostile));
	p = capture_end();
	for (; *p; p = strchr(p, '\n') + 1, lines++) {
		assert_true(strcspn(p, "\n") < LOG_LINE_MAX);
		assert_int_equal(json_parse(mem, p, strcspn(p, "\n"), &v, &e), 0);
		assert_string_equal(json_string(json_get(v, "program")), "test");
	}
	assert_int_equal(lines, 3);
	assert_non_null(strstr(captured, "too much"));
	arena_free(mem);
}

static void
repeats_are_counted_not_written(void **state)
{
	int lines = 0;

	(void)state;
	capture_begin();
	log_init("test", LOG_LEVEL_INFO, LOG_FORMAT_JSON);
	clock_test_set(1000000, AT);
	for (int i = 0; i < 1000; i++) {
		log_info("again and again", LOG_I("i", i));
		if (i % 100 == 0)
			log_info("something else");
	}
	clock_test_advance_ms(1000);
	log_info("again and again", LOG_I("i", -1));
	clock_test_release();
	capture_end();
	for (const char *p = captured; (p = strstr(p, "again and again")); p++)
		lines++;
	assert_int_equal(lines, 11);
	assert_non_null(strstr(captured, "\"i\":-1,\"repeated\":990}"));
}

static void
the_journal_gets_datagrams(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char stream[64], folder[] = "/tmp/onboard-test-journal-XXXXXX", data[4096];
	struct stat st;
	ssize_t n;
	int s;

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(address.sun_path, sizeof address.sun_path, "%s/socket", folder);
	s = socket(AF_UNIX, SOCK_DGRAM, 0);
	assert_int_equal(bind(s, (struct sockaddr *)&address, sizeof address), 0);
	capture_begin();
	assert_int_equal(fstat(STDERR_FILENO, &st), 0);
	snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)st.st_dev,
		(unsigned long long)st.st_ino);
	setenv("ONBOARD_TEST_JOURNAL", address.sun_path, 1);
	setenv("JOURNAL_STREAM", stream, 1);
	log_init("test", LOG_LEVEL_INFO, LOG_FORMAT_AUTO);
	log_info("to the journal", LOG_S("event_id", "0192"));
	setenv("JOURNAL_STREAM", "1:1", 1); /* somebody else's stream */
	log_init("test", LOG_LEVEL_INFO, LOG_FORMAT_AUTO);
	log_info("to the file");
	capture_end();
	unsetenv("JOURNAL_STREAM");
	unsetenv("ONBOARD_TEST_JOURNAL");
	n = recv(s, data, sizeof data - 1, MSG_DONTWAIT);
	assert_true(n > 0);
	assert_non_null(memmem(data, (size_t)n, "to the journal", 14));
	assert_true(recv(s, data, sizeof data - 1, MSG_DONTWAIT) < 0);
	assert_null(strstr(captured, "to the journal"));
	assert_non_null(strstr(captured, "to the file"));
	close(s);
	unlink(address.sun_path);
	rmdir(folder);
}

static void *
speak(void *arg)
{
	for (int i = 0; i < 500; i++) {
		log_info("from a thread", LOG_I("i", i));
		log_warn("another", LOG_S("s", arg));
		log_level_set(i & 1 ? LOG_LEVEL_INFO : LOG_LEVEL_WARN);
	}
	return NULL;
}

static void
threads_share_it(void **state)
{
	static char word[] = "x";
	pthread_t t[4];

	(void)state;
	capture_begin();
	log_init("test", LOG_LEVEL_INFO, LOG_FORMAT_JSON);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, speak, word), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_join(t[i], NULL), 0);
	for (const char *p = capture_end(); *p; p = strchr(p, '\n') + 1)
		assert_int_equal(*p, '{');
}

static void
words_for_level_and_format(void **state)
{
	enum log_level l;
	enum log_format f;
	struct err e;

	(void)state;
	assert_int_equal(log_level_parse("warn", &l, &e), 0);
	assert_int_equal(l, LOG_LEVEL_WARN);
	assert_int_equal(log_level_parse("WARN", &l, &e), -1);
	assert_int_equal(log_format_parse("journal", &f, &e), 0);
	assert_int_equal(f, LOG_FORMAT_JOURNAL);
	assert_int_equal(log_format_parse("xml", &f, &e), -1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(forms),
		cmocka_unit_test(one_json_object_a_line_whatever_comes),
		cmocka_unit_test(repeats_are_counted_not_written),
		cmocka_unit_test(the_journal_gets_datagrams),
		cmocka_unit_test(threads_share_it),
		cmocka_unit_test(words_for_level_and_format),
	};

	return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
