/* SPDX-License-Identifier: MIT */
/* Hashes of messages, and sets of ids by their hash. */
#include <stdlib.h>
#include <string.h>

#include "base/rnd.h"
#include "ctl/dlq/dlq.h"

/* FNV-1a with 128 bits: it tells messages apart, but is no defence against a made-up collision. */
void
dlq_hash_begin(struct dlq_hash *h)
{
	*h = (struct dlq_hash){ { 0x6c62272e07bb0142, 0x62b821756295c58d } };
}

void
dlq_hash_add(struct dlq_hash *h, const void *bytes, size_t length)
{
	const unsigned __int128 prime = (unsigned __int128)1 << 88 | 0x13b;
	unsigned __int128 v = (unsigned __int128)h->half[0] << 64 | h->half[1];
	const uint8_t *p = bytes;

	for (size_t i = 0; i < length; i++)
		v = (v ^ p[i]) * prime;
	for (size_t i = 0; i < sizeof length; i++) /* "ab" "c" is another than "a" "bc" */
		v = (v ^ (uint8_t)(length >> (8 * i))) * prime;
	h->half[0] = (uint64_t)(v >> 64);
	h->half[1] = (uint64_t)v;
}

/* Salted in each run, so that nobody outside can make a collision. 0 marks an empty place. */
static uint64_t
hash_of(struct dlq_set *s, const char *a, const char *b)
{
	struct dlq_hash h;

	if (!s->salt)
		s->salt = rnd_u64() | 1;
	dlq_hash_begin(&h);
	dlq_hash_add(&h, &s->salt, sizeof s->salt);
	dlq_hash_add(&h, a, strlen(a));
	if (b)
		dlq_hash_add(&h, b, strlen(b));
	h.half[0] ^= h.half[1];
	return h.half[0] ? h.half[0] : 1;
}

/* The hash's place in the set, or the empty place where it belongs. */
static uint64_t *
place_of(const struct dlq_set *s, uint64_t h)
{
	size_t i = h & (s->room - 1);

	while (s->list[i] && s->list[i] != h)
		i = (i + 1) & (s->room - 1);
	return &s->list[i];
}

static void
set_grow(struct dlq_set *s)
{
	struct dlq_set old = *s;

	s->room = old.room ? 2 * old.room : 64;
	s->list = must_calloc(s->room, sizeof *s->list);
	for (size_t i = 0; i < old.room; i++)
		if (old.list[i])
			*place_of(s, old.list[i]) = old.list[i];
	free(old.list);
}

static bool
hash_add(struct dlq_set *s, uint64_t h)
{
	uint64_t *at;

	if (4 * (s->count + 1) > 3 * s->room)
		set_grow(s);
	at = place_of(s, h);
	if (*at)
		return false;
	*at = h;
	s->count++;
	return true;
}

bool
dlq_set_add(struct dlq_set *s, const char *a, const char *b)
{
	return hash_add(s, hash_of(s, a, b));
}

bool
dlq_set_has(struct dlq_set *s, const char *a, const char *b)
{
	return s->count && *place_of(s, hash_of(s, a, b));
}

void
dlq_set_merge(struct dlq_set *s, struct dlq_set *from)
{
	if (s->count == 0) {
		dlq_set_fini(s);
		*s = *from;
	} else {
		must(from->count == 0 || from->salt == s->salt);
		for (size_t i = 0; i < from->room; i++)
			if (from->list[i])
				hash_add(s, from->list[i]);
		free(from->list);
	}
	*from = (struct dlq_set){ .salt = s->salt };
}

void
dlq_set_fini(struct dlq_set *s)
{
	free(s->list);
	*s = (struct dlq_set){ 0 };
}
