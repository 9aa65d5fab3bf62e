/* SPDX-License-Identifier: MIT */
#include "ctl/kit/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"

#define QUIET_MS 1000
#define EVERY_MS 200
#define BAR 20

void
progress_begin(struct progress *p, const char *what, uint64_t total)
{
	*p = (struct progress){ .what = what,
		.total = total,
		.began_ms = clock_mono_ms(),
		.on = isatty(STDERR_FILENO) };
}

static void
bar_draw(const struct progress *p, int64_t now)
{
	uint64_t rate = p->done * 1000 / (uint64_t)(now - p->began_ms);
	uint64_t done = p->done < p->total ? p->done : p->total;
	char bar[BAR + 1];

	if (p->total == 0) {
		fprintf(stderr, "\r%s %" PRIu64 ", %" PRIu64 "/s\033[K", p->what, p->done, rate);
		return;
	}
	for (unsigned i = 0; i < BAR; i++)
		bar[i] = i < done * BAR / p->total ? '#' : '.';
	bar[BAR] = '\0';
	fprintf(stderr, "\r%s [%s] %" PRIu64 "%% %" PRIu64 "/%" PRIu64 " %" PRIu64 "/s\033[K",
		p->what, bar, done * 100 / p->total, done, p->total, rate);
}

void
progress_set(struct progress *p, uint64_t done)
{
	int64_t now;

	p->done = done;
	if (!p->on)
		return;
	now = clock_mono_ms();
	if (now - p->began_ms < QUIET_MS || now - p->shown_ms < EVERY_MS)
		return;
	bar_draw(p, now);
	p->shown = true;
	p->shown_ms = now;
}

void
progress_hide(struct progress *p)
{
	if (p->shown)
		fputs("\r\033[K", stderr);
	p->shown = false;
}

void
progress_end(struct progress *p)
{
	progress_hide(p);
	p->on = false;
}
