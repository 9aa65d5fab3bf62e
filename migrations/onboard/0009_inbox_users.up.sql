-- SPDX-License-Identifier: MIT
-- Whose event it was, so that the sets of active users (active:{day} in Redis) can be made again.
-- Rows from before this migration tell no user.

ALTER TABLE analytics_inbox
	ADD COLUMN user_id bigint,
	ADD COLUMN counted_for date; -- the day of its timestamp, where that is not the row's day
CREATE INDEX analytics_inbox_counted_for ON analytics_inbox (counted_for, event_id)
	WHERE counted_for IS NOT NULL;
