-- SPDX-License-Identifier: MIT
-- Whose events a row stands for, and when it was written by this server's own clock: the time in a
-- batch's id is that of the API which made it, and that clock may be wrong.

-- The writer's connection says which process it belongs to, so no insert has to. The process holds a
-- shared advisory lock by this number while it lives. NULL: nobody's, the next sweeper takes it.
ALTER TABLE outbox_unpublished
	ADD COLUMN owner integer DEFAULT nullif(current_setting('onboard.outbox_owner', true), '')::integer,
	ADD COLUMN written_at timestamptz NOT NULL DEFAULT now();
-- What is there already is as old as its id says, and not from the future.
UPDATE outbox_unpublished SET written_at =
	least(now(), to_timestamp(('x' || translate(left(batch_id::text, 13), '-', ''))::bit(48)::bigint / 1000.0));
-- The sweeper's order, and the oldest one.
CREATE INDEX outbox_unpublished_written_at ON outbox_unpublished (written_at, batch_id);
