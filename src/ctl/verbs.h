/* SPDX-License-Identifier: MIT */
/*
 * onboardctl's verbs: one table, and one handler each. A handler reads its own
 * words, prints to stdout and answers an exit code.
 */
#pragma once

#include "ctl/kit/ctl.h"

struct ctl_verb {
	const char *name, *arguments, *summary;
	int (*run)(struct ctl *, int argc, char **argv); /* argv[0] is the verb */
	const char *help;                                /* more lines and examples */
};

extern const struct ctl_verb ctl_verbs[]; /* an entry without a name ends it */

/* --describe verbs | keys | words [VERB]: for the manuals and for completion. verb: NULL, all. */
int ctl_describe(const struct ctl *c, const char *what, const char *verb);

int ctl_counts(struct ctl *c, int argc, char **argv);
int ctl_db(struct ctl *c, int argc, char **argv);
int ctl_dlq(struct ctl *c, int argc, char **argv);
int ctl_doctor(struct ctl *c, int argc, char **argv);
int ctl_mail(struct ctl *c, int argc, char **argv);
int ctl_pause(struct ctl *c, int argc, char **argv);
int ctl_publish(struct ctl *c, int argc, char **argv);
int ctl_queues(struct ctl *c, int argc, char **argv);
int ctl_rebuild(struct ctl *c, int argc, char **argv);
int ctl_resume(struct ctl *c, int argc, char **argv);
int ctl_top(struct ctl *c, int argc, char **argv);
int ctl_topology(struct ctl *c, int argc, char **argv);
int ctl_trace(struct ctl *c, int argc, char **argv);
