/* SPDX-License-Identifier: MIT */
/* Every verb, with its help. The manual and the completion are made from this table too. */
#include "ctl/verbs.h"

#include "model/consumers.h"

static const char dlq_help[] =
	"  onboardctl dlq list --consumer mailer --since 2h\n"
	"  onboardctl dlq list --error 'timeout|refused' --limit 20   the oldest 20\n"
	"  onboardctl dlq stats                    how many of what kind; errors without their ids\n"
	"  onboardctl dlq show ID                  body, headers, attempts, what to do\n"
	"  onboardctl dlq replay ID…               back to the consumer that failed, and no other\n"
	"  onboardctl dlq replay --consumer mailer --dry-run --plan FILE\n"
	"  onboardctl dlq replay --apply FILE      exactly those of the plan\n"
	"  onboardctl dlq replay --all --canary --why 'fixed in 1.4'\n"
	"  onboardctl dlq replay ID --edit         mend its body in $EDITOR; gets a new id\n"
	"  onboardctl dlq export FILE              bodies, headers, properties, byte for byte\n"
	"  onboardctl dlq import FILE              into the DLQ again\n"
	"  onboardctl dlq purge --class permanent --yes    removes them, and keeps a copy\n"
	"\n"
	"An ID is an entry's (`list` shows it; its first 8 characters or more do where no\n"
	"other begins so) or an event's: that means all its entries.\n"
	"\n"
	"Filters:\n"
	"  --consumer NAME   --class permanent|exhausted|poison   --type user.created\n"
	"  --error REGEX     extended regular expression    --user ID\n"
	"  --since, --until  2h, 3d (ago), 2026-11-20, 2026-11-20T12:00:00Z\n"
	"  --limit N         the N that failed first\n"
	"Replay:\n"
	"  --all             every entry\n"
	"  --dry-run         says what it would do      --plan FILE  writes the ids too\n"
	"  --rate N/s        no faster                  --why TEXT   for the audit log\n"
	"  --canary          1, 10, 100 …; stops when they come back dead\n"
	"  --canary-wait S   seconds between the steps, 10\n"
	"  --force           also entries of analytics that are over 90 days old\n"
	"Purge:\n"
	"  --yes             removes the entries         --to FILE    where the copy goes;\n"
	"                    without it: ~/.local/state/onboard, or $XDG_STATE_HOME/onboard\n"
	"One works at a time: a second waits. --no-wait: it fails at once instead.\n";

static const char publish_help[] =
	"  onboardctl publish user.created                  one, with a made-up user\n"
	"  onboardctl publish user.created --count 1000 --rate 100/s\n"
	"  onboardctl publish user.purchase --user-id 42 --payload '{\"metadata\":{\"price\":9.5}}'\n"
	"  onboardctl publish user.login --payload @file    or - for standard input\n"
	"  onboardctl publish user.created --raw broken.bin the file's bytes as the body\n"
	"  onboardctl publish user.created --exchange \"\" --routing-key user_mail_queue\n"
	"\n"
	"  --user-id N, --username U, --email E   what is not given is made up; made-up user\n"
	"                    ids begin at 8000000000000000\n"
	"  --payload JSON    wins over what would be made up\n"
	"  --exchange X      default user_events        --routing-key K  default TYPE\n"
	"  --priority N      0 to 255                   --count N, --rate N/s\n"
	"Prints the ids once the broker has confirmed them; 1 when no queue took one.\n"
	"They carry the header x-test: 1; the mailer sends nothing for them.\n";

const struct ctl_verb ctl_verbs[] = {
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
	{ 0 },
};
