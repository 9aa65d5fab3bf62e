-- SPDX-License-Identifier: MIT
-- What GET /api/users reads by: a city's and a country's users in pages.
CREATE INDEX idx_cities_country_id ON cities (country_id);
CREATE INDEX idx_cities_lower_name ON cities (lower(name));
