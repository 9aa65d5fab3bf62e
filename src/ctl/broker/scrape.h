/* SPDX-License-Identifier: MIT */
/* The daemons of this host, as their /metrics tell: for `top`. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/conf.h"

#include "model/consumers.h"

#define SCRAPE_HTTP 4      /* gateway, api, orders, payments: from 9101 on */
#define SCRAPE_INSTANCES 4 /* of each daemon, 10 higher each */

struct scraped {
	char daemon[40];
	unsigned port;
	bool paused;                 /* by an operator */
	int64_t done, retries, dead; /* counters; of a producer done are its requests */
	int64_t cpu_ms, held;
};

/* Whoever answers; at most SCRAPED_MAX into out. */
#define SCRAPED_MAX ((SCRAPE_HTTP + CONSUMER_COUNT) * SCRAPE_INSTANCES + 1)
size_t scrape_all(const struct conf *f, struct scraped *out);
