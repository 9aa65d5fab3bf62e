/* SPDX-License-Identifier: MIT */
#include "ctl.h"
int
ctl_publish(struct ctl *c, int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return ctl_fail(c, 1, "x");
}
