/* SPDX-License-Identifier: MIT */
#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log_format.h"

#define BURST 10 /* lines with the same message in a second */
#define REPEATS_KEPT 64
#define LAST_WORDS_TRIES 20
#define LAST_WORDS_WAIT_MS 10

static struct {
	pthread_mutex_t lock;
	const char *program;
	enum log_format format;
	bool colour;
	bool last_words;
	int journal; /* socket, -1: none */
	/* Messages are constants, so their addresses identify them. */
	struct repeat {
		const char *message;
		int64_t second;
		unsigned count;
		uint64_t held; /* lines that were not written */
	} repeats[REPEATS_KEPT];
} now = { .lock = PTHREAD_MUTEX_INITIALIZER,
	.program = "onboard",
	.format = LOG_FORMAT_TEXT,
	.journal = -1 };

enum log_level log_level_now = LOG_LEVEL_INFO;

/* JOURNAL_STREAM holds the device and inode of the journal's stream. */
static bool
stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;

	return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
		fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

static int
journal_open(void)
{
	const char *path = getenv("ONBOARD_TEST_JOURNAL");
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd;

	if (!path || strlen(path) >= sizeof address.sun_path)
		path = "/run/systemd/journal/socket";
	memcpy(address.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}

void
log_init(const char *name, enum log_level level, enum log_format format)
{
	bool terminal = isatty(STDERR_FILENO);
	const char *no_color = getenv("NO_COLOR"); /* empty: as if unset */

	if (format == LOG_FORMAT_AUTO)
		format = stderr_is_journal() ? LOG_FORMAT_JOURNAL
			: terminal           ? LOG_FORMAT_TEXT
					     : LOG_FORMAT_JSON;
	must(pthread_mutex_lock(&now.lock) == 0);
	if (now.journal >= 0)
		close(now.journal);
	now.journal = -1;
	if (format == LOG_FORMAT_JOURNAL && (now.journal = journal_open()) < 0)
		format = LOG_FORMAT_JSON;
	now.program = name;
	now.format = format;
	now.colour = terminal && !(no_color && *no_color);
	must(pthread_mutex_unlock(&now.lock) == 0);
	log_level_set(level);
}

void
log_level_set(enum log_level level)
{
	__atomic_store_n(&log_level_now, level, __ATOMIC_RELAXED);
}

int
log_level_parse(const char *text, enum log_level *out, struct err *e)
{
	static const char *const names[] = { "debug", "info", "warn", "error" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(text, names[i]) == 0) {
			*out = (enum log_level)i;
			return 0;
		}
	return err_set(e, ERR_INVALID, "\"%s\" is not debug, info, warn or error", text);
}

int
log_format_parse(const char *text, enum log_format *out, struct err *e)
{
	static const char *const names[] = { "auto", "text", "json", "journal" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(text, names[i]) == 0) {
			*out = (enum log_format)i;
			return 0;
		}
	return err_set(e, ERR_INVALID, "\"%s\" is not auto, text, json or journal", text);
}

/* NULL: too many lines with this message. repeated: the lines held back before this one. */
static struct repeat *
repeat_admit(const char *message, uint64_t *repeated)
{
	int64_t second = clock_mono_ms() / 1000;
	struct repeat *r, *oldest = &now.repeats[0];

	for (r = now.repeats; r < now.repeats + REPEATS_KEPT && r->message != message; r++)
		if (!r->message || r->second < oldest->second)
			oldest = r;
	if (r == now.repeats + REPEATS_KEPT) {
		r = oldest; /* its count is lost: the table is bounded */
		*r = (struct repeat){ .message = message, .second = second };
	}
	if (r->second != second) {
		r->second = second;
		r->count = 0;
	}
	if (++r->count > BURST) {
		r->held++;
		return NULL;
	}
	*repeated = r->held;
	r->held = 0;
	return r;
}

void
log_last_words(void)
{
	must(pthread_mutex_lock(&now.lock) == 0);
	now.last_words = true;
	must(pthread_mutex_unlock(&now.lock) == 0);
}

/* If systemd could not raise net.unix.max_dgram_qlen, the journal's socket holds few datagrams. */
static bool
journal_send(const struct buf *out)
{
	struct pollfd p = { .fd = now.journal, .events = POLLOUT };

	for (int tries = now.last_words ? LAST_WORDS_TRIES : 0;; tries--) {
		if (send(now.journal, out->data, out->length, MSG_NOSIGNAL) >= 0)
			return true;
		if (errno != EAGAIN || tries == 0)
			return false;
		(void)poll(&p, 1, LAST_WORDS_WAIT_MS);
	}
}

/* false: the journal had no room and the line is lost. */
static bool
line_emit(const struct log_line *line, struct buf *out)
{
	ssize_t n;

	if (now.format == LOG_FORMAT_JOURNAL) {
		log_format_journal(line, out);
		if (!buf_failed(out) && journal_send(out))
			return true;
		/* stderr is the journal as well, and a daemon must not wait for it */
		if (!buf_failed(out) && (errno == EAGAIN || errno == ENOBUFS))
			return false;
		buf_clear(out);
		log_format_json(line, out);
	} else if (now.format == LOG_FORMAT_JSON) {
		log_format_json(line, out);
	} else {
		log_format_text(line, now.colour, out);
	}
	if (buf_failed(out)) { /* too many fields for one line: write the message alone */
		buf_clear(out);
		log_format_json(&(struct log_line){ line->wall_us, line->level, line->program,
					line->message,
					(const struct log_field[]){ LOG_B("cut", true), { 0 } },
					0 },
			out);
	}
	do
		n = write(STDERR_FILENO, out->data, out->length);
	while (n < 0 && errno == EINTR);
	return true;
}

void
log_write(enum log_level level, const char *message, const struct log_field *fields)
{
	struct log_line line = { clock_wall_us(), level, NULL, message, fields, 0 };
	struct repeat *r;
	int saved = errno;
	struct buf out;

	if (level < __atomic_load_n(&log_level_now, __ATOMIC_RELAXED))
		return;
	buf_init(&out, LOG_LINE_MAX);
	must(pthread_mutex_lock(&now.lock) == 0);
	line.program = now.program;
	r = repeat_admit(message, &line.repeated);
	if (r && !line_emit(&line, &out))
		r->held = line.repeated + 1; /* the next line gives the count */
	must(pthread_mutex_unlock(&now.lock) == 0);
	buf_fini(&out);
	errno = saved;
}
