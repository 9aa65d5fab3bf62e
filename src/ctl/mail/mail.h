/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdint.h>

#include "ctl/kit/ctl.h"

/* How many mails may have arrived or not. */
int ctl_mail_unknown(struct ctl *c, int64_t *count, struct err *e) MUST_CHECK;
