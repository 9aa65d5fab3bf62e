/* SPDX-License-Identifier: MIT */
#include "http/problem.h"

#include "base/json_out.h"

static const int by_kind[] = {
	[ERR_NONE] = 500,
	[ERR_AWAY] = 503,
	[ERR_LIMIT] = 503,
	[ERR_INVALID] = 400,
	[ERR_CONFLICT] = 409,
	[ERR_MISSING] = 404,
	[ERR_INTERNAL] = 500,
};

static const struct {
	int status;
	const char *title;
} titles[] = {
	{ 200, "OK" },
	{ 201, "Created" },
	{ 202, "Accepted" },
	{ 204, "No Content" },
	{ 304, "Not Modified" },
	{ 400, "Bad Request" },
	{ 401, "Unauthorized" },
	{ 403, "Forbidden" },
	{ 404, "Not Found" },
	{ 405, "Method Not Allowed" },
	{ 408, "Request Timeout" },
	{ 409, "Conflict" },
	{ 412, "Precondition Failed" },
	{ 413, "Content Too Large" },
	{ 415, "Unsupported Media Type" },
	{ 422, "Unprocessable Content" },
	{ 428, "Precondition Required" },
	{ 429, "Too Many Requests" },
	{ 500, "Internal Server Error" },
	{ 502, "Bad Gateway" },
	{ 503, "Service Unavailable" },
	{ 504, "Gateway Timeout" },
};

int
problem_status(enum err_kind kind)
{
	return (size_t)kind < ARRAY_LEN(by_kind) ? by_kind[kind] : 500;
}

const char *
problem_title(int status)
{
	for (size_t i = 0; i < ARRAY_LEN(titles); i++)
		if (titles[i].status == status)
			return titles[i].title;
	return "Unknown";
}

void
problem_write(struct buf *out, int status, const char *detail, const char *instance,
	const struct problem_field *errors, size_t count)
{
	struct json_out o;

	json_out_init(&o, out);
	json_out_object(&o, NULL);
	json_out_text(&o, "type", "about:blank");
	json_out_text(&o, "title", problem_title(status));
	json_out_i64(&o, "status", status);
	if (detail)
		json_out_text(&o, "detail", detail);
	if (instance)
		json_out_text(&o, "instance", instance);
	if (count > 0)
		json_out_list(&o, "errors");
	for (size_t i = 0; i < count; i++) {
		json_out_object(&o, NULL);
		json_out_text(&o, "field", errors[i].field);
		if (errors[i].reason)
			json_out_text(&o, "reason", errors[i].reason);
		json_out_end(&o);
	}
	if (count > 0)
		json_out_end(&o);
	json_out_end(&o);
}
