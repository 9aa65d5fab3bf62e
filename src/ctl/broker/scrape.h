/* SPDX-License-Identifier: MIT */
/* The daemons of this host, as their /metrics tell: for `top`. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/conf.h"

#define SCRAPE_DAEMONS 9   /* admin ports 9101 to 9109 */
#define SCRAPE_INSTANCES 4 /* of each, 10 higher */

struct scraped {
	char daemon[40];
	unsigned port;
	bool paused;                 /* by an operator */
	int64_t done, retries, dead; /* counters; of a producer done are its requests */
	int64_t cpu_ms, held;
};

/* Whoever answers; at most SCRAPE_DAEMONS * SCRAPE_INSTANCES + 1 into out. */
#define SCRAPED_MAX (SCRAPE_DAEMONS * SCRAPE_INSTANCES + 1)
size_t scrape_all(const struct conf *f, struct scraped *out);
