/* SPDX-License-Identifier: MIT */
/*
 * An HTTP daemon that needs no server, as a gateway: routes, and neither
 * database nor outbox. It takes the place of onboard-api.
 */
#include "base/arena.h"
#include "base/buf.h"
#include "run/service.h"

struct bare {
	int asked;
};

static void
count_get(void *arg, struct http_request *r)
{
	struct bare *b = arg;
	struct buf body;

	buf_init(&body, 64);
	buf_printf(&body, "{\"asked\":%d}", ++b->asked);
	http_answer_json(r, 200, &body);
	buf_fini(&body);
}

static const struct http_route routes[] = {
	{ "GET", "/count", count_get, 0 },
	{ 0 },
};

int
main(int argc, char **argv)
{
	static const struct service_def def = { .name = "api",
		.summary = "Counts its requests.",
		.routes = routes,
		.state_size = sizeof(struct bare) };

	return service_main(argc, argv, &def);
}
