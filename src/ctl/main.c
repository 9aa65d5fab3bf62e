/* SPDX-License-Identifier: MIT */
/* onboardctl: the command line, the configuration, then one verb of ctl/verbs.c. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/log.h"
#include "ctl/kit/output.h"
#include "ctl/verbs.h"
#include "model/topology.h"
#include "version.h"

static void
help_print(void)
{
	puts("Usage: onboardctl [OPTION…] VERB [WORD…]\n"
	     "The operator's tool of the onboard pipeline.\n");
	for (const struct ctl_verb *v = ctl_verbs; v->name; v++)
		printf("  %-10s %-32s %s\n", v->name, v->arguments, v->summary);
	puts("\n"
	     "  --config FILE            the configuration; default /etc/onboard/onboard.conf\n"
	     "  --set SECTION.KEY=VALUE  one key; wins over environment and file\n"
	     "  --json                   one JSON object a line instead of a table\n"
	     "  --print-config           every key with its value and where that is from\n"
	     "  --help, --version        `onboardctl VERB --help` has examples\n\n"
	     "Exit status: 0 done, 1 failed, 2 usage, 3 nothing matched, 69 a server cannot be reached,\n"
	     "78 configuration.");
}

static const struct ctl_verb *
verb_find(const char *name)
{
	for (const struct ctl_verb *v = ctl_verbs; v->name; v++)
		if (strcmp(v->name, name) == 0)
			return v;
	return NULL;
}

/* --json and --help may stand among the verb's own words. */
static int
verb_run(struct ctl *c, const struct ctl_verb *v, int argc, char **argv)
{
	int kept = 0;

	for (int i = 0; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0) {
			c->json = true;
		} else if (strcmp(argv[i], "--help") == 0) {
			printf("Usage: onboardctl %s %s\n%s.\n\n%s", v->name, v->arguments,
				v->summary, v->help);
			return CTL_DONE;
		} else {
			argv[kept++] = argv[i];
		}
	}
	argv[kept] = NULL;
	c->verb = v->name;
	return v->run(c, kept, argv);
}

#define OVERRIDES_MAX 64

struct words {
	const char *file, *describe;
	struct conf_override overrides[OVERRIDES_MAX + 1];
	size_t override_count;
	bool print_config, help, version;
};

/* The options before the verb; optind is behind them. */
static int
words_read(struct ctl *c, int argc, char **argv, struct words *w)
{
	static const struct option options[] = { { "config", required_argument, NULL, 'c' },
		{ "set", required_argument, NULL, 's' }, { "json", no_argument, NULL, 'j' },
		{ "print-config", no_argument, NULL, 'p' }, { "help", no_argument, NULL, 'h' },
		{ "describe", required_argument, NULL, 'd' }, { "version", no_argument, NULL, 'V' },
		{ 0 } };
	int opt;

	/* "+": the first word that is no option is the verb, and ends ours */
	while (!w->describe && !w->help && !w->version &&
		(opt = getopt_long(argc, argv, "+hV", options, NULL)) != -1) {
		switch (opt) {
		case 'c': w->file = optarg; break;
		case 's':
			if (w->override_count == OVERRIDES_MAX ||
				!conf_override_parse(optarg, &w->overrides[w->override_count++]))
				return ctl_fail(c, CTL_USAGE, "--set wants SECTION.KEY=VALUE");
			break;
		case 'j': c->json = true; break;
		case 'p': w->print_config = true; break;
		case 'd': w->describe = optarg; break;
		case 'h': w->help = true; break;
		case 'V': w->version = true; break;
		default: return CTL_USAGE; /* getopt has said which */
		}
	}
	return CTL_DONE;
}

/* v NULL: prints the configuration. */
static int
configured_run(struct ctl *c, const struct words *w, const struct ctl_verb *v, int argc,
	char **argv)
{
	struct conf *conf = NULL;
	int code = CTL_DONE;
	struct err e;

	log_init("onboardctl", LOG_LEVEL_ERROR, LOG_FORMAT_AUTO);
	if (conf_load(conf_keys, w->file, w->overrides, &conf, &e) < 0)
		return ctl_fail(c, CTL_CONF, "%s", e.text);
	if (fault_init(getenv("ONBOARD_FAULTS"), &e) < 0 ||
		topology_file_load(conf_string(conf, "topology", "file"), &e) < 0) {
		conf_free(conf);
		return ctl_fail(c, CTL_CONF, "%s", e.text);
	}
	c->conf = conf;
	if (v)
		code = verb_run(c, v, argc, argv);
	else
		conf_print(conf, stdout);
	topology_file_forget();
	conf_free(conf);
	c->conf = NULL;
	return code;
}

static int
command_run(struct ctl *c, int argc, char **argv)
{
	struct words w = { 0 };
	const struct ctl_verb *v = NULL;
	int code = words_read(c, argc, argv, &w);

	if (code != CTL_DONE)
		return code;
	if (w.describe)
		return ctl_describe(c, w.describe, argv[optind]);
	if (w.version) {
		puts("onboardctl " ONBOARD_VERSION);
		return CTL_DONE;
	}
	if (w.help || (optind == argc && !w.print_config)) {
		help_print();
		return w.help ? CTL_DONE : CTL_USAGE;
	}
	if (!w.print_config) {
		v = verb_find(argv[optind]);
		if (!v)
			return ctl_fail(c, CTL_USAGE,
				"no verb \"%s\"; `onboardctl --help` lists them", argv[optind]);
	}
	return configured_run(c, &w, v, argc - optind, argv + optind);
}

int
main(int argc, char **argv)
{
	struct ctl c = { .colour = isatty(STDOUT_FILENO) && !getenv("NO_COLOR") };
	int code, fault;

	signal(SIGPIPE, SIG_IGN);
	output_begin();
	code = command_run(&c, argc, argv);
	fault = output_end();
	/* `| head -1` has read what it wants: the work is done all the same */
	if (fault && fault != EPIPE)
		code = ctl_fail(&c, CTL_FAILED, "cannot write to standard output: %s",
			strerror(fault));
	return code;
}
