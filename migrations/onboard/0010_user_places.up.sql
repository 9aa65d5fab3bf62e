-- SPDX-License-Identifier: MIT
-- City and country beside the user, so that a page of a country's or a city's users is a piece of one
-- index, and statistics read one table. The API writes both in the statement that writes the address.
-- The triggers do the same for whoever writes users or addresses without them; the API's sign-ups fire
-- none. There is no foreign key: a lock on the country's row at each sign-up would cost more than the
-- row of the user.

ALTER TABLE users ADD COLUMN country varchar(3), ADD COLUMN city_id bigint;

UPDATE users u SET country = co.code, city_id = ci.id
FROM addresses a JOIN cities ci ON ci.id = a.city_id JOIN countries co ON co.id = ci.country_id
WHERE a.id = u.address_id;

CREATE INDEX idx_users_country ON users (country, id) WHERE country IS NOT NULL;
CREATE INDEX idx_users_city ON users (city_id, id) WHERE city_id IS NOT NULL;
ANALYZE users;

CREATE FUNCTION users_place() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
	place record;
BEGIN
	SELECT ci.id, co.code INTO place FROM addresses a JOIN cities ci ON ci.id = a.city_id
		JOIN countries co ON co.id = ci.country_id WHERE a.id = NEW.address_id;
	-- An address that the same statement inserts is not there yet; that statement names the city itself.
	IF FOUND OR NEW.address_id IS NULL THEN
		NEW.city_id := place.id;
		NEW.country := place.code;
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER users_place_new BEFORE INSERT ON users FOR EACH ROW
	WHEN (NEW.address_id IS NOT NULL AND NEW.city_id IS NULL) EXECUTE FUNCTION users_place();
CREATE TRIGGER users_place_moved BEFORE UPDATE OF address_id ON users FOR EACH ROW
	WHEN (NEW.address_id IS DISTINCT FROM OLD.address_id AND NEW.city_id IS NOT DISTINCT FROM OLD.city_id)
	EXECUTE FUNCTION users_place();

CREATE FUNCTION addresses_place() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	UPDATE users SET city_id = NEW.city_id, country = (SELECT co.code FROM cities ci
		JOIN countries co ON co.id = ci.country_id WHERE ci.id = NEW.city_id)
	WHERE address_id = NEW.id AND city_id IS DISTINCT FROM NEW.city_id;
	RETURN NULL;
END $$;
CREATE TRIGGER addresses_place AFTER UPDATE OF city_id ON addresses FOR EACH ROW
	WHEN (NEW.city_id IS DISTINCT FROM OLD.city_id) EXECUTE FUNCTION addresses_place();
