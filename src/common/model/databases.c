/* SPDX-License-Identifier: MIT */
#include "model/databases.h"

#include <stddef.h>
#include <string.h>

#include "version.h"

const struct database databases[] = {
	{ "onboard", "postgres", "url", "schema_migrations", ONBOARD_SCHEMA_onboard },
	{ 0 },
};

const struct database *
database_find(const char *name)
{
	for (const struct database *d = databases; d->name; d++)
		if (strcmp(d->name, name) == 0)
			return d;
	return NULL;
}
