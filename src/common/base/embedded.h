/* SPDX-License-Identifier: MIT */
/*
 * A file that the build puts into a program (tools/embed), so that the program
 * does not depend on the working folder or on what is installed.
 * A row whose name is NULL ends a table of these.
 */
#pragma once

struct embedded_file {
	const char *folder; /* the name of its folder: "onboard" */
	const char *name;   /* "0001_people.up.sql" */
	const char *text;
};
