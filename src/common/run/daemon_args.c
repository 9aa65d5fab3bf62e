/* SPDX-License-Identifier: MIT */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run/daemon_own.h"
#include "version.h"

enum { KEY_CHECK = 256, KEY_PRINT, KEY_INSTANCE, KEY_SET, KEY_FLAG };
#define FLAGS_MAX 8

struct input {
	struct daemon_args *args;
	const struct daemon_flag *flags;
};

static const struct argp_option options[] = {
	{ "config", 'c', "FILE", 0, "the configuration (/etc/onboard/onboard.conf)", 0 },
	{ "set", KEY_SET, "SECTION.KEY=VALUE", 0, "one key; wins over environment and file", 0 },
	{ "instance", KEY_INSTANCE, "N", 0, "which of several on this machine, from 1 on", 0 },
	{ "check-config", KEY_CHECK, NULL, 0, "say whether the configuration is sound, and end",
		0 },
	{ "print-config", KEY_PRINT, NULL, 0,
		"every key, its value and where that is from, and end", 0 },
	{ 0 },
};

static error_t
parse(int key, char *arg, struct argp_state *state)
{
	const struct input *in = state->input;
	struct daemon_args *a = in->args;
	const struct daemon_flag *flag;
	char *end;
	long n;

	switch (key) {
	case 'c': a->config = arg; break;
	case KEY_SET:
		if (a->override_count == DAEMON_OVERRIDES_MAX ||
			!conf_override_parse(arg, &a->overrides[a->override_count++]))
			argp_error(state, "--set wants SECTION.KEY=VALUE");
		break;
	case KEY_INSTANCE:
		n = strtol(arg, &end, 10);
		if (*end || end == arg || n < 1 || n > DAEMON_INSTANCES_MAX)
			argp_error(state, "--instance wants a number from 1 to %d",
				DAEMON_INSTANCES_MAX);
		a->instance = (unsigned)n;
		break;
	case KEY_CHECK: a->check_config = true; break;
	case KEY_PRINT: a->print_config = true; break;
	case ARGP_KEY_ARG: argp_error(state, "what is \"%s\"?", arg); break;
	default:
		if (key < KEY_FLAG || key >= KEY_FLAG + FLAGS_MAX)
			return ARGP_ERR_UNKNOWN;
		flag = &in->flags[key - KEY_FLAG];
		if (a->override_count == DAEMON_OVERRIDES_MAX)
			argp_error(state, "too many flags");
		a->overrides[a->override_count++] =
			(struct conf_override){ flag->section, flag->key, flag->value };
	}
	return 0;
}

static void
version_print(FILE *out, struct argp_state *state)
{
	fprintf(out, "%s " ONBOARD_VERSION "\n", state->name);
}

void
daemon_args_parse(int argc, char **argv, const struct daemon_def *def, struct daemon_args *out)
{
	struct argp_option all[ARRAY_LEN(options) + FLAGS_MAX] = { 0 };
	const struct argp argp = { all, parse, NULL, def->summary, NULL, NULL, NULL };
	struct input in = { out, def->flags };
	static char name[64];
	size_t n = ARRAY_LEN(options) - 1;

	memcpy(all, options, sizeof options);
	for (int i = 0; def->flags && def->flags[i].name; i++) {
		must(i < FLAGS_MAX);
		all[n++] = (struct argp_option){ def->flags[i].name, KEY_FLAG + i, NULL, 0,
			def->flags[i].help, 0 };
	}

	snprintf(name, sizeof name, "%s", def->name);
	argv[0] = name; /* in messages, whatever path it was called by */
	argp_program_version_hook = version_print;
	argp_err_exit_status = DAEMON_EXIT_USAGE;
	argp_parse(&argp, argc, argv, 0, NULL, &in);
}
