-- SPDX-License-Identifier: MIT
DROP TABLE signup_keys;
DROP TABLE outbox_unpublished;
DROP TABLE outbox;
