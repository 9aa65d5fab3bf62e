/* SPDX-License-Identifier: MIT */
#include "run/notify.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"

#define MESSAGE_MAX 2048

static int sock = -1;
static int64_t watchdog_ms;

/* Half of WATCHDOG_USEC if it is meant for this process; otherwise 0. */
static int64_t
watchdog_read(void)
{
	const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	char *end;
	long long n;

	if (!usec || (pid && strtol(pid, NULL, 10) != (long)getpid()))
		return 0;
	errno = 0;
	n = strtoll(usec, &end, 10);
	return errno || *end || n < 2000 ? 0 : n / 2000;
}

static int
notify_connect(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t n = strlen(path);
	int fd;

	/* "@name" is an abstract socket: its first byte is NUL */
	if (n < 2 || n >= sizeof address.sun_path || (*path != '/' && *path != '@'))
		return -1;
	memcpy(address.sun_path, path, n);
	if (*path == '@')
		address.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 &&
		connect(fd, (struct sockaddr *)&address,
			(socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) < 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}

void
notify_init(void)
{
	const char *path = getenv("NOTIFY_SOCKET");

	watchdog_ms = watchdog_read();
	if (sock >= 0)
		close(sock);
	sock = path ? notify_connect(path) : -1;
	if (path && sock < 0)
		log_warn("cannot use NOTIFY_SOCKET", LOG_S("path", path),
			LOG_S("why", strerror(errno)));
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
}

void
notify_send(const char *format, ...)
{
	char message[MESSAGE_MAX];
	va_list args;
	int n;

	if (sock < 0)
		return;
	va_start(args, format);
	n = vsnprintf(message, sizeof message, format, args);
	va_end(args);
	must(n > 0 && (size_t)n < sizeof message);
	/* the daemon goes on without systemd; systemd reports what it does not hear */
	if (send(sock, message, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EAGAIN)
		log_debug("cannot notify systemd", LOG_S("why", strerror(errno)));
}

int64_t
notify_watchdog_ms(void)
{
	return watchdog_ms;
}
