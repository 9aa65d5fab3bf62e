/* SPDX-License-Identifier: MIT */
#include "http/problem.h"

#include <string.h>

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

static void
member(struct buf *out, const char *name, const char *text)
{
	if (!text)
		return;
	buf_add_char(out, ',');
	buf_add_json_string(out, name, strlen(name));
	buf_add_char(out, ':');
	buf_add_json_string(out, text, strlen(text));
}

void
problem_write(struct buf *out, int status, const char *detail, const char *instance,
	const struct problem_field *errors, size_t count)
{
	buf_add_text(out, "{\"type\":\"about:blank\"");
	member(out, "title", problem_title(status));
	buf_add_text(out, ",\"status\":");
	buf_add_i64(out, status);
	member(out, "detail", detail);
	member(out, "instance", instance);
	for (size_t i = 0; i < count; i++) {
		buf_add_text(out, i ? ",{\"field\":" : ",\"errors\":[{\"field\":");
		buf_add_json_string(out, errors[i].field, strlen(errors[i].field));
		member(out, "reason", errors[i].reason);
		buf_add_char(out, '}');
	}
	buf_add_text(out, count ? "]}" : "}");
}
