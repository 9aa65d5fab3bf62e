-- SPDX-License-Identifier: MIT
DROP INDEX outbox_unpublished_written_at;
ALTER TABLE outbox_unpublished DROP COLUMN owner, DROP COLUMN written_at;
