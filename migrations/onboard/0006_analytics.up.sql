-- SPDX-License-Identifier: MIT
-- How many events of a type came from a country on a day. A row of the inbox and what it adds to a
-- count are one transaction, so an event that comes again adds nothing.

CREATE TABLE event_counts (
	day     date   NOT NULL, -- of the event's timestamp, UTC
	type    text   NOT NULL, -- "user.purchase"
	country text   NOT NULL, -- ISO code, "ZZ" where the event tells none
	count   bigint NOT NULL CONSTRAINT event_counts_positive CHECK (count > 0),
	PRIMARY KEY (day, type, country)
);
-- A day's few rows are written over and over: room for that on the page, and vacuum by count.
ALTER TABLE event_counts SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0,
	autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

CREATE TABLE analytics_inbox (
	day        date NOT NULL, -- of the event id's own time (UUID v7), else of its timestamp; never of now()
	event_id   uuid NOT NULL,
	counted_on date NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')::date,
	PRIMARY KEY (day, event_id)
) PARTITION BY RANGE (day);
-- Days long past or far ahead have no partition of their own. What lies here goes by the day it was
-- counted on, so that no timestamp, however odd, is kept for ever or counted twice within 90 days.
CREATE TABLE analytics_inbox_default PARTITION OF analytics_inbox DEFAULT;
CREATE INDEX analytics_inbox_default_counted_on ON analytics_inbox_default (counted_on);
