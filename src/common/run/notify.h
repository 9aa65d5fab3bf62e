/* SPDX-License-Identifier: MIT */
/*
 * Tells systemd about the daemon (sd_notify(3)), in sixty lines of our own: one
 * datagram to the socket that NOTIFY_SOCKET names. Without that variable, nothing
 * is sent.
 *
 * Threads: any, after notify_init. notify_init removes the variables from the
 * environment, so a child never speaks for the daemon.
 */
#pragma once

#include <stdint.h>

#include "base/must.h"

void notify_init(void);
/* Sends a line such as "READY=1", or several lines with \n between them. */
void notify_send(const char *format, ...) PRINTF_LIKE(1, 2);
/* How often to send WATCHDOG=1: half of the time that systemd allows. 0: never. */
int64_t notify_watchdog_ms(void);
