/* SPDX-License-Identifier: MIT */
/*
 * Opens a daemon's listening socket: at an address of its own, or the socket that
 * systemd holds for it (sd_listen_fds(3)), which loses no connection at a restart.
 *
 * Threads: the main thread. The first call removes systemd's variables from the
 * environment.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/*
 * Opens a non-blocking, listening socket, which the caller closes. If systemd
 * passed a socket of this name (FileDescriptorName=), it wins over the address.
 * address is host:port, [v6]:port or :port (all interfaces); port 0: any free one.
 * ERR_CONFLICT: the port is taken; the text tells what to do. ERR_INVALID: no such
 * address.
 */
int listen_open(const char *name, const char *address, bool reuse_port, int *fd, struct err *e)
	MUST_CHECK;
bool listen_held(
	const char *name);    /* the socket of that name is systemd's and outlives the daemon */
uint16_t listen_port(int fd); /* the actual port */
