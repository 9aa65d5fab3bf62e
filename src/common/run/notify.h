/* SPDX-License-Identifier: MIT */
/*
 * What systemd wants to hear (sd_notify(3)), in sixty lines of our own: one
 * datagram to the socket that NOTIFY_SOCKET names. Without it nothing is said.
 *
 * Threads: any, after notify_init. The variables leave the environment at
 * init, so that a child never speaks for us.
 */
#pragma once

#include <stdint.h>

#include "base/must.h"

void notify_init(void);
/* Lines as "READY=1"; several in one call with \n between. */
void notify_send(const char *format, ...) PRINTF_LIKE(1, 2);
/* How often WATCHDOG=1 is due, half of what systemd allows; 0: not wanted. */
int64_t notify_watchdog_ms(void);
