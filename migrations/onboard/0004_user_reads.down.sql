-- SPDX-License-Identifier: MIT
DROP INDEX idx_cities_lower_name;
DROP INDEX idx_cities_country_id;
