/* SPDX-License-Identifier: MIT */
/* What test programs on a real server share: cmocka, its server's URL, a server that is silent. */
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* A server that accepts and never says a word. */
static inline int
silent_server(int *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(listen(fd, 64), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &size), 0);
	*port = ntohs(a.sin_port);
	return fd;
}

/* A program's main: skipped where the variable names no server. */
#define ON_SERVER_RUN(variable, url, tests, setup, teardown) \
	do { \
		signal(SIGPIPE, SIG_IGN); /* as the daemons do */ \
		(url) = getenv(variable); \
		if (!(url)) { \
			printf("1..0 # SKIP " variable " is not set\n"); \
			return 0; \
		} \
		cmocka_set_message_output(CM_OUTPUT_TAP); \
		return cmocka_run_group_tests(tests, setup, teardown); \
	} while (0)
