/* SPDX-License-Identifier: MIT */
/*
 * must(x): a claim about our own code that, when false, is a bug. It prints
 * where and stops the process; it is never compiled out and never used on
 * anything that came from outside (that is what struct err is for).
 */
#pragma once

#include <stdlib.h>

__attribute__((noreturn, cold)) void must_failed(const char *claim, const char *file, int line,
	const char *function);

#define must(claim) \
	(__builtin_expect(!!(claim), 1) ? (void)0 \
					: must_failed(#claim, __FILE__, __LINE__, __func__))

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define ARRAY_LEN(a) (sizeof(a) / sizeof(*(a)))

/* Memory is a bug to be out of: the daemons bound what they hold. */
void *must_malloc(size_t size) __attribute__((malloc, returns_nonnull));
void *must_calloc(size_t count, size_t size) __attribute__((malloc, returns_nonnull));
void *must_realloc(void *p, size_t size) __attribute__((returns_nonnull));
char *must_strdup(const char *text) __attribute__((malloc, returns_nonnull));
