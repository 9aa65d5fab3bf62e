/* SPDX-License-Identifier: MIT */
/*
 * Answers that are read through the tiers: who asks for a key while it is being
 * read waits for that one reading.
 */
#pragma once

struct user_loads;

/* The key has changed: what is being read now is for those who wait already, and kept nowhere. */
void user_loads_forget(struct user_loads *l, const char *key);
/* The same for every key. */
void user_loads_forget_all(struct user_loads *l);
