/* SPDX-License-Identifier: MIT */
#include "base/fault.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

enum action { ACTION_NONE, ACTION_FAIL, ACTION_KILL, ACTION_ABORT, ACTION_STALL, ACTION_AHEAD };

static struct point {
	enum action action;
	long ms;           /* how long to stall, or how far ahead */
	uint64_t from, to; /* passes, counted from 1; 0: all */
	atomic_uint_fast64_t passed;
} points[FAULT_COUNT];

static const char *const names[] = {
/* clang-format off */
#define X(name) #name,
	FAULT_POINTS(X)
#undef X
	/* clang-format on */
};

bool fault_any;

bool
fault_hit_slow(enum fault_point p)
{
	struct point *point = &points[p];
	struct timespec left;
	uint64_t n;

	if (point->action == ACTION_NONE || point->action == ACTION_AHEAD)
		return false;
	n = atomic_fetch_add(&point->passed, 1) + 1;
	if (point->from && (n < point->from || n > point->to))
		return false;
	switch (point->action) {
	case ACTION_KILL: kill(getpid(), SIGKILL); break;
	case ACTION_ABORT: abort();
	case ACTION_STALL:
		left = (struct timespec){ point->ms / 1000, point->ms % 1000 * 1000000 };
		while (nanosleep(&left, &left) < 0 && errno == EINTR)
			;
		return false;
	default: break;
	}
	return true;
}

int64_t
fault_ahead_slow_us(enum fault_point p)
{
	return points[p].action == ACTION_AHEAD ? points[p].ms * 1000 : 0;
}

/* The whole text must be a number of at least 1. */
static bool
number(const char *text, long *out)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	*out = strtol(text, &end, 10);
	return *end == '\0' && *out > 0 && *out < 1000000000;
}

/* "fail", "kill", "abort", "stall:MS", "ahead:MS" */
static bool
action_parse(char *text, struct point *out)
{
	static const struct {
		const char *name;
		enum action action;
	} actions[] = { { "fail", ACTION_FAIL }, { "kill", ACTION_KILL },
		{ "abort", ACTION_ABORT } };

	if (strncmp(text, "stall:", 6) == 0) {
		out->action = ACTION_STALL;
		return number(text + 6, &out->ms);
	}
	if (strncmp(text, "ahead:", 6) == 0) {
		out->action = ACTION_AHEAD;
		return number(text + 6, &out->ms);
	}
	for (size_t i = 0; i < ARRAY_LEN(actions); i++)
		if (strcmp(text, actions[i].name) == 0) {
			out->action = actions[i].action;
			return true;
		}
	return false;
}

static int
one_parse(char *text, struct err *e)
{
	char *equals = strchr(text, '='), *at = strchr(text, '@'), *plus;
	struct point *p = NULL;
	long nth = 0;

	if (!equals)
		return err_set(e, ERR_INVALID, "ONBOARD_FAULTS: \"%s\" is not point=action", text);
	*equals = '\0';
	for (size_t i = 0; i < FAULT_COUNT; i++)
		if (strcmp(names[i], text) == 0)
			p = &points[i];
	if (!p)
		return err_set(e, ERR_INVALID, "ONBOARD_FAULTS: there is no point \"%s\"", text);
	if (p->action != ACTION_NONE)
		return err_set(e, ERR_INVALID, "ONBOARD_FAULTS: %s is named twice", text);
	if (at) {
		*at++ = '\0';
		plus = strchr(at, '+');
		if (plus && plus[1] == '\0')
			*plus = '\0';
		if (!number(at, &nth))
			return err_set(e, ERR_INVALID,
				"ONBOARD_FAULTS: %s: @ needs a number; N+ means the Nth pass and all later ones",
				text);
		p->from = (uint64_t)nth;
		p->to = plus ? UINT64_MAX : p->from;
	}
	if (!action_parse(equals + 1, p))
		return err_set(e, ERR_INVALID,
			"ONBOARD_FAULTS: %s: want fail, kill, abort, stall:MS or ahead:MS", text);
	return 0;
}

int
fault_init(const char *spec, struct err *e)
{
	char *copy, *rest, *one;
	int rc = 0;

	for (size_t i = 0; i < FAULT_COUNT; i++) {
		points[i].action = ACTION_NONE;
		points[i].from = points[i].to = 0;
		atomic_store(&points[i].passed, 0);
	}
	fault_any = false;
	if (!spec || !*spec)
		return 0;
	copy = must_strdup(spec);
	for (rest = copy; rc == 0 && (one = strsep(&rest, ","));)
		rc = one_parse(one, e);
	free(copy);
	if (rc < 0)
		return -1;
	fault_any = true;
	log_warn("fault points are set: this process fails on purpose", LOG_S("faults", spec));
	return 0;
}
