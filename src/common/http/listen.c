/* SPDX-License-Identifier: MIT */
#include "http/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FIRST_FD 3 /* SD_LISTEN_FDS_START */
#define NAMES_MAX 16
#define BACKLOG 4096 /* the kernel caps it at net.core.somaxconn */

static struct {
	bool read;
	size_t count;
	char name[NAMES_MAX][64];
	bool taken[NAMES_MAX];
} inherited;

static void
inherited_read(void)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
	const char *names = getenv("LISTEN_FDNAMES");

	inherited.read = true;
	if (pid && count && strtol(pid, NULL, 10) == (long)getpid()) {
		long n = strtol(count, NULL, 10);

		inherited.count = n < 0 ? 0 : n > NAMES_MAX ? NAMES_MAX : (size_t)n;
	}
	for (size_t i = 0; i < inherited.count; i++) {
		size_t n = names ? strcspn(names, ":") : 0;

		snprintf(inherited.name[i], sizeof inherited.name[i], "%.*s", (int)n,
			names ? names : "");
		if (names)
			names += n + (names[n] == ':');
		(void)fcntl(FIRST_FD + (int)i, F_SETFD, FD_CLOEXEC);
	}
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
}

/* -1: no socket of that name. */
static int
inherited_take(const char *name)
{
	if (!inherited.read)
		inherited_read();
	for (size_t i = 0; i < inherited.count; i++)
		if (!inherited.taken[i] && strcmp(inherited.name[i], name) == 0) {
			inherited.taken[i] = true;
			(void)fcntl(FIRST_FD + (int)i, F_SETFL, O_NONBLOCK);
			return FIRST_FD + (int)i;
		}
	return -1;
}

bool
listen_held(const char *name)
{
	for (size_t i = 0; i < inherited.count; i++)
		if (inherited.taken[i] && strcmp(inherited.name[i], name) == 0)
			return true;
	return false;
}

static int
address_split(const char *address, char host[static 256], char port[static 8], struct err *e)
{
	const char *colon = strrchr(address, ':');
	size_t n = colon ? (size_t)(colon - address) : 0;
	bool bracketed = n >= 2 && address[0] == '[' && colon[-1] == ']';

	if (!colon || n > 255 || strlen(colon + 1) > 5 || !colon[1])
		return err_set(e, ERR_INVALID, "\"%s\" is not host:port", address);
	snprintf(host, 256, "%.*s", (int)(bracketed ? n - 2 : n), address + bracketed);
	snprintf(port, 8, "%s", colon + 1);
	return 0;
}

static int
socket_open(const struct addrinfo *a, bool reuse_port)
{
	const int on = 1;
	int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), keep;

	if (fd < 0)
		return -1;
	/* a restart must not wait for closed connections of the last process */
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if ((!reuse_port || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0) &&
		bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	keep = errno;
	close(fd);
	errno = keep;
	return -1;
}

int
listen_open(const char *name, const char *address, bool reuse_port, int *fd, struct err *e)
{
	const struct addrinfo want = { .ai_socktype = SOCK_STREAM,
		.ai_flags = AI_PASSIVE | AI_NUMERICSERV };
	struct addrinfo *found = NULL;
	char host[256], port[8];
	int rc;

	*fd = inherited_take(name);
	if (*fd >= 0)
		return 0;
	if (address_split(address, host, port, e))
		return -1;
	rc = getaddrinfo(*host ? host : NULL, port, &want, &found);
	if (rc != 0)
		return err_set(e, ERR_INVALID, "cannot listen on %s: %s", address,
			gai_strerror(rc));
	*fd = socket_open(found, reuse_port);
	rc = errno;
	freeaddrinfo(found);
	if (*fd >= 0)
		return 0;
	if (rc == EADDRINUSE)
		return err_set(e, ERR_CONFLICT,
			"%s is taken by another process; set %s.listen to a free port", address,
			name);
	return err_set(e, rc == EADDRNOTAVAIL ? ERR_INVALID : ERR_INTERNAL,
		"cannot listen on %s: %s", address, strerror(rc));
}

uint16_t
listen_port(int fd)
{
	struct sockaddr_storage a = { 0 };
	socklen_t size = sizeof a;

	if (getsockname(fd, (struct sockaddr *)&a, &size))
		return 0;
	return ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port
					     : ((struct sockaddr_in *)&a)->sin_port);
}
