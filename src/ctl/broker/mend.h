/* SPDX-License-Identifier: MIT */
#pragma once

#include "ctl/kit/ctl.h"

/* The words behind "topology mend". */
int ctl_topology_mend(struct ctl *c, int argc, char **argv);
