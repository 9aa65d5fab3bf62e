/* SPDX-License-Identifier: MIT */
/* MongoDB: what an error means, and which part of its text may be shown. */
#include "link/doc_own.h"

#include <stdio.h>
#include <string.h>

/* FerretDB answers "internal error" when its PostgreSQL is away. */
static bool
store_is_away(const char *m)
{
	static const char *const begins[] = { "terminating connection due to",
		"the database system is " };
	static const char *const why[] = { "failed to connect to", "unexpected EOF", "conn closed",
		"connection reset by peer", "broken pipe" };

	for (size_t i = 0; i < ARRAY_LEN(begins); i++)
		if (strncmp(m, begins[i], strlen(begins[i])) == 0)
			return true;
	/* only in FerretDB's own part of the message: a quoted document may hold the same words */
	m = strstr(m, "(documentdb.(*Pool)");
	for (size_t i = 0; m && i < ARRAY_LEN(why); i++)
		if (strstr(m, why[i]))
			return true;
	return false;
}

enum err_kind
doc_error_kind(int code, const char *message)
{
	static const struct {
		int code;
		enum err_kind kind;
	} kinds[] = {
		{ 2, ERR_INVALID },         /* BadValue */
		{ 6, ERR_AWAY },            /* HostUnreachable */
		{ 7, ERR_AWAY },            /* HostNotFound */
		{ 9, ERR_INVALID },         /* FailedToParse */
		{ 13, ERR_AWAY },           /* Unauthorized */
		{ 14, ERR_INVALID },        /* TypeMismatch */
		{ 15, ERR_INVALID },        /* Overflow */
		{ 18, ERR_AWAY },           /* AuthenticationFailed */
		{ 22, ERR_INVALID },        /* InvalidBSON */
		{ 24, ERR_AWAY },           /* LockTimeout */
		{ 26, ERR_MISSING },        /* NamespaceNotFound */
		{ 28, ERR_INVALID },        /* PathNotViable */
		{ 43, ERR_AWAY },           /* CursorNotFound */
		{ 46, ERR_AWAY },           /* LockBusy */
		{ 48, ERR_CONFLICT },       /* NamespaceExists */
		{ 50, ERR_AWAY },           /* MaxTimeMSExpired */
		{ 52, ERR_INVALID },        /* DollarPrefixedFieldName */
		{ 53, ERR_INVALID },        /* InvalidIdField */
		{ 54, ERR_INVALID },        /* NotSingleValueField */
		{ 56, ERR_INVALID },        /* EmptyFieldName */
		{ 57, ERR_INVALID },        /* DottedFieldName */
		{ 64, ERR_AWAY },           /* WriteConcernFailed */
		{ 66, ERR_INVALID },        /* ImmutableField */
		{ 73, ERR_INVALID },        /* InvalidNamespace */
		{ 79, ERR_AWAY },           /* UnknownReplWriteConcern */
		{ 85, ERR_CONFLICT },       /* IndexOptionsConflict */
		{ 86, ERR_CONFLICT },       /* IndexKeySpecsConflict */
		{ 89, ERR_AWAY },           /* NetworkTimeout */
		{ 91, ERR_AWAY },           /* ShutdownInProgress */
		{ 100, ERR_AWAY },          /* UnsatisfiableWriteConcern */
		{ 112, ERR_AWAY },          /* WriteConflict */
		{ 121, ERR_INVALID },       /* DocumentValidationFailure */
		{ 133, ERR_AWAY },          /* FailedToSatisfyReadPreference */
		{ 134, ERR_AWAY },          /* ReadConcernMajorityNotAvailableYet */
		{ 189, ERR_AWAY },          /* PrimarySteppedDown */
		{ 202, ERR_AWAY },          /* NetworkInterfaceExceededTimeLimit */
		{ 237, ERR_AWAY },          /* CursorKilled */
		{ 262, ERR_AWAY },          /* ExceededTimeLimit */
		{ 9001, ERR_AWAY },         /* SocketException */
		{ 10058, ERR_AWAY },        /* LegacyNotPrimary */
		{ 10107, ERR_AWAY },        /* NotWritablePrimary */
		{ 10334, ERR_INVALID },     /* BSONObjectTooLarge */
		{ 11000, ERR_CONFLICT },    /* DuplicateKey */
		{ 11001, ERR_CONFLICT },    /* DuplicateKey of an update */
		{ 11600, ERR_AWAY },        /* InterruptedAtShutdown */
		{ 11601, ERR_AWAY },        /* Interrupted */
		{ 11602, ERR_AWAY },        /* InterruptedDueToReplStateChange */
		{ 12582, ERR_CONFLICT },    /* DuplicateKey of a mongos */
		{ 13435, ERR_AWAY },        /* NotPrimaryNoSecondaryOk */
		{ 13436, ERR_AWAY },        /* NotPrimaryOrSecondary */
		{ 14031, ERR_AWAY },        /* OutOfDiskSpace */
		{ 16755, ERR_INVALID },     /* no valid place for a 2dsphere index */
		{ 302514205, ERR_INVALID }, /* the same from DocumentDB */
		{ 17280, ERR_INVALID },     /* KeyTooLong */
		{ 17419, ERR_INVALID },     /* too large after the update */
		{ 17420, ERR_INVALID },     /* the same */
	};

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (kinds[i].code == code)
			return kinds[i].kind;
	return code == 1 && store_is_away(message) ? ERR_AWAY : ERR_INTERNAL;
}

/* The place where a message begins to quote its input. */
static size_t
plain_part(const char *m)
{
	static const char *const marks[] = { " dup key", " on value", "found value" };
	size_t n = strcspn(m, "'`\"{[](\r\n");
	const char *p;

	for (size_t i = 0; i < ARRAY_LEN(marks); i++) {
		p = strstr(m, marks[i]);
		if (p && (size_t)(p - m) < n)
			n = (size_t)(p - m);
	}
	return n;
}

/* joe@example.com, mongodb://user:password@host, 10.0.0.1:27017 */
static bool
is_address(const char *word, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (word[i] == '@' ||
			(i > 0 && i + 1 < n && word[i] == ':' && word[i + 1] >= '0' &&
				word[i + 1] <= '9'))
			return true;
	return false;
}

/* Copies whole words except addresses. */
static size_t
copy_words(const char *m, size_t n, char *out, size_t size)
{
	size_t at = 0;

	for (size_t i = 0; i < n;) {
		size_t word = strcspn(m + i, " ");
		const char *from = m + i;

		if (word > n - i)
			word = n - i;
		i += word + 1;
		if (is_address(from, word)) {
			from = "***";
			word = 3;
		}
		if (at + word + 2 > size)
			break;
		if (at > 0)
			out[at++] = ' ';
		memcpy(out + at, from, word);
		at += word;
	}
	while (at > 0 && strchr(" :,;.", out[at - 1]))
		at--;
	out[at] = '\0';
	return at;
}

/* The driver's own messages quote first and give the reason last. Finds the reason. */
static const char *
reason(const char *m)
{
	const char *p = NULL;

	/* No suitable servers found: `…` expired: [WHY calling hello on 'host:port'] … */
	if (strncmp(m, "No suitable servers", 19) == 0 && (p = strchr(m, '[')))
		return p + 1;
	/* Failed to send "ping" command with database "onboard": WHY */
	if (strncmp(m, "Failed to send", 14) == 0 && (p = strstr(m, "\": ")))
		return p + 3;
	return m;
}

void
doc_error_text(const char *message, char *out, size_t size)
{
	const char *m = reason(message), *calling = strstr(m, " calling ");
	size_t n = plain_part(m);

	if (calling && (size_t)(calling - m) < n)
		n = (size_t)(calling - m);
	must(size > 16);
	/* the driver does not tell which of them it was */
	if (strncmp(m, "TLS handshake failed: certificate verify failed", 47) == 0)
		snprintf(out, size,
			"the server's certificate is not from an authority of tlsCAFile, for another host, or "
			"out of date");
	else if (copy_words(m, n, out, size) == 0)
		snprintf(out, size, "no reason given");
}

void
doc_error_index(const char *message, char *out, size_t size)
{
	static const struct {
		const char *before, *end;
	} forms[] = {
		{ " index: ", " " }, /* mongod: "… index: email_1 dup key: { email: "a" }" */
		{ ": Index '",
			"'" }, /* DocumentDB: "Duplicate key violation on …: Index 'email_1'" */
	};

	out[0] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
		const char *p = strstr(message, forms[i].before), *dollar;
		size_t n;

		if (!p)
			continue;
		p += strlen(forms[i].before);
		n = strcspn(p, forms[i].end);
		/* mongod before 4.2: "index: db.users.$email_1" */
		dollar = memmem(p, n, ".$", 2);
		if (dollar) {
			n -= (size_t)(dollar + 2 - p);
			p = dollar + 2;
		}
		snprintf(out, size, "%.*s", (int)n, p);
		return;
	}
}

int
doc_error_set(const bson_error_t *error, struct err *e)
{
	enum err_kind kind;
	char text[256], index[64];

	doc_error_text(error->message, text, sizeof text);
	switch (error->domain) {
	case MONGOC_ERROR_SERVER:
	case MONGOC_ERROR_WRITE_CONCERN:
		kind = doc_error_kind((int)error->code, error->message);
		if (kind == ERR_AWAY && error->code == 1)
			return err_set(e, kind, "the server's own store is away");
		if (error->domain == MONGOC_ERROR_WRITE_CONCERN)
			kind = ERR_AWAY; /* written, but not as safely as we asked: try again */
		doc_error_index(error->message, index, sizeof index);
		if (kind == ERR_CONFLICT && index[0])
			return err_set(e, kind, "duplicate key in index %s (code %u)", index,
				error->code);
		return err_set(e, kind, "%s (code %u)", text, error->code);
	case MONGOC_ERROR_BSON:
	case MONGOC_ERROR_COMMAND: /* the driver refuses its input */
		return err_set(e, ERR_INVALID, "%s", text);
	case MONGOC_ERROR_CLIENT:
	case MONGOC_ERROR_SCRAM:
	case MONGOC_ERROR_SASL: return err_set(e, ERR_AWAY, "logging in: %s", text);
	case MONGOC_ERROR_STREAM:
	case MONGOC_ERROR_PROTOCOL:
	case MONGOC_ERROR_POOL:
	case MONGOC_ERROR_SERVER_SELECTION: return err_set(e, ERR_AWAY, "%s", text);
	default:
		return err_set(e, ERR_INTERNAL, "%s (driver %u.%u)", text, error->domain,
			error->code);
	}
}
