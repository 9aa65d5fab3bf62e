/* SPDX-License-Identifier: MIT */
#pragma once

#include <stddef.h>

#include "ctl/kit/ctl.h"

/* How many migrations wait; -1: away, or the schema is not what the files say. */
int ctl_schema_check(struct ctl *c, size_t *pending, struct err *e) MUST_CHECK;

int ctl_maintain(struct ctl *c, int argc);
