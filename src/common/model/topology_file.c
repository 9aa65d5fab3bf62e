/* SPDX-License-Identifier: MIT */
/*
 * Exchanges, queues and bindings of one's own, one a line:
 *
 *	exchange NAME direct|fanout|topic|headers
 *	queue    NAME [ARGUMENT=VALUE ...]
 *	bind     QUEUE EXCHANGE [KEY]
 *
 * All of them durable. A line that begins with # is a comment. A value is a
 * whole number, true, false, or text; "x-queue-type=quorum" stands where no
 * x-queue-type and no x-max-priority is given.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "model/topology_own.h"

#define FILE_MAX (256u << 10)
#define OBJECTS_MAX 1000
#define WORDS_MAX (TOPOLOGY_ARGS_MAX + 2)
#define FILE_DEFAULT "/etc/onboard/topology.conf"

const struct topology_object *topology_extra;
size_t topology_extra_count;

static struct arena *memory; /* of what was loaded last */

static bool
name_sane(const char *name)
{
	size_t n = strlen(name);

	return n >= 1 && n <= 200 && strncmp(name, "amq.", 4) != 0 &&
		strspn(name,
			"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-:") == n;
}

/* Taken are: the names of the table in topology.c, of locks and of pauses. */
static bool
name_ours(const char *name)
{
	if (strncmp(name, "onboard.", 8) == 0 || strncmp(name, "onboardctl.", 11) == 0 ||
		strcmp(name, TOPOLOGY_EVENTS) == 0 || strcmp(name, TOPOLOGY_DEAD) == 0 ||
		strcmp(name, TOPOLOGY_DEAD_QUEUE) == 0)
		return true;
	for (const struct consumer_row *c = consumer_rows; c->name; c++)
		if (strncmp(name, c->queue, strlen(c->queue)) == 0)
			return true;
	return false;
}

static int
argument_add(struct topology_object *o, char *word, struct err *e)
{
	char *equals = strchr(word, '='), *end;
	struct broker_field *f;
	long long n;

	if (!equals || equals == word || !equals[1])
		return err_set(e, ERR_INVALID, "\"%s\" is not ARGUMENT=VALUE", word);
	if (o->arg_count == TOPOLOGY_ARGS_MAX - 1) /* one place is for the type */
		return err_set(e, ERR_INVALID, "too many arguments");
	*equals = '\0';
	n = strtoll(equals + 1, &end, 10);
	f = &o->args[o->arg_count++];
	f->name = word;
	f->value = !*end                           ? broker_int(n)
		: strcmp(equals + 1, "true") == 0  ? broker_bool(true)
		: strcmp(equals + 1, "false") == 0 ? broker_bool(false)
						   : broker_text(equals + 1);
	return 0;
}

static int
queue_read(struct topology_object *o, char **words, size_t n, struct err *e)
{
	bool typed = false;

	o->step = STEP_QUEUE;
	for (size_t i = 2; i < n; i++) {
		if (argument_add(o, words[i], e))
			return -1;
		/* quorum queues have no priorities, so this one is classic */
		typed |= strcmp(o->args[o->arg_count - 1].name, "x-queue-type") == 0 ||
			strcmp(o->args[o->arg_count - 1].name, "x-max-priority") == 0;
	}
	if (!typed)
		o->args[o->arg_count++] =
			(struct broker_field){ "x-queue-type", broker_text("quorum") };
	return 0;
}

static int
exchange_read(struct topology_object *o, char **words, size_t n, struct err *e)
{
	static const char *const types[] = { "direct", "fanout", "topic", "headers" };

	o->step = STEP_EXCHANGE;
	for (size_t i = 0; n == 3 && i < ARRAY_LEN(types); i++)
		if (strcmp(words[2], types[i]) == 0)
			o->type = types[i];
	return o->type ? 0
		       : err_set(e, ERR_INVALID, "want: exchange NAME direct|fanout|topic|headers");
}

static int
line_read(struct topology_object *o, char *line, struct err *e)
{
	char *words[WORDS_MAX], *at = NULL;
	size_t n = 0;

	if (line[strspn(line, " \t\r")] == '#')
		return 0;
	for (char *w = strtok_r(line, " \t\r", &at); w; w = strtok_r(NULL, " \t\r", &at)) {
		if (n == WORDS_MAX)
			return err_set(e, ERR_INVALID, "too many words");
		words[n++] = w;
	}
	if (n == 0)
		return 0;
	if (n < 2 || !name_sane(words[1]))
		return err_set(e, ERR_INVALID,
			"the name needs 1 to 200 of letters, digits, \"_.-:\", and no amq. in front");
	o->name = words[1];
	if (strcmp(words[0], "bind") == 0) {
		o->step = STEP_BINDING;
		o->exchange = n > 2 ? words[2] : "";
		o->key = n == 4 ? words[3] : "";
		return (n == 3 || n == 4) && name_sane(words[2])
			? 1
			: err_set(e, ERR_INVALID, "want: bind QUEUE EXCHANGE [KEY]");
	}
	if (name_ours(o->name))
		return err_set(e, ERR_INVALID, "%s is onboard's own", o->name);
	if (strcmp(words[0], "queue") == 0)
		return queue_read(o, words, n, e) ? -1 : 1;
	if (strcmp(words[0], "exchange") == 0)
		return exchange_read(o, words, n, e) ? -1 : 1;
	return err_set(e, ERR_INVALID, "\"%s\" is none of exchange, queue, bind", words[0]);
}

static int
text_read(struct arena *mem, const char *path, const char *text, struct err *e)
{
	struct topology_object *list = arena_alloc(mem, OBJECTS_MAX * sizeof *list);
	char *copy = arena_strdup(mem, text), *next;
	size_t n = 0, number = 0;

	must(list && copy);
	for (char *line = copy; line; line = next) {
		int rc;

		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		number++;
		if (n == OBJECTS_MAX)
			return err_set(e, ERR_INVALID, "%s:%zu: over %d objects", path, number,
				OBJECTS_MAX);
		rc = line_read(&list[n], line, e);
		if (rc < 0)
			return err_wrap(e, "%s:%zu", path, number);
		n += (size_t)rc;
	}
	topology_extra = list;
	topology_extra_count = n;
	return 0;
}

int
topology_file_load(const char *path, struct err *e)
{
	struct arena *mem = arena_new(4096, 4 << 20);
	const char *text;

	if (!path && access(FILE_DEFAULT, F_OK) != 0) {
		arena_free(mem);
		return 0;
	}
	if (!path)
		path = FILE_DEFAULT;
	if (text_file_read(path, FILE_MAX, mem, &text, e) || text_read(mem, path, text, e)) {
		e->kind = ERR_INVALID;
		arena_free(mem);
		return -1;
	}
	arena_free(memory);
	memory = mem;
	return 0;
}

bool
topology_file_queue(const char *name)
{
	for (size_t i = 0; i < topology_extra_count; i++)
		if (topology_extra[i].step == STEP_QUEUE &&
			strcmp(topology_extra[i].name, name) == 0)
			return true;
	return false;
}

void
topology_file_forget(void)
{
	topology_extra = NULL;
	topology_extra_count = 0;
	arena_free(memory);
	memory = NULL;
}
