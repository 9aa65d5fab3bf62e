-- SPDX-License-Identifier: MIT
DROP TABLE users;
DROP TABLE addresses;
DROP TABLE cities;
DROP TABLE countries;
