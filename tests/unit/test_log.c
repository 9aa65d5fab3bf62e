/* SPDX-License-Identifier: MIT */
#include "cm.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
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
		"PRIORITY=4\nSYSLOG_IDENTIFIER\n\x09\0\0\0\0\0\0\0onboard-x\nMESSAGE\n\x25\0\0\0\0\0\0\0"
		"something happened: it \"broke\"\nbadly\xff\nEVENT_ID\n\x04\0\0\0\0\0\0\0"
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

/* Cut between characters; the journal's length has its second byte here. */
static void
long_values_are_cut(void **state)
{
	char text[2001] = "a", want[LOG_VALUE_MAX + 5];
	const struct log_field fields[] = { LOG_S("x", text), { 0 } };
	const struct log_line line = { AT, LOG_LEVEL_INFO, "t", "m", fields, 0 };
	struct buf b;

	(void)state;
	for (size_t i = 1; i + 2 < sizeof text; i += 2)
		memcpy(text + i, "\xc3\xa9", 3);
	snprintf(want, sizeof want, "%.*s...\"", LOG_VALUE_MAX - 1, text);
	buf_init(&b, LOG_LINE_MAX);
	log_format_json(&line, &b);
	assert_non_null(strstr(buf_text(&b), want));
	buf_clear(&b);
	log_format_journal(&line, &b);
	assert_memory_equal(b.data + b.length - 1024 - 10, "X\n\xff\x03\0\0\0\0\0\0a", 11);
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

static struct sockaddr_un journal = { .sun_family = AF_UNIX };

/* A journal of our own, and the variables that say that stderr, now captured, is its stream. */
static int
journal_begin(bool listening)
{
	char stream[64], folder[] = "/tmp/onboard-test-journal-XXXXXX";
	int s = socket(AF_UNIX, SOCK_DGRAM, 0);
	struct stat st;

	assert_non_null(mkdtemp(folder));
	snprintf(journal.sun_path, sizeof journal.sun_path, "%s/socket", folder);
	if (listening)
		assert_int_equal(bind(s, (struct sockaddr *)&journal, sizeof journal), 0);
	capture_begin();
	assert_int_equal(fstat(STDERR_FILENO, &st), 0);
	snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)st.st_dev,
		(unsigned long long)st.st_ino);
	setenv("ONBOARD_TEST_JOURNAL", journal.sun_path, 1);
	setenv("JOURNAL_STREAM", stream, 1);
	log_init("test", LOG_LEVEL_INFO, LOG_FORMAT_AUTO);
	return s;
}

static void
journal_end(int s)
{
	unsetenv("JOURNAL_STREAM");
	unsetenv("ONBOARD_TEST_JOURNAL");
	close(s);
	unlink(journal.sun_path);
	*strrchr(journal.sun_path, '/') = '\0';
	assert_int_equal(rmdir(journal.sun_path), 0);
}

static void
the_journal_gets_datagrams(void **state)
{
	static const int other[][2] = { { 1, 0 }, { 0, 1 } }; /* device, inode: not ours */
	char data[4096], stream[64];
	int s = journal_begin(true);
	struct stat st;
	ssize_t n;

	(void)state;
	log_info("to the journal", LOG_S("event_id", "0192"));
	assert_int_equal(fstat(STDERR_FILENO, &st), 0);
	for (size_t i = 0; i < ARRAY_LEN(other); i++) {
		snprintf(stream, sizeof stream, "%llu:%llu",
			(unsigned long long)st.st_dev + (unsigned)other[i][0],
			(unsigned long long)st.st_ino + (unsigned)other[i][1]);
		setenv("JOURNAL_STREAM", stream, 1);
		log_init("test", LOG_LEVEL_INFO, LOG_FORMAT_AUTO);
		log_info("to the file");
	}
	capture_end();
	n = recv(s, data, sizeof data - 1, MSG_DONTWAIT);
	assert_true(n > 0);
	assert_non_null(memmem(data, (size_t)n, "to the journal", 14));
	assert_true(recv(s, data, sizeof data - 1, MSG_DONTWAIT) < 0);
	assert_null(strstr(captured, "to the journal"));
	assert_non_null(strstr(captured, "to the file"));
	journal_end(s);
}

/* Its stream, which stderr is, would block just when its socket is full. */
static void
a_full_journal_loses_lines_and_counts_them(void **state)
{
	char data[4096], want[32];
	int s = journal_begin(true), got = 0;
	ssize_t n;

	(void)state;
	clock_test_set(1000000, AT);
	for (int i = 0; i < 2001; i++) {
		if (i == 2000) /* room again */
			for (; recv(s, data, sizeof data, MSG_DONTWAIT) > 0; got++)
				;
		clock_test_advance_ms(1000); /* no repeat of the second */
		log_info("into the journal");
	}
	clock_test_release();
	assert_string_equal(capture_end(), "");
	assert_in_range(got, 1, 1999);
	n = recv(s, data, sizeof data, MSG_DONTWAIT);
	snprintf(want, sizeof want, "REPEATED=%d\n", 2000 - got);
	assert_true(n > 0 && memmem(data, (size_t)n, want, strlen(want)));
	journal_end(s);
}

static int full_journal;

static void
on_alarm(int number)
{
	int saved = errno;
	char byte;

	(void)number;
	while (recv(full_journal, &byte, 1, MSG_DONTWAIT) > 0)
		;
	errno = saved;
}

/* Where they are said, nobody reads; a moment later somebody does. */
static void
last_words_wait_for_room(void **state)
{
	const struct itimerval soon = { .it_value.tv_usec = 30000 };
	char data[4096];
	ssize_t n;

	(void)state;
	full_journal = journal_begin(true);
	must(signal(SIGALRM, on_alarm) != SIG_ERR);
	clock_test_set(1000000, AT);
	for (int i = 0; i < 2000; i++) {
		clock_test_advance_ms(1000);
		log_info("into the journal");
	}
	clock_test_release();
	log_last_words();
	must(setitimer(ITIMER_REAL, &soon, NULL) == 0);
	log_info("the last");
	assert_string_equal(capture_end(), "");
	n = recv(full_journal, data, sizeof data, MSG_DONTWAIT);
	assert_true(n > 0 && memmem(data, (size_t)n, "the last", 8));
	must(signal(SIGALRM, SIG_DFL) != SIG_ERR);
	journal_end(full_journal);
}

static void
without_its_socket_the_journal_gets_json(void **state)
{
	int s = journal_begin(false);

	(void)state;
	log_info("no socket there");
	assert_int_equal(capture_end()[0], '{');
	journal_end(s);
}

static void
a_terminal_has_colour_unless_told(void **state)
{
	static const struct {
		const char *no_color;
		bool colour;
	} rows[] = { { NULL, true }, { "", true }, { "1", false }, { "0", false } };
	int master = posix_openpt(O_RDWR | O_NOCTTY), slave;
	char line[512];
	ssize_t n;

	(void)state;
	assert_true(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
	slave = open(ptsname(master), O_RDWR | O_NOCTTY);
	assert_true(slave >= 0);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		capture_begin();
		dup2(slave, STDERR_FILENO);
		if (rows[i].no_color)
			setenv("NO_COLOR", rows[i].no_color, 1);
		else
			unsetenv("NO_COLOR");
		log_init("test", LOG_LEVEL_INFO, LOG_FORMAT_AUTO);
		log_warn("to a terminal", LOG_S("k", "v"));
		capture_end();
		n = read(master, line, sizeof line - 1);
		assert_true(n > 0);
		line[n] = '\0';
		assert_non_null(strstr(line, " test: to a terminal k=v\r\n"));
		if (!strstr(line, rows[i].colour ? " \033[33mwarn \033[0m " : "Z warn  "))
			fail_msg("row %zu: %s", i, line);
	}
	unsetenv("NO_COLOR");
	close(slave);
	close(master);
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
		cmocka_unit_test(long_values_are_cut),
		cmocka_unit_test(one_json_object_a_line_whatever_comes),
		cmocka_unit_test(repeats_are_counted_not_written),
		cmocka_unit_test(the_journal_gets_datagrams),
		cmocka_unit_test(a_full_journal_loses_lines_and_counts_them),
		cmocka_unit_test(last_words_wait_for_room),
		cmocka_unit_test(without_its_socket_the_journal_gets_json),
		cmocka_unit_test(a_terminal_has_colour_unless_told),
		cmocka_unit_test(threads_share_it),
		cmocka_unit_test(words_for_level_and_format),
	};

	return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
