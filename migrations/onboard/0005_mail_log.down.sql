-- SPDX-License-Identifier: MIT
DROP TABLE mail_log;
