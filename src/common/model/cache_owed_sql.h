/* SPDX-License-Identifier: MIT */
/*
 * The table cache_owed: invalidations that Redis has not carried out yet, a row
 * for each key. run/tiers_owed.h tells what they mean.
 */
#pragma once

#include "link/sql.h"

/*
 * $1 keys, $2 their versions: arrays. One row: whether all instances know
 * already that something is owed, and how many rows it has stored.
 */
extern const struct sql_statement cache_owed_store;
/* $1 how many. Rows of key, version, seq. */
extern const struct sql_statement cache_owed_look;
/* $1 keys, $2 seqs as they were read: arrays. A row that was stored again meanwhile has another seq and stays. */
extern const struct sql_statement cache_owed_settle;
