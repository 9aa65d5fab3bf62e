-- SPDX-License-Identifier: MIT
DROP INDEX analytics_inbox_counted_for;
ALTER TABLE analytics_inbox DROP COLUMN counted_for, DROP COLUMN user_id;
