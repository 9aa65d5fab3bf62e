/* SPDX-License-Identifier: MIT */
/*
 * Refuses a database that a newer version has migrated. Whoever depends on a
 * database starts a check in its start hook and stops it in its stop hook.
 *
 * A check is a thread with a connection of its own. It asks once, as soon as
 * PostgreSQL answers, and ends. Nothing waits for it. When the database has a
 * migration that this version does not know, the daemon ends with 78 and says
 * the way out. An older schema, or none, is no fault: the migrations are on
 * their way.
 *
 * Threads: the main loop's.
 */
#pragma once

struct daemon;
struct schema_check;

/* database: a name of model/databases.h. */
struct schema_check *schema_check_start(struct daemon *d, const char *database);
void schema_check_stop(struct schema_check *s); /* once the loop has ended; NULL is fine */
