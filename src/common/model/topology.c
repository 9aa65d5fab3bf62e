/* SPDX-License-Identifier: MIT */
#include "model/topology_own.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/must.h"

static const char *const exchanges[] = { TOPOLOGY_EVENTS, TOPOLOGY_DEAD }; /* topic, durable */
static const int64_t retry_ms[TOPOLOGY_RETRIES] = { 1000, 2000, 4000 };

void
topology_retry_name(const char *queue, unsigned n, char out[static 256])
{
	must(n >= 1 && n <= TOPOLOGY_RETRIES);
	snprintf(out, 256, "%s.retry.%u", queue, n);
}

int64_t
topology_retry_ms(unsigned n)
{
	must(n >= 1 && n <= TOPOLOGY_RETRIES);
	return retry_ms[n - 1];
}

/* The next name of a list, or false. */
static bool
list_next(const char **at, char name[static 64])
{
	size_t n;

	*at += strspn(*at, ", \t");
	n = strcspn(*at, ", \t");
	snprintf(name, 64, "%.*s", (int)n, *at);
	*at += n;
	return n > 0;
}

static bool
wanted(const char *only, const char *consumer)
{
	char name[64];
	bool any = false;

	while (only && list_next(&only, name)) {
		any = true;
		if (strcmp(name, consumer) == 0)
			return true;
	}
	return !any;
}

int
topology_list_check(const char *only_consumers, struct err *e)
{
	char name[64];

	while (only_consumers && list_next(&only_consumers, name))
		if (!consumer_row_find(name))
			return err_set(e, ERR_INVALID,
				"topology.consumers: no consumer is called %s", name);
	return 0;
}

static void
arg_add(struct topology_object *o, const char *name, struct broker_value v)
{
	must(o->arg_count < TOPOLOGY_ARGS_MAX);
	o->args[o->arg_count++] = (struct broker_field){ name, v };
}

/* dead_letter_key NULL: no dead-lettering. */
static struct topology_object
queue(const char *name, const char *dead_exchange, const char *dead_key)
{
	struct topology_object o = { .step = STEP_QUEUE, .name = name };

	arg_add(&o, "x-queue-type", broker_text("quorum"));
	if (!dead_key)
		return o;
	arg_add(&o, "x-dead-letter-exchange", broker_text(dead_exchange));
	arg_add(&o, "x-dead-letter-routing-key", broker_text(dead_key));
	arg_add(&o, "x-dead-letter-strategy", broker_text("at-least-once"));
	arg_add(&o, "x-overflow", broker_text("reject-publish"));
	return o;
}

static struct topology_object
binding(const char *name, const char *exchange, const char *key)
{
	return (struct topology_object){ .step = STEP_BINDING,
		.name = name,
		.exchange = exchange,
		.key = key };
}

static int
walk_consumer(struct broker *b, const struct consumer_row *c, topology_object_fn *fn, void *arg,
	struct err *e)
{
	struct topology_object o = queue(c->queue, TOPOLOGY_DEAD, TOPOLOGY_DEAD_KEY);
	char name[256];

	arg_add(&o, "x-delivery-limit", broker_int(20));
	if (fn(b, &o, arg, e))
		return -1;
	for (unsigned n = 1; n <= TOPOLOGY_RETRIES; n++) {
		topology_retry_name(c->queue, n, name);
		o = queue(name, "", c->queue);
		arg_add(&o, "x-message-ttl", broker_int(retry_ms[n - 1]));
		if (fn(b, &o, arg, e))
			return -1;
	}
	/* last: no event may come before the queues that it may have to go to are there */
	for (const char *const *key = c->keys; *key; key++) {
		o = binding(c->queue, TOPOLOGY_EVENTS, *key);
		if (fn(b, &o, arg, e))
			return -1;
	}
	return 0;
}

int
topology_each(struct broker *b, const char *only, topology_object_fn *fn, void *arg, struct err *e)
{
	struct topology_object o;

	for (size_t i = 0; i < ARRAY_LEN(exchanges); i++) {
		o = (struct topology_object){ .step = STEP_EXCHANGE, .name = exchanges[i] };
		if (fn(b, &o, arg, e))
			return -1;
	}
	o = queue(TOPOLOGY_DEAD_QUEUE, NULL, NULL);
	o.as_is = true;
	/* from 4.0 on a quorum queue has a limit of 20 of its own: looking would empty it */
	if (broker_server_at_least(b, 4, 0))
		arg_add(&o, "x-delivery-limit", broker_int(-1));
	if (fn(b, &o, arg, e))
		return -1;
	o = binding(TOPOLOGY_DEAD_QUEUE, TOPOLOGY_DEAD, TOPOLOGY_DEAD_KEY);
	if (fn(b, &o, arg, e))
		return -1;
	for (const struct consumer_row *c = consumer_rows; c->name; c++)
		if (wanted(only, c->name) && walk_consumer(b, c, fn, arg, e))
			return -1;
	for (enum topology_step s = STEP_EXCHANGE; s <= STEP_BINDING; s++)
		for (size_t i = 0; i < topology_extra_count; i++)
			if (topology_extra[i].step == s && fn(b, &topology_extra[i], arg, e))
				return -1;
	return 0;
}

int
topology_declare_object(struct broker *b, const struct topology_object *o, bool passive,
	struct err *e)
{
	struct broker_queue q = { .name = o->name,
		.passive = passive,
		.durable = true,
		.args = o->args,
		.arg_count = passive ? 0 : o->arg_count };
	char text[sizeof e->text];
	struct err why = ERR_INIT;
	int rc;

	if (o->step == STEP_EXCHANGE)
		rc = broker_exchange_declare(b, o->name, o->type ? o->type : "topic", passive, true,
			&why);
	else if (o->step == STEP_QUEUE)
		rc = broker_queue_declare(b, &q, NULL, &why);
	else
		rc = broker_queue_bind(b, o->name, o->exchange, o->key, &why);
	if (rc == 0)
		return 0;
	if (why.kind == ERR_CONFLICT && topology_explain(why.text, text, sizeof text))
		return err_set(e, ERR_CONFLICT, "%s", text);
	if (why.kind == ERR_AWAY)
		return err_set(e, ERR_AWAY, "%s", why.text);
	return err_set(e, why.kind, "%s '%s' was refused: %s",
		o->step == STEP_EXCHANGE ? "exchange" : "queue", o->name, why.text);
}

static int
declare_one(struct broker *b, const struct topology_object *o, void *arg, struct err *e)
{
	struct err *first = arg, why = ERR_INIT;

	if (topology_declare_object(b, o, false, &why) == 0)
		return 0;
	if (why.kind == ERR_AWAY)
		return err_set(e, ERR_AWAY, "%s", why.text);
	if (o->as_is && why.kind == ERR_CONFLICT) {
		log_warn("queue used as it is", LOG_S("queue", o->name), LOG_S("why", why.text));
		return 0;
	}
	if (first->kind == ERR_NONE)
		*first = why;
	return 0;
}

int
topology_declare(struct broker *b, const char *only_consumers, struct err *e)
{
	struct err first = ERR_INIT;

	if (topology_list_check(only_consumers, e) ||
		topology_each(b, only_consumers, declare_one, &first, e))
		return -1;
	return first.kind == ERR_NONE ? 0 : err_set(e, first.kind, "%s", first.text);
}

struct check {
	topology_fault_fn *tell;
	void *arg;
	size_t faults;
};

static int
check_one(struct broker *b, const struct topology_object *o, void *arg, struct err *e)
{
	static const enum topology_fault faults[] = { [ERR_MISSING] = TOPOLOGY_MISSING,
		[ERR_CONFLICT] = TOPOLOGY_DIFFERS,
		[ERR_INTERNAL] = TOPOLOGY_UNKNOWN };
	struct check *c = arg;
	struct err why = ERR_INIT;
	enum topology_fault fault;
	char text[sizeof why.text];

	/* first whether it is there: declaring would make it */
	if (o->step != STEP_BINDING && topology_declare_object(b, o, true, &why) &&
		why.kind == ERR_AWAY)
		return err_set(e, ERR_AWAY, "%s", why.text);
	if (why.kind == ERR_NONE && topology_declare_object(b, o, false, &why) == 0)
		return 0;
	if (why.kind == ERR_AWAY)
		return err_set(e, ERR_AWAY, "%s", why.text);
	/* a binding between what was told to be missing is no fault of its own */
	if (o->step == STEP_BINDING && why.kind == ERR_MISSING)
		return 0;
	fault = o->as_is && why.kind == ERR_CONFLICT ? TOPOLOGY_AS_IS
		: why.kind < ARRAY_LEN(faults)       ? faults[why.kind]
						     : TOPOLOGY_UNKNOWN;
	c->faults += fault != TOPOLOGY_AS_IS;
	if (fault == TOPOLOGY_MISSING)
		snprintf(text, sizeof text,
			"%s '%s' is missing; `onboardctl topology declare` makes it",
			o->step == STEP_EXCHANGE ? "exchange" : "queue", o->name);
	else
		snprintf(text, sizeof text, "%s%.480s",
			fault == TOPOLOGY_AS_IS ? "used as it is: " : "", why.text);
	if (c->tell)
		c->tell(c->arg, fault, o->name, text);
	return 0;
}

int
topology_check(struct broker *b, const char *only_consumers, topology_fault_fn *tell, void *arg,
	size_t *faults, struct err *e)
{
	struct check c = { tell, arg, 0 };

	if (topology_list_check(only_consumers, e) ||
		topology_each(b, only_consumers, check_one, &c, e))
		return -1;
	if (faults)
		*faults = c.faults;
	return 0;
}
