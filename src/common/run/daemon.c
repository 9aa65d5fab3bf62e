/* SPDX-License-Identifier: MIT */
#include "run/daemon.h"

#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "link/link.h"
#include "run/daemon_own.h"
#include "base/loop.h"
#include "run/notify.h"

#define LOOK_MS 250 /* how soon a change of readiness is seen */
#define DRAIN_MS 10000
#define DRAIN_GRACE_MS 2000 /* what systemd gives beyond our own deadline */

struct loop *
daemon_loop(struct daemon *d)
{
	return d->loop;
}

const struct conf *
daemon_conf(const struct daemon *d)
{
	return d->conf;
}

void
daemon_depends(struct daemon *d, struct link *l, bool required)
{
	must(d->link_count < ARRAY_LEN(d->links));
	d->links[d->link_count++] = (struct daemon_link){ l, required };
}

void
daemon_metrics(struct daemon *d, struct metrics *m)
{
	must(d->metrics_count < ARRAY_LEN(d->metrics));
	d->metrics[d->metrics_count++] = m;
}

const char *
daemon_notice(struct daemon *d)
{
	return d->def->notice ? d->def->notice(d->state) : NULL;
}

enum daemon_state
daemon_look(struct daemon *d)
{
	bool degraded = false;

	if (d->draining)
		return DAEMON_DRAINING;
	for (size_t i = 0; i < d->link_count; i++) {
		bool up = link_usable(d->links[i].link);

		if (!up && d->links[i].required)
			return DAEMON_WAITING;
		degraded |= !up;
	}
	if (d->def->ready && !d->def->ready(d->state))
		return DAEMON_WAITING;
	return degraded || daemon_notice(d) ? DAEMON_DEGRADED : DAEMON_READY;
}

/* "waiting for postgres, redis"; "waiting: a store ..."; "degraded: paused ..." */
static void
status_text(struct daemon *d, enum daemon_state s, char *out, size_t size)
{
	static const char *const words[] = { "waiting", "degraded, without", "ready", "draining" };
	const char *notice = daemon_notice(d), *before = s == DAEMON_WAITING ? " for " : " ";
	int n = notice && s == DAEMON_DEGRADED ? snprintf(out, size, "degraded: %s", notice)
					       : snprintf(out, size, "%s", words[s]);

	if ((notice && s == DAEMON_DEGRADED) || (s != DAEMON_WAITING && s != DAEMON_DEGRADED))
		return;
	for (size_t i = 0; i < d->link_count && n >= 0 && (size_t)n < size; i++) {
		if (link_usable(d->links[i].link) || (s == DAEMON_WAITING && !d->links[i].required))
			continue;
		n += snprintf(out + n, size - (size_t)n, "%s%s", before, d->links[i].link->name);
		before = ", ";
	}
	if (s == DAEMON_WAITING && notice && strcmp(before, " for ") == 0)
		snprintf(out, size, "waiting: %s", notice);
}

/* Tells systemd and the log each change of state. Says READY=1 once, when it is first ready. */
static void
on_look(void *arg)
{
	struct daemon *d = arg;
	char text[256];
	enum daemon_state s;

	s = daemon_look(d);
	loop_timer_set(d->look, LOOK_MS);
	status_text(d, s, text, sizeof text);
	if (strcmp(text, d->status) == 0)
		return;
	snprintf(d->status, sizeof d->status, "%s", text);
	if (!d->said_ready && (s == DAEMON_READY || s == DAEMON_DEGRADED)) {
		d->said_ready = true;
		notify_send("READY=1\nSTATUS=%s", text);
	} else {
		notify_send("STATUS=%s", text);
	}
	log_info("state", LOG_S("state", text));
}

static void
on_watchdog(void *arg)
{
	struct daemon *d = arg;

	if (!d->def->alive || d->def->alive(d->state))
		notify_send("WATCHDOG=1");
	else
		log_error("no progress: the watchdog is not fed");
	loop_timer_set(d->watchdog, notify_watchdog_ms());
}

static void
on_deadline(void *arg)
{
	struct daemon *d = arg;

	log_error("not drained in time", LOG_I("seconds", DRAIN_MS / 1000));
	d->exit_code = 1;
	loop_stop(d->loop);
}

void
daemon_drained(struct daemon *d)
{
	must(d->draining);
	d->drained = true;
	loop_stop(d->loop);
}

static int
exit_code_of(const struct err *e)
{
	return e->kind == ERR_INVALID ? DAEMON_EXIT_CONF : 1;
}

void
daemon_fail(struct daemon *d, const struct err *e)
{
	log_error("cannot go on", LOG_E(e));
	d->exit_code = exit_code_of(e);
	loop_stop(d->loop);
}

static void
on_terminate(evutil_socket_t number, short what, void *arg)
{
	struct daemon *d = arg;

	(void)what;
	if (d->draining) {
		log_warn("second signal: ending at once", LOG_I("signal", number));
		_exit(1);
	}
	d->draining = true;
	log_info("draining", LOG_I("signal", number));
	notify_send("STOPPING=1\nSTATUS=draining\nEXTEND_TIMEOUT_USEC=%lld",
		(long long)(DRAIN_MS + DRAIN_GRACE_MS) * 1000);
	snprintf(d->status, sizeof d->status, "draining");
	loop_timer_set(d->deadline, DRAIN_MS);
	if (d->def->drain)
		d->def->drain(d->state);
	else
		daemon_drained(d);
}

/* Applies the log's keys; a reload (not first) changes the level alone. */
static void
log_apply(const struct conf *c, const char *name, bool first)
{
	enum log_level level = LOG_LEVEL_INFO;
	enum log_format format = LOG_FORMAT_AUTO;

	/* the table's choices are those words, so neither can fail */
	must(log_level_parse(conf_string(c, "log", "level"), &level, NULL) == 0);
	must(log_format_parse(conf_string(c, "log", "format"), &format, NULL) == 0);
	if (first)
		log_init(name, level, format);
	else
		log_level_set(level);
}

static void
on_reload(evutil_socket_t number, short what, void *arg)
{
	struct daemon *d = arg;
	struct conf *now, *old = d->conf;
	struct err e;

	(void)number;
	(void)what;
	if (d->draining)
		return;
	notify_send("RELOADING=1\nMONOTONIC_USEC=%lld", (long long)clock_mono_us());
	if (conf_load(conf_keys, d->args.config, d->args.overrides, &now, &e) < 0) {
		log_error("the new configuration is refused, the old one stays", LOG_E(&e));
	} else if (d->def->check && d->def->check(now, &e)) {
		log_error("the new configuration is refused, the old one stays", LOG_E(&e));
		conf_free(now);
	} else {
		d->conf = now;
		log_apply(now, d->def->name, false);
		if (d->def->reload)
			d->def->reload(d->state, now);
		conf_free(old);
		log_info("configuration reloaded");
	}
	/* for systemd READY=1 ends the reload, even while the start is still waiting */
	notify_send("READY=1\nSTATUS=%s", d->status);
}

static struct event *
on_signal(struct daemon *d, int number, event_callback_fn fn)
{
	struct event *ev = evsignal_new(loop_base(d->loop), number, fn, d);

	must(ev && event_add(ev, NULL) == 0);
	return ev;
}

static int
start_and_serve(struct daemon *d, struct err *e)
{
	if (daemon_admin_start(d, e) < 0 || d->def->start(d, d->state, e) < 0)
		return -1;
	loop_timer_set(d->look, 0);
	if (notify_watchdog_ms() > 0)
		loop_timer_set(d->watchdog, 0);
	log_info("started", LOG_I("instance", d->args.instance),
		LOG_S("config", conf_path(d->conf)));
	loop_run(d->loop);
	log_last_words();
	if (d->drained)
		log_info("drained");
	return 0;
}

static int
daemon_run(struct daemon *d)
{
	struct event *signals[3];
	struct err e = ERR_INIT;

	d->loop = loop_new();
	d->state = must_calloc(1, d->def->state_size);
	d->look = loop_timer_new(d->loop, on_look, d);
	d->watchdog = loop_timer_new(d->loop, on_watchdog, d);
	d->deadline = loop_timer_new(d->loop, on_deadline, d);
	signals[0] = on_signal(d, SIGTERM, on_terminate);
	signals[1] = on_signal(d, SIGINT, on_terminate);
	signals[2] = on_signal(d, SIGHUP, on_reload);
	if (start_and_serve(d, &e) < 0) {
		log_error("cannot start", LOG_E(&e));
		d->exit_code = exit_code_of(&e);
	}
	daemon_admin_stop(d); /* before stop: it shows what stop frees */
	if (d->def->stop)
		d->def->stop(d->state);
	for (size_t i = 0; i < ARRAY_LEN(signals); i++)
		event_free(signals[i]);
	loop_timer_free(d->deadline);
	loop_timer_free(d->watchdog);
	loop_timer_free(d->look);
	free(d->state);
	loop_free(d->loop);
	return d->exit_code;
}

int
daemon_main(int argc, char **argv, const struct daemon_def *def)
{
	struct daemon d = { .def = def, .args.instance = 1 };
	struct err e;
	int code;

	signal(SIGPIPE, SIG_IGN);
	daemon_args_parse(argc, argv, def, &d.args);
	if (conf_load(conf_keys, d.args.config, d.args.overrides, &d.conf, &e) < 0) {
		fprintf(stderr, "%s: %s\n", def->name, e.text);
		return DAEMON_EXIT_CONF;
	}
	if ((!d.args.print_config || d.args.check_config) && def->check && def->check(d.conf, &e)) {
		fprintf(stderr, "%s: %s\n", def->name, e.text);
		conf_free(d.conf);
		return DAEMON_EXIT_CONF;
	}
	if (d.args.print_config || d.args.check_config) {
		if (d.args.print_config)
			conf_print(d.conf, stdout);
		else
			puts("the configuration is sound");
		conf_free(d.conf);
		return fflush(stdout) == 0 && !ferror(stdout) ? 0 : 1;
	}
	log_apply(d.conf, def->name, true);
	notify_init();
	if (fault_init(getenv("ONBOARD_FAULTS"), &e) < 0) {
		log_error("cannot start", LOG_E(&e));
		code = DAEMON_EXIT_CONF;
	} else {
		code = daemon_run(&d);
	}
	conf_free(d.conf);
	return code;
}
