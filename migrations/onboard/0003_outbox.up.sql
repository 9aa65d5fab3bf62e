-- SPDX-License-Identifier: MIT
-- Events commit with what they tell of. The row stays as the archive until its day's partition is
-- dropped. A row in outbox_unpublished stands for the events of one transaction until a broker has
-- confirmed them all: a flag in the archive would write each of its rows twice.

CREATE TABLE outbox (
	day         date   NOT NULL, -- of the event id's own time (UUID v7), never of now()
	event_id    uuid   NOT NULL,
	type        text   NOT NULL,
	user_id     bigint NOT NULL,
	body        text   NOT NULL, -- the message, byte for byte
	traceparent text,
	PRIMARY KEY (day, event_id)
) PARTITION BY RANGE (day);
-- What has no partition of its own: never refused, seen by onboardctl doctor.
CREATE TABLE outbox_default PARTITION OF outbox DEFAULT;

CREATE TABLE outbox_unpublished (
	batch_id  uuid PRIMARY KEY, -- UUID v7: sorts by age
	first_day date   NOT NULL,
	last_day  date   NOT NULL,
	event_ids uuid[] NOT NULL
);
-- Short-lived rows: vacuum by count, or the index grows faster than it is cleaned.
ALTER TABLE outbox_unpublished SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
	autovacuum_vacuum_cost_delay = 0);

-- Idempotency-Key: claimed before the signup's transaction, answered inside it.
CREATE TABLE signup_keys (
	key         text PRIMARY KEY,
	fingerprint text NOT NULL, -- SHA-256 of the normalised body
	claim       uuid NOT NULL, -- who works on it: the event id
	claimed_at  timestamptz NOT NULL DEFAULT now(),
	user_id     bigint, -- answered 201
	taken       text,   -- answered 409: "username", "email" or both
	CONSTRAINT signup_keys_one_answer CHECK (user_id IS NULL OR taken IS NULL)
);
CREATE INDEX signup_keys_claimed_at ON signup_keys (claimed_at);
