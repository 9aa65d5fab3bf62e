/* SPDX-License-Identifier: MIT */
/*
 * onboard-mailer sends one welcome mail to each new user, by SMTP. However often
 * the event arrives and however many mailers run, mail_log keeps it to one: the
 * mailer claims a mail before it sends it, and settles it afterwards
 * (mailer_log.h). If nobody knows whether a mail arrived, a person decides.
 */
#include "mailer.h"

#include "base/log.h"
#include "base/rnd.h"

static const struct metric_def defs[] = {
	{ "onboard_mails_total", METRIC_COUNTER, "Mails by result.", { "result" } },
	{ "onboard_smtp_seconds", METRIC_HISTOGRAM, "Time to hand one mail to the server.",
		{ NULL } },
};

static int
mailer_check(const struct conf *conf, struct err *e)
{
	struct letters *l = letters_new(conf, e);

	letters_free(l);
	return l ? 0 : -1;
}

static int
mailer_open(struct consumer *c, void *state, struct err *e)
{
	static const char *const results[MAIL_RESULTS] = { "sent", "again", "failed", "unknown",
		"already", "gone", "test" };
	const struct conf *conf = consumer_conf(c);
	struct mailer *m = state;
	struct smtp_options o;

	must(pthread_mutex_init(&m->lock, NULL) == 0);
	buf_init(&m->message, LETTER_MAX);
	m->owner = (int)(1 + rnd_below(INT32_MAX - 1));
	m->metrics = metrics_new(defs, ARRAY_LEN(defs));
	for (size_t i = 0; i < MAIL_RESULTS; i++)
		m->cells[i] = metrics_cell(m->metrics, 0, results[i]);
	m->seconds = metrics_cell(m->metrics, 1);
	consumer_metrics(c, m->metrics);
	smtp_options_read(conf, &o);
	m->smtp = smtp_open(&o, e);
	if (!m->smtp)
		return -1;
	consumer_depends(c, smtp_link(m->smtp));
	m->bucket.rate = conf_int(conf, "mail", "rate");
	m->letters = letters_new(conf, e);
	return m->letters ? 0 : -1;
}

static void
mailer_close(void *state)
{
	struct mailer *m = state;

	if (!m->metrics)
		return;
	smtp_close(m->smtp);
	letters_free(m->letters);
	letters_free(m->next);
	metrics_free(m->metrics);
	buf_fini(&m->message);
	must(pthread_mutex_destroy(&m->lock) == 0);
}

static void
mailer_reload(void *state, const struct conf *now)
{
	struct err e = ERR_INIT;
	struct mailer *m = state;
	struct letters *l = letters_new(now, &e);

	if (!l) {
		log_error("the new mail templates are faulty; the old ones stay in use", LOG_E(&e));
		return;
	}
	must(pthread_mutex_lock(&m->lock) == 0);
	letters_free(m->next);
	m->next = l;
	m->next_rate = conf_int(now, "mail", "rate");
	must(pthread_mutex_unlock(&m->lock) == 0);
}

static int
mailer_probe(struct consumer *c, void *state, struct err *e)
{
	(void)c;
	return smtp_ping(((struct mailer *)state)->smtp, e);
}

static int
mailer_start(struct consumer *c, void *state, struct err *e)
{
	struct arena *mem = arena_new(4096, 1 << 20);
	struct mailer *m = state;
	int64_t unknown = 0;
	int rc = mail_log_sweep(consumer_sql(c), mem, m->owner, &unknown, e);

	arena_free(mem);
	if (rc == 0 && unknown > 0)
		log_warn(
			"mails of a mailer that was killed may have arrived: onboardctl mail list --state unknown",
			LOG_I("mails", unknown));
	return rc;
}

int
main(int argc, char **argv)
{
	static const struct handler mailer = { .name = "mailer",
		.summary = "Mails new users a welcome.",
		.needs = NEED_SQL,
		.batch_max = 32, /* even at a slow server they take minutes, not half an hour */
		.prefetch_max = 64,
		.state_size = sizeof(struct mailer),
		.check = mailer_check,
		.open = mailer_open,
		.reload = mailer_reload,
		.probe = mailer_probe,
		.start = mailer_start,
		.handle = mailer_handle,
		.stop = mailer_close };

	return consumer_main(argc, argv, &mailer);
}
