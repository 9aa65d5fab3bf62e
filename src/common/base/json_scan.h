/* SPDX-License-Identifier: MIT */
/* The strict scan before cJSON builds a tree. Only json.c includes it. */
#pragma once

#include <stddef.h>

#include "base/err.h"

int json_scan(const char *text, size_t length, struct err *e) MUST_CHECK;
