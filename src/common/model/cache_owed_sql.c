/* SPDX-License-Identifier: MIT */
#include "model/cache_owed_sql.h"

/*
 * All instances know of an old row. The row lock keeps it until the new rows have
 * committed, so that nobody finds the table empty in between. A row is old when
 * each lease from before its commit has run out: its transaction took two seconds
 * at most, and a lease lasts two.
 */
const struct sql_statement cache_owed_store = { "cache_owed_store",
	"WITH old AS MATERIALIZED (SELECT FROM cache_owed WHERE owed_at < now() - interval '5 seconds'"
	" LIMIT 1 FOR KEY SHARE),"
	" n AS (INSERT INTO cache_owed (key, version)"
	" SELECT key, max(version) FROM unnest($1::text[], $2::bigint[]) AS t (key, version)"
	" GROUP BY key ORDER BY key ON CONFLICT (key) DO UPDATE"
	" SET version = greatest(cache_owed.version, excluded.version), seq = excluded.seq"
	" RETURNING key)"
	" SELECT EXISTS (SELECT FROM old), (SELECT count(*) FROM n)" };
const struct sql_statement cache_owed_look = { "cache_owed_look",
	"SELECT key, version, seq FROM cache_owed LIMIT $1" };
const struct sql_statement cache_owed_settle = { "cache_owed_settle",
	"DELETE FROM cache_owed o USING unnest($1::text[], $2::bigint[]) AS t (key, seq)"
	" WHERE o.key = t.key AND o.seq = t.seq" };
