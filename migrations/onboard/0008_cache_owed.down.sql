-- SPDX-License-Identifier: MIT
DROP TABLE cache_owed;
