-- SPDX-License-Identifier: MIT
DROP TRIGGER addresses_place ON addresses;
DROP FUNCTION addresses_place();
DROP TRIGGER users_place_moved ON users;
DROP TRIGGER users_place_new ON users;
DROP FUNCTION users_place();
ALTER TABLE users DROP COLUMN city_id, DROP COLUMN country;
