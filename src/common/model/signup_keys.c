/* SPDX-License-Identifier: MIT */
#include "model/signup_keys.h"

#include "base/clock.h"
#include "base/text.h"
#include "link/sql.h"

#define PAGE 2000

/* By ctid: a join by key would read the whole table. A key that a sign-up claims anew now stays. */
static const struct sql_statement forget_page = { "signup_keys_forget",
	"DELETE FROM signup_keys WHERE ctid = ANY (ARRAY (SELECT ctid FROM signup_keys"
	" WHERE claimed_at < now() - " SIGNUP_KEY_LIFE
	" ORDER BY claimed_at LIMIT " TEXT_OF(PAGE) " FOR UPDATE SKIP LOCKED))" };

int
signup_keys_forget(struct sql *sql, struct arena *mem, int64_t budget_ms, struct err *e)
{
	int64_t until = clock_mono_ms() + budget_ms;
	struct sql_result r;

	do {
		if (sql_run(sql, mem, &forget_page, NULL, &r, e))
			return -1;
		if (r.affected < PAGE)
			return 0;
	} while (clock_mono_ms() < until);
	return 1;
}
