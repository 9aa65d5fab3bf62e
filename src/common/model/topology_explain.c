/* SPDX-License-Identifier: MIT */
/*
 * A refused declaration in words for someone who has to mend it. RabbitMQ says
 *	PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue 'q' in vhost
 *	'/': received the value '2000' of type 'long' but current is none
 * and older ones "received '2000' but current is '1000'".
 */
#include <stdio.h>
#include <string.h>

#include "model/topology.h"

struct piece {
	const char *text;
	int length;
};

/* What stands between quotes after what; the end of it in *at. A name may hold a quote itself. */
static bool
quoted(const char **at, const char *before, const char *after, struct piece *out)
{
	const char *p = strstr(*at, before), *end;

	if (!p)
		return false;
	p += strlen(before);
	end = strstr(p, after);
	if (!end)
		return false;
	*out = (struct piece){ p, (int)(end - p) };
	*at = end;
	return true;
}

/*
 * "none", "'1000'" or "the value '1000' of type 'long'"; of words that the broker cut at 255
 * bytes what is there. An empty one shows its quotes.
 */
static struct piece
value(const char *text, size_t length)
{
	const char *from = memchr(text, '\'', length), *to;

	if (!from)
		return (struct piece){ "none", 4 };
	from++;
	to = memmem(from, length - (size_t)(from - text), "' of type '", 11);
	if (!to)
		to = memrchr(from, '\'', length - (size_t)(from - text));
	if (!to)
		to = text + length; /* the broker cuts at 255 bytes and says "..." */
	return (struct piece){ from, (int)(to - from) };
}

bool
topology_explain(const char *words, char *out, size_t size)
{
	static const char but[] = " but current is ";
	struct piece arg, name, vhost, now, want;
	const char *at = words, *middle;
	bool queue;

	if (!quoted(&at, "inequivalent arg '", "' for ", &arg))
		return false;
	queue = strncmp(at, "' for queue '", 13) == 0;
	if (!quoted(&at, queue ? "' for queue '" : "' for exchange '", "' in vhost '", &name) ||
		!quoted(&at, "' in vhost '", "': received ", &vhost))
		return false;
	at += strlen("': received ");
	middle = strstr(at, but);
	if (!middle)
		return false;
	want = value(at, (size_t)(middle - at));
	middle += strlen(but);
	now = value(middle, strlen(middle));
	snprintf(out, size, "%s '%.*s' exists with %.*s %.*s where %.*s is wanted: %s",
		queue ? "queue" : "exchange", name.length, name.text, arg.length, arg.text,
		now.length, now.text, want.length, want.text,
		queue ? "`onboardctl topology mend` replaces it and keeps its messages"
		      : "delete it once it is unused, then `onboardctl topology declare`");
	return true;
}
