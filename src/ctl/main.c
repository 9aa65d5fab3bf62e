/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/log.h"
#include "ctl/kit/ctl.h"
#include "ctl/kit/output.h"
#include "model/consumers.h"
#include "model/topology.h"
#include "ctl/kit/table.h"
#include "version.h"

static const struct ctl_verb verbs[] = {
	{ "counts", "[--day DAY] [--type TYPE]", "events counted by day, type and country",
		ctl_counts,
		"  onboardctl counts               the newest 200 rows, the most frequent first\n"
		"  onboardctl counts --day 2026-11-20 --type purchase --country LV\n"
		"  --limit N                       rows at most\n"
		"  --json                          one object a line: day, type, country, count\n" },
	{ "db", "migrate up | down [N] | status | maintain", "the database's schema and partitions",
		ctl_db,
		"  onboardctl db migrate up        apply what is missing, each file in one transaction\n"
		"  onboardctl db migrate down 2    take the last two back\n"
		"  onboardctl db migrate status    what is applied, what is not, what differs\n"
		"  onboardctl db maintain          partitions, retention, events that stayed behind\n"
		"  --database NAME                 this one of the program's databases, not all\n"
		"  --dir DIR                       these numbered files instead of the program's own\n"
		"  --lock-wait SECONDS             give up when a lock is not free by then (60)\n" },
	{ "dlq", "list|stats|show|replay|export|…", "dead letters: look, bring back, keep, remove",
		ctl_dlq, dlq_help },
	{ "doctor", "", "every server, version, queue and table, with the fix for each fault",
		ctl_doctor,
		"  onboardctl doctor               one line each; exit 1 when something is wrong\n"
		"  onboardctl doctor --json        one object a line: state, subject, text, fix\n" },
	{ "mail", "list [--state S] | resend ID | settle ID sent|failed",
		"welcome mails that want a look", ctl_mail,
		"  onboardctl mail list                  all but those that were sent; --state unknown, failed, sent …\n"
		"  onboardctl mail resend 42:welcome     it did not arrive: to the mailer once more\n"
		"  onboardctl mail settle 42:welcome sent    it did: nothing more to do; or failed: leave it\n"
		"  --limit N                             so many at most (100)\n" },
	{ "pause", "CONSUMER [--why TEXT]", "all instances of a consumer stop taking events",
		ctl_pause,
		"  onboardctl pause mailer --why \"the mail host moves\"\n\n"
		"All instances on all hosts finish what they hold and take no more, within a few\n"
		"seconds, until `onboardctl resume`. Events wait in the queue; nothing is given back,\n"
		"so no event's attempts are spent. It outlasts restarts of daemons and broker.\n"
		"CONSUMER is one of:" CONSUMER_NAMES "\n" },
	{ "publish", "TYPE [OPTION…]", "test events, confirmed", ctl_publish, publish_help },
	{ "queues", "[CONSUMER] [--all] [--watch]", "depth, retries and consumers of each queue",
		ctl_queues,
		"  onboardctl queues               every queue of the topology\n"
		"  onboardctl queues mailer --all  with its retry queues one by one\n"
		"  onboardctl queues --watch       again every two seconds, with the rate of change\n"
		"  --rounds N                      as often, with --watch\n" },
	{ "rebuild", "cache | segments | events", "derive again from the source", ctl_rebuild,
		"  onboardctl rebuild cache        every profile in Redis, from PostgreSQL\n"
		"  onboardctl rebuild segments     every user in MongoDB, from PostgreSQL; segment and\n"
		"                                  scores stay, a user who is missing begins anew\n"
		"  onboardctl rebuild events       users' events in MongoDB, from the outbox\n"
		"  onboardctl rebuild cache --rate 2000/s --dry-run\n\n"
		"What is newer, or there already, stays. Killed, run it again: it goes on where it\n"
		"was; the place is kept in ~/.local/state/onboard.\n"
		"  --from CURSOR   begin there; 0 (cache) is the beginning\n"
		"  --state FILE    keep the place in this file\n"
		"  --rate N/s      at most so many a second\n"
		"  --dry-run       only say how many\n"
		"  --why TEXT      for the audit log\n" },
	{ "resume", "CONSUMER [--why TEXT]", "a paused consumer goes on", ctl_resume,
		"  onboardctl resume mailer\n\n"
		"Exit 3 when it is not paused.\n" },
	{ "trace", "EVENT_ID | --user ID", "each hop of an event, and where it stands now",
		ctl_trace,
		"  onboardctl trace 01a1fdd2-93f5-7769-9add-4779ba1235cf\n"
		"  onboardctl trace --user 42      the user's newest events\n"
		"  onboardctl trace ID --json      one object a hop\n\n"
		"Exit 3 when nothing knows of it.\n" },
	{ "top", "[--once]", "queues, outbox and daemons, each second", ctl_top,
		"  onboardctl top                  redrawn on a terminal; piped, one block a second\n"
		"  onboardctl top --once           one look, without rates; 69 when a server is away\n"
		"  onboardctl top --rounds 10 --json\n\n"
		"The daemons are those of this host whose admin listener answers.\n" },
	{ "topology", "declare | check | mend", "the broker's exchanges, queues and bindings",
		ctl_topology,
		"  onboardctl topology declare     make what is missing; never changes what is there\n"
		"  onboardctl topology check       what is missing or has other arguments\n"
		"  onboardctl topology mend        replaces what differs and keeps its messages\n"
		"  onboardctl topology mend --dry-run\n"
		"  onboardctl topology mend QUEUE  only this one; user.dlq only when it is named\n"
		"  --force                         also while something consumes: what that holds\n"
		"                                  may be handled twice, or lost if it dies meanwhile\n"
		"  --why TEXT                      for the audit log\n"
		"  --no-wait                       fail at once while `onboardctl dlq` is at work\n"
		"mend moves a queue's messages into QUEUE.mend, deletes it, declares it anew and\n"
		"moves them back. Killed at any point, run it again: it goes on. Pause the consumer\n"
		"first. Bindings that neither the table nor topology.file has are not made again.\n\n"
		"  --set topology.consumers=LIST   only the queues of these consumers\n" },
};

static void
print_help(void)
{
	puts("Usage: onboardctl [OPTION…] VERB [WORD…]\n"
	     "The operator's tool of the onboard pipeline.\n");
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		printf("  %-10s %-32s %s\n", verbs[i].name, verbs[i].arguments, verbs[i].summary);
	puts("\n"
	     "  --config FILE            the configuration; default /etc/onboard/onboard.conf\n"
	     "  --set SECTION.KEY=VALUE  one key; wins over environment and file\n"
	     "  --json                   one JSON object a line instead of a table\n"
	     "  --print-config           every key with its value and where that is from\n"
	     "  --help, --version        `onboardctl VERB --help` has examples\n\n"
	     "Exit status: 0 done, 1 failed, 2 usage, 3 nothing matched, 69 a server cannot be reached,\n"
	     "78 configuration.");
}

int
ctl_fail(const struct ctl *c, int code, const char *format, ...)
{
	va_list args;

	fflush(stdout);
	fprintf(stderr, "onboardctl%s%s: ", c->verb ? " " : "", c->verb ? c->verb : "");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return code;
}

int
ctl_fail_err(const struct ctl *c, const struct err *e)
{
	int code = e->kind == ERR_AWAY   ? CTL_AWAY
		: e->kind == ERR_MISSING ? CTL_NOTHING
					 : CTL_FAILED;

	return ctl_fail(c, code, "%s", e->text);
}

const char *
ctl_mark(const struct ctl *c, enum ctl_mark m)
{
	static const char *const plain[] = { "ok  ", "warn", "BAD " };
	static const char *const coloured[] = { "\033[32mok\033[0m  ", "\033[33mwarn\033[0m",
		"\033[31mBAD\033[0m " };

	return c->colour ? coloured[m] : plain[m];
}

void
ctl_finding(const struct ctl *c, enum ctl_mark m, const char *subject, const char *text,
	const char *fix)
{
	static const char *const states[] = { "ok", "warn", "bad" };
	struct buf line;

	if (!c->json) {
		printf("%s %-10s ", ctl_mark(c, m), subject);
		table_wrap(16, text);
		if (fix) {
			printf("%16s-> ", "");
			table_wrap(19, fix);
		}
	} else {
		buf_init(&line, 1 << 16);
		buf_printf(&line, "{\"state\":\"%s\",\"subject\":", states[m]);
		buf_add_json_string(&line, subject, strlen(subject));
		buf_add_text(&line, ",\"text\":");
		buf_add_json_string(&line, text, strlen(text));
		if (fix) {
			buf_add_text(&line, ",\"fix\":");
			buf_add_json_string(&line, fix, strlen(fix));
		}
		buf_add_text(&line, "}\n");
		fputs(buf_text(&line), stdout);
		buf_fini(&line);
	}
	fflush(stdout);
}

static const struct ctl_verb *
verb_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	return NULL;
}

/* --json, --help stand before or behind the verb's own words. */
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
		return ctl_describe(c, verbs, ARRAY_LEN(verbs), w.describe, argv + optind);
	if (w.version) {
		puts("onboardctl " ONBOARD_VERSION);
		return CTL_DONE;
	}
	if (w.help || (optind == argc && !w.print_config)) {
		print_help();
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
