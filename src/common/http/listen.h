/* SPDX-License-Identifier: MIT */
/*
 * Where a daemon listens: an address of its own, or a socket that systemd
 * holds for it (sd_listen_fds(3)), which loses no connection at a restart.
 *
 * Threads: the main one. The variables leave the environment when first read.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/*
 * A listening, non-blocking socket. name tells systemd's sockets apart
 * (FileDescriptorName=); one of that name wins over the address. address is
 * host:port, [v6]:port or :port (all interfaces); port 0: any free one.
 * Taken: ERR_CONFLICT with the way out; no such address: ERR_INVALID.
 */
int listen_open(const char *name, const char *address, bool reuse_port, int *fd, struct err *e)
	MUST_CHECK;
bool listen_held(const char *name); /* opened by that name: it is systemd's, and outlives us */
uint16_t listen_port(int fd);       /* the one it really has */
