/* SPDX-License-Identifier: MIT */
/* Prints config/onboard.conf, or with --manual the list of keys for onboard.conf(5). */
#include <stdio.h>
#include <string.h>

#include "base/conf.h"

int
main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "--manual") == 0)
		conf_print_manual(conf_keys, stdout);
	else
		conf_print_sample(conf_keys, stdout);
	return fflush(stdout) == 0 && !ferror(stdout) ? 0 : 1;
}
