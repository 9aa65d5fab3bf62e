/* SPDX-License-Identifier: MIT */
#include "model/user_state.h"

/* A new user's state; the only place of these numbers so far. */
static const struct {
	const char *segment, *why;
	double churn_risk, ltv_prediction, profile_score;
} beginning = { "new_user", "no purchase, registered within 30 days", 0.05, 500, 50 };

static void
state_add(struct doc_body *b, const struct user_state *s)
{
	doc_add_string(b, "username", s->username);
	doc_add_string(b, "email", s->email);
	doc_add_i64(b, "version", s->version);
	doc_add_date_us(b, "updated_at", s->updated_us);
}

static void
beginning_add(struct doc_body *b)
{
	doc_begin_array(b, "segments");
	doc_add_string(b, NULL, beginning.segment);
	doc_end(b);
	doc_add_string(b, "segment", beginning.segment);
	doc_add_f64(b, "churn_risk", beginning.churn_risk);
	doc_add_f64(b, "ltv_prediction", beginning.ltv_prediction);
	doc_add_f64(b, "profile_score", beginning.profile_score);
	doc_add_string(b, "why", beginning.why);
}

void
user_state_insert(struct doc_body *document, const struct user_state *s)
{
	doc_clear(document);
	doc_add_i64(document, "_id", s->id);
	doc_add_date_us(document, "created_at", s->created_us);
	state_add(document, s);
	beginning_add(document);
}

static void
which_make(struct doc_body *which, int64_t id, int64_t version, bool oldest)
{
	doc_clear(which);
	doc_add_i64(which, "_id", id);
	doc_begin(which, "version");
	doc_add_i64(which, oldest ? "$lt" : "$lte", version);
	doc_end(which);
}

void
user_state_update(struct doc_body *which, struct doc_body *what, const struct user_state *s)
{
	which_make(which, s->id, s->version, s->oldest);
	doc_begin(which, "deleted_at");
	doc_add_bool(which, "$exists", false);
	doc_end(which);
	doc_clear(what);
	doc_begin(what, "$set");
	state_add(what, s);
	doc_end(what);
	if (s->created_known) { /* the earlier of two is right: no change precedes the creation */
		doc_begin(what, "$min");
		doc_add_date_us(what, "created_at", s->created_us);
		doc_end(what);
	}
	doc_begin(what, "$setOnInsert");
	if (!s->created_known) /* a guess, until user.created arrives */
		doc_add_date_us(what, "created_at", s->created_us);
	beginning_add(what);
	doc_end(what);
}

void
user_state_tombstone(struct doc_body *which, struct doc_body *document, int64_t id, int64_t version,
	int64_t deleted_us)
{
	which_make(which, id, version, false);
	doc_clear(document);
	doc_add_i64(document, "_id", id);
	doc_add_date_us(document, "deleted_at", deleted_us);
	doc_add_i64(document, "version", version);
}
