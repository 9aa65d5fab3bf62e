/* SPDX-License-Identifier: MIT */
/* What topology.c and topology_file.c share; nobody else includes it. */
#pragma once

#include "model/topology.h"

/* Those of the file, in its order; NULL and 0 before topology_file_load. */
extern const struct topology_object *topology_extra;
extern size_t topology_extra_count;
