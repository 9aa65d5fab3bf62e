/* SPDX-License-Identifier: MIT */
/*
 * active:{day} in Redis. If the set exists, the batch's users are added to it.
 * If it does not exist (a new day, an emptied Redis, a key of another type), it
 * is built from the inbox under another name and renamed when it is complete. So
 * a process that is killed while it builds leaves no set that lacks users.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "analytics_own.h"
#include "base/uuid7.h"
#include "link/kv.h"
#include "link/sql.h"
#include "model/inbox.h"

#define PAGE_ROWS 10000
#define PAGE_BYTES (8u << 20)
#define BUILDING_S "600"
#define NO_ID "00000000-0000-0000-0000-000000000000"

/* Most rows are found by the primary key; rows that count for another day, by their own index. */
static const struct sql_statement of_row_day = { "analytics_active",
	"SELECT event_id, user_id FROM " INBOX_TABLE " WHERE day = date '1970-01-01' + $1::integer"
	" AND event_id > $2::uuid AND counted_for IS NULL ORDER BY event_id LIMIT $3::bigint" };
static const struct sql_statement of_other_day = { "analytics_active_other",
	"SELECT event_id, user_id FROM " INBOX_TABLE
	" WHERE counted_for = date '1970-01-01' + $1::integer AND event_id > $2::uuid"
	" ORDER BY event_id LIMIT $3::bigint" };

static struct kv_script set_add, set_publish;

static void
scripts_make(void)
{
	/* KEYS: set. ARGV: TTL, users. Answers 0 if there is no set. */
	kv_script_init(&set_add,
		KV_LUA_OF_TYPE "if of_type(KEYS[1], 'set') == 'none' then return 0 end\n"
			       "redis.call('SADD', KEYS[1], unpack(ARGV, 2))\n"
			       "return redis.call('EXPIRE', KEYS[1], ARGV[1])\n");
	/* KEYS: set, built set. ARGV: TTL. Another process may have made the set meanwhile. */
	kv_script_init(&set_publish,
		KV_LUA_OF_TYPE "if of_type(KEYS[1], 'set') == 'set' then\n"
			       " redis.call('SUNIONSTORE', KEYS[1], KEYS[1], KEYS[2])\n"
			       " redis.call('DEL', KEYS[2])\n"
			       "else redis.call('RENAME', KEYS[2], KEYS[1]) end\n"
			       "return redis.call('EXPIRE', KEYS[1], ARGV[1])\n");
}

static const char **
users_words(struct arena *mem, const struct counted *list, size_t n, const char **argv)
{
	for (size_t i = 0; i < n; i++) {
		argv[i] = arena_printf(mem, "%" PRId64, list[i].ev->user_id);
		must(argv[i]);
	}
	return argv;
}

int
analytics_active_add(struct kv *kv, struct arena *mem, const struct counted *list, size_t n,
	struct err *e)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	const char **argv = arena_alloc(mem, (n + 2) * sizeof *argv);
	char key[ANALYTICS_KEY_SIZE];

	must(argv && n <= ACTIVE_USERS_MAX && pthread_once(&once, scripts_make) == 0);
	analytics_day_key("active", list[0].day, key);
	argv[0] = key;
	argv[1] = ANALYTICS_KEPT_S;
	users_words(mem, list, n, argv + 2);
	return kv_add_script(kv, &set_add, 1, n + 2, argv, NULL, e);
}

/* Adds the users of one page to the set that is being built, and moves the cursor behind them. */
static int
page_add(struct kv *kv, struct arena *mem, const struct sql_result *r, const char *key,
	char cursor[static UUID_TEXT_SIZE], struct err *e)
{
	const char **argv = arena_alloc(mem, (r->rows + 2) * sizeof *argv);
	size_t n = 2;

	must(argv);
	argv[0] = "SADD";
	argv[1] = key;
	for (size_t i = 0; i < r->rows; i++)
		if (!sql_null(r, i, 1))
			argv[n++] = sql_text(r, i, 1);
	if (r->rows > 0)
		snprintf(cursor, UUID_TEXT_SIZE, "%s", sql_text(r, r->rows - 1, 0));
	if (n == 2)
		return 0;
	return kv_add(kv, n, argv, NULL, e) ||
			kv_add(kv, 3, (const char *const[]){ "EXPIRE", key, BUILDING_S }, NULL,
				e) ||
			kv_flush_all(kv, mem, NULL, e)
		? -1
		: 0;
}

static int
pages_add(struct consumer *c, const struct sql_statement *st, int64_t day, const char *key,
	struct err *e)
{
	struct arena *mem = arena_new(1 << 16, PAGE_BYTES);
	char cursor[UUID_TEXT_SIZE] = NO_ID;
	struct sql_params p;
	struct sql_result r = { .rows = PAGE_ROWS };
	int rc = 0;

	while (rc == 0 && r.rows == PAGE_ROWS) {
		arena_reset(mem);
		if (!consumer_wait(c, 0)) {
			rc = err_set(e, ERR_AWAY, "the daemon is stopping");
			break;
		}
		sql_params_init(&p);
		sql_add_i64(&p, day);
		sql_add_text(&p, cursor);
		sql_add_i64(&p, PAGE_ROWS);
		rc = sql_run(consumer_sql(c), mem, st, &p, &r, e) ||
				page_add(consumer_kv(c), mem, &r, key, cursor, e)
			? -1
			: 0;
	}
	arena_free(mem);
	return rc;
}

int
analytics_active_make(struct consumer *c, struct arena *mem, const struct counted *list, size_t n,
	struct err *e)
{
	struct uuid id = uuid7_new();
	char text[UUID_TEXT_SIZE], key[ANALYTICS_KEY_SIZE], built[sizeof text + 16];
	const char **argv = arena_alloc(mem, (n + 2) * sizeof *argv);
	struct kv *kv = consumer_kv(c);

	must(argv);
	uuid_format(&id, text);
	analytics_day_key("active", list[0].day, key);
	snprintf(built, sizeof built, "building:%s", text);
	if (pages_add(c, &of_row_day, list[0].day, built, e) ||
		pages_add(c, &of_other_day, list[0].day, built, e))
		return -1;
	argv[0] = "SADD"; /* the set is not empty, whatever the inbox says */
	argv[1] = built;
	users_words(mem, list, n, argv + 2);
	return kv_add(kv, n + 2, argv, NULL, e) ||
			kv_add_script(kv, &set_publish, 2, 3,
				(const char *const[]){ key, built, ANALYTICS_KEPT_S }, NULL, e) ||
			kv_flush_all(kv, mem, NULL, e)
		? -1
		: 0;
}
