-- SPDX-License-Identifier: MIT
DROP TABLE analytics_inbox;
DROP TABLE event_counts;
