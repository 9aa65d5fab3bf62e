/* SPDX-License-Identifier: MIT */
/* Kinds of keys: which one a key is of, and where the version that guards it lies. */
#include "cm.h"

#include "base/must.h"
#include "model/redis_keys.h"
#include "run/tiers.h"

static const struct tiers_kind profile = { .begin = PROFILE_BEGIN,
	.end = PROFILE_END,
	.guard = PROFILE_GUARD_END };
static const struct tiers_kind country = { .begin = REDIS_KEY_COUNTRY, .end = "" };
static const struct tiers_kind whole = { .begin = "products:list", .end = "" };
static const struct tiers_kind *const kinds[] = { &profile, &country, &whole, NULL };

static void
a_key_is_of_the_kind_that_it_begins_and_ends_like(void **state)
{
	static const struct {
		const char *key;
		const struct tiers_kind *kind;
	} rows[] = {
		{ "user:1:profile", &profile },
		{ "user:9223372036854775807:profile", &profile },
		{ "user:1:version", NULL },
		{ "user:1:profile:x", NULL },
		{ "user:1", NULL },
		{ "user:profile", NULL }, /* begin and end share a colon */
		{ ":profile", NULL },
		{ "", NULL },
		{ "users:country:LV", &country },
		{ "users:countries", NULL },
		{ "products:list", &whole }, /* a kind of one key */
		{ "products", NULL },
		{ "other", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (tiers_kind_of(kinds, rows[i].key) != rows[i].kind)
			fail_msg("%s", rows[i].key);
	assert_null(tiers_kind_of(&(const struct tiers_kind *const){ NULL }, "user:1:profile"));
}

static void
the_version_lies_beside_its_text(void **state)
{
	static const int64_t ids[] = { 1, 42, INT64_MAX };
	char key[REDIS_KEY_SIZE], guard[REDIS_KEY_SIZE], want[REDIS_KEY_SIZE];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
		redis_key_profile(ids[i], key);
		redis_key_version(ids[i], want);
		tiers_guard_key(&profile, key, guard);
		assert_string_equal(guard, want);
	}
}

static void
a_guarded_write_has_the_words_of_the_script(void **state)
{
	struct guarded_write w, of_user;
	static const char *const want[] = { "user:7:profile", "user:7:version", "3", "text", "60",
		"604800", CACHE_INVALIDATE };

	(void)state;
	strcpy(w.key, want[0]);
	strcpy(w.guard, want[1]);
	guarded_write_make(&w, 3, "text and more", 4, 60, true);
	profile_write_make(&of_user, 7, 3, "text and more", 4, 60, true);
	for (size_t i = 0; i < GUARDED_WORDS; i++) {
		assert_int_equal(w.lengths[i], strlen(want[i]));
		assert_memory_equal(w.argv[i], want[i], w.lengths[i]);
		assert_int_equal(of_user.lengths[i], w.lengths[i]);
		assert_memory_equal(of_user.argv[i], want[i], w.lengths[i]);
	}
	guarded_write_make(&w, 3, "", 0, 0, false);
	assert_int_equal(w.lengths[GUARDED_WORDS - 1], 0); /* nobody is told */
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_key_is_of_the_kind_that_it_begins_and_ends_like),
		cmocka_unit_test(the_version_lies_beside_its_text),
		cmocka_unit_test(a_guarded_write_has_the_words_of_the_script),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
