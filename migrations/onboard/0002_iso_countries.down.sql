-- SPDX-License-Identifier: MIT
-- Only those that nobody lives in: data of people are not what a migration removes.

DELETE FROM countries WHERE NOT EXISTS (SELECT FROM cities WHERE cities.country_id = countries.id);
