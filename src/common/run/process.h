/* SPDX-License-Identifier: MIT */
/*
 * The figures of this process under the names that Prometheus' own clients
 * give them (process_cpu_seconds_total and so on), for every daemon's /metrics.
 *
 * Threads: the one that answers /metrics.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "base/metrics.h"

struct metrics *process_metrics_new(int64_t started_us);
/* Reads the figures and writes them. A figure that /proc does not give is left out. */
void process_metrics_write(struct metrics *m, struct buf *out);
