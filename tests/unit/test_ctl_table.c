/* SPDX-License-Identifier: MIT */
#include "cm.h"

#include <fcntl.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "ctl/kit/table.h"

#define LONG_ERROR \
	"smtp: 421 the server of a host with a very long name asks everybody to come back later, " \
	"and says so at such length that no terminal has a line for it"

/* A row of three columns and a line of words, as they come out of this descriptor. */
static void
table_print_to(int fd)
{
	static const struct table_column columns[] = { { "ID", 4, false }, { "ERROR", 10, false },
		{ "TYPE", 0, false } };
	int saved = dup(STDOUT_FILENO);
	struct table t;

	fflush(stdout);
	dup2(fd, STDOUT_FILENO);
	table_begin(&t, columns, 3, false);
	table_row(&t, (const char *const[]){ "a", LONG_ERROR, "user.created" });
	table_end(&t);
	table_wrap(2, LONG_ERROR);
	fflush(stdout);
	dup2(saved, STDOUT_FILENO);
	close(saved);
}

static size_t
read_all(int fd, char *out, size_t size)
{
	size_t length = 0;
	ssize_t n;

	while (length + 1 < size && (n = read(fd, out + length, size - 1 - length)) > 0)
		length += (size_t)n;
	out[length] = '\0';
	return length;
}

static void
a_table_in_a_pipe_or_a_file_is_whole(void **state)
{
	char path[] = "/tmp/onboard-test-XXXXXX", text[4096];
	int ends[2], file = mkstemp(path);

	(void)state;
	assert_int_equal(pipe(ends), 0);
	table_print_to(ends[1]);
	close(ends[1]);
	read_all(ends[0], text, sizeof text);
	close(ends[0]);
	assert_non_null(strstr(text, "a     " LONG_ERROR "  user.created\n"));
	assert_non_null(strstr(text, "\n" LONG_ERROR "\n"));
	table_print_to(file);
	lseek(file, 0, SEEK_SET);
	read_all(file, text, sizeof text);
	assert_non_null(strstr(text, "a     " LONG_ERROR "  user.created\n"));
	close(file);
	unlink(path);
}

static void
a_later_row_is_whole_where_its_column_is_narrower(void **state)
{
	static const struct table_column columns[] = { { "A", 0, false }, { "B", 0, false } };
	char path[] = "/tmp/onboard-test-XXXXXX", text[8192], *wide = text + 5000;
	int saved = dup(STDOUT_FILENO), file = mkstemp(path);
	struct table t;

	(void)state;
	memset(wide, 'x', 3000);
	wide[3000] = '\0';
	fflush(stdout);
	dup2(file, STDOUT_FILENO);
	table_begin(&t, columns, 2, false);
	for (int i = 0; i < 300; i++)
		table_row(&t, (const char *const[]){ i == 299 ? wide : "a", "b" });
	table_end(&t);
	fflush(stdout);
	dup2(saved, STDOUT_FILENO);
	close(saved);
	lseek(file, -3010, SEEK_END);
	assert_int_equal(read(file, text, 3010), 3010);
	text[3010] = '\0';
	assert_non_null(strstr(text, "\nx"));
	assert_non_null(strstr(text, "x  b\n"));
	close(file);
	unlink(path);
}

static void
a_table_on_a_terminal_is_cut_to_its_width(void **state)
{
	static const unsigned short widths[] = { 120, 60 };
	char text[4096], *rest;
	int master, slave;

	(void)state;
	for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
		struct winsize w = { .ws_row = 25, .ws_col = widths[i] };

		assert_int_equal(openpty(&master, &slave, NULL, NULL, &w), 0);
		table_print_to(slave);
		close(slave);
		read_all(master, text, sizeof text);
		close(master);
		assert_non_null(strstr(text, "a     smtp: 421"));
		assert_non_null(strstr(text, "…  user.created\r\n"));
		for (char *line = strtok_r(text, "\r\n", &rest); line;
			line = strtok_r(NULL, "\r\n", &rest))
			assert_in_range(strlen(line), 1, (size_t)widths[i] + strlen("…") - 1);
	}
}

static void
cleans_what_steers_a_terminal(void **state)
{
	static const struct {
		const char *in;
		size_t length;
		const char *out;
	} rows[] = {
		{ "plain", 5, "plain" },
		{ "\033[31mred\a", 9, "?[31mred?" },
		{ "a\nb\tc\rd", 7, "a b c?d" },
		{ "\xc2\x9b"
		  "31m",
			5, "?31m" },
		{ "\xe2\x80\xae"
		  "abc",
			6, "?abc" },
		{ "\xff\xc3"
		  "a",
			3,
			"?"
			"?a" },
		{ "R\xc4\xabga \xf0\x9f\x98\x80", 10, "R\xc4\xabga \xf0\x9f\x98\x80" },
		{ "a\0b", 3, "a?b" },
	};
	struct buf b;

	(void)state;
	buf_init(&b, 1000);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		buf_clear(&b);
		table_clean(&b, rows[i].in, rows[i].length);
		assert_string_equal(buf_text(&b), rows[i].out);
	}
	buf_fini(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cleans_what_steers_a_terminal),
		cmocka_unit_test(a_table_in_a_pipe_or_a_file_is_whole),
		cmocka_unit_test(a_later_row_is_whole_where_its_column_is_narrower),
		cmocka_unit_test(a_table_on_a_terminal_is_cut_to_its_width),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
