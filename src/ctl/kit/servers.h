/* SPDX-License-Identifier: MIT */
/* onboardctl's connections to the servers of the configuration. */
#pragma once

#include "ctl/kit/ctl.h"

struct broker;
struct sql;

/* For an answer of the broker: a queue of a million messages may be busy for many seconds. */
#define CTL_BROKER_MS 60000

/* A connection to the broker, or NULL. */
struct broker *ctl_broker(const struct ctl *c, struct err *e) MUST_CHECK;
/* A connection to onboard's database, or NULL. */
struct sql *ctl_sql(const struct ctl *c, struct err *e) MUST_CHECK;
