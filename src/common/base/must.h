/* SPDX-License-Identifier: MIT */
/*
 * must(x) is a claim about our own code; a false claim is a bug. It prints the
 * place and aborts the process. It is never compiled out. Never use it on data
 * from outside: struct err is for that.
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

/* These abort when memory runs out: the daemons bound all that they hold. */
void *must_malloc(size_t size) __attribute__((malloc, returns_nonnull));
void *must_calloc(size_t count, size_t size) __attribute__((malloc, returns_nonnull));
void *must_realloc(void *p, size_t size) __attribute__((returns_nonnull));
char *must_strdup(const char *text) __attribute__((malloc, returns_nonnull));
