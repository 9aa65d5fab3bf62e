/* SPDX-License-Identifier: MIT */
/*
 * The process' own figures for every daemon's /metrics. They have the names that
 * Prometheus' clients use (process_cpu_seconds_total and so on).
 *
 * Threads: only the thread that answers /metrics.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "base/metrics.h"

struct metrics *process_metrics_new(int64_t started_us);
/* Reads the figures and writes them. Leaves out a figure that /proc does not give. */
void process_metrics_write(struct metrics *m, struct buf *out);
