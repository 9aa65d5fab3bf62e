/* SPDX-License-Identifier: MIT */
#include "link/smtp.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/url.h"

#define CONNECT_MS 2000
#define TOTAL_MS 5000
#define ADDRESS_MAX 320
#define FRESH_MS 15000 /* some servers count the NOOPs */

/* How far the current transfer has come, by the lines of the protocol. */
enum step {
	STEP_CONNECT, /* greeting, EHLO, TLS, login */
	STEP_MAIL,
	STEP_RCPT,
	STEP_DATA,
	STEP_BODY, /* `whole`: libcurl has all of it */
};

struct smtp {
	CURL *curl;
	struct link link;
	struct arena *mem;
	struct url url;
	enum smtp_tls tls;
	bool own_ca;
	int64_t total_ms;
	int64_t due_ms;   /* when the next try may begin */
	int64_t heard_ms; /* the time of the server's last line */
	curl_socket_t fd; /* the newest connection */
	char error[CURL_ERROR_SIZE];

	/* the current transfer */
	const char *message;
	size_t left;
	enum step step;
	bool whole;        /* libcurl has the whole message */
	bool over;         /* QUIT: later lines do not answer the mail */
	int code;          /* of the last answer */
	char enhanced[12]; /* of the last answer: "5.1.1", or "" */
	bool answered;     /* the server has answered this step; for BODY: after it was whole */
};

/* ---- libcurl's callbacks ---- */

static size_t
on_read(char *to, size_t size, size_t count, void *arg)
{
	struct smtp *s = arg;
	size_t n = size * count < s->left ? size * count : s->left;

	s->step = STEP_BODY;
	memcpy(to, s->message, n);
	s->message += n;
	s->left -= n;
	if (s->left == 0 && !s->whole) {
		s->whole = true;
		s->answered = false;
	}
	return n;
}

/* Reads the "5.1.1" after the code. */
static void
enhanced_take(struct smtp *s, const char *line, size_t length)
{
	size_t n = 0;

	while (n < length && n < sizeof s->enhanced - 1 && strchr("0123456789.", line[n]))
		n++;
	if (n >= 5 && line[1] == '.' && memchr(line + 2, '.', n - 2)) {
		memcpy(s->enhanced, line, n);
		s->enhanced[n] = '\0';
	}
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static void
line_in(struct smtp *s, const char *line, size_t length)
{
	if (s->over || length < 3 || !is_digit(line[0]) || !is_digit(line[1]) || !is_digit(line[2]))
		return;
	s->code = (line[0] - '0') * 100 + (line[1] - '0') * 10 + line[2] - '0';
	s->enhanced[0] = '\0';
	if (length > 4)
		enhanced_take(s, line + 4, length - 4);
	s->answered = true;
	s->heard_ms = clock_mono_ms();
}

static void
line_out(struct smtp *s, const char *line, size_t length)
{
	static const struct {
		const char *verb;
		enum step step;
	} verbs[] = { { "MAIL ", STEP_MAIL }, { "RCPT ", STEP_RCPT }, { "DATA", STEP_DATA } };

	s->over |= length >= 4 && strncasecmp(line, "QUIT", 4) == 0;
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		if (length >= strlen(verbs[i].verb) &&
			strncasecmp(line, verbs[i].verb, strlen(verbs[i].verb)) == 0) {
			s->step = verbs[i].step;
			s->answered = false;
		}
}

/* libcurl's debug function: reads the protocol's lines and prints nothing. */
static int
on_debug(CURL *curl, curl_infotype type, char *data, size_t size, void *arg)
{
	(void)curl;
	if (type == CURLINFO_HEADER_IN)
		line_in(arg, data, size);
	else if (type == CURLINFO_HEADER_OUT)
		line_out(arg, data, size);
	return 0;
}

static size_t
on_write(char *data, size_t size, size_t count, void *arg)
{
	(void)data;
	(void)arg;
	return size * count;
}

static int
on_socket(void *arg, curl_socket_t fd, curlsocktype purpose)
{
	struct smtp *s = arg;

	(void)purpose;
	s->fd = fd;
	link_socket_set(fd);
	return CURL_SOCKOPT_OK;
}

static int
on_socket_close(void *arg, curl_socket_t fd)
{
	struct smtp *s = arg;

	if (s->fd == fd)
		s->fd = CURL_SOCKET_BAD;
	return close(fd);
}

/* ---- opening ---- */

static bool
is_loopback(const char *host)
{
	struct in_addr v4;

	/* a host name may also begin with 127. */
	return strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0 ||
		(strncmp(host, "127.", 4) == 0 && inet_pton(AF_INET, host, &v4) == 1);
}

static void
tls_set(struct smtp *s, const struct smtp_options *o)
{
	bool try = o->tls == SMTP_TLS_TRY && !(s->url.user && !is_loopback(s->url.host));
	long use = o->tls == SMTP_TLS_OFF ? CURLUSESSL_NONE : try ? CURLUSESSL_TRY : CURLUSESSL_ALL;
	bool check = s->url.tls || use == CURLUSESSL_ALL;

	curl_easy_setopt(s->curl, CURLOPT_USE_SSL, use);
	curl_easy_setopt(s->curl, CURLOPT_SSL_VERIFYPEER, check ? 1L : 0L);
	curl_easy_setopt(s->curl, CURLOPT_SSL_VERIFYHOST, check ? 2L : 0L);
	s->tls = o->tls;
	s->own_ca = o->ca_file != NULL;
	if (o->ca_file) {
		curl_easy_setopt(s->curl, CURLOPT_CAINFO, o->ca_file);
		/* otherwise libcurl trusts the system's authorities as well */
		curl_easy_setopt(s->curl, CURLOPT_CAPATH, NULL);
	}
#if LIBCURL_VERSION_NUM >= 0x075700
	/* otherwise a change of the file is noticed a day later */
	curl_easy_setopt(s->curl, CURLOPT_CA_CACHE_TIMEOUT, 0L);
#endif
}

static void
login_set(struct smtp *s, const struct smtp_options *o)
{
	const char *password = o->password ? o->password : s->url.password;

	if (!s->url.user)
		return;
	curl_easy_setopt(s->curl, CURLOPT_USERNAME, s->url.user);
	curl_easy_setopt(s->curl, CURLOPT_PASSWORD, password ? password : "");
}

static int
address_set(struct smtp *s, struct err *e)
{
	bool v6 = strchr(s->url.host, ':') != NULL;
	char *text = arena_printf(s->mem, "%s://%s%s%s:%u/", s->url.scheme, v6 ? "[" : "",
		s->url.host, v6 ? "]" : "", (unsigned)s->url.port);

	if (!text || curl_easy_setopt(s->curl, CURLOPT_URL, text) != CURLE_OK)
		return err_set(e, ERR_INVALID, "smtp.url is not usable");
	return 0;
}

static void
always_set(struct smtp *s, const struct smtp_options *o)
{
	CURL *c = s->curl;

	curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(c, CURLOPT_PROXY, ""); /* no proxy from the environment */
	curl_easy_setopt(c, CURLOPT_ERRORBUFFER, s->error);
	curl_easy_setopt(c, CURLOPT_VERBOSE, 1L); /* so that the debug function gets the lines */
	curl_easy_setopt(c, CURLOPT_DEBUGFUNCTION, on_debug);
	curl_easy_setopt(c, CURLOPT_DEBUGDATA, s);
	curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_write);
	curl_easy_setopt(c, CURLOPT_READFUNCTION, on_read);
	curl_easy_setopt(c, CURLOPT_READDATA, s);
	curl_easy_setopt(c, CURLOPT_SOCKOPTFUNCTION, on_socket);
	curl_easy_setopt(c, CURLOPT_SOCKOPTDATA, s);
	curl_easy_setopt(c, CURLOPT_CLOSESOCKETFUNCTION, on_socket_close);
	curl_easy_setopt(c, CURLOPT_CLOSESOCKETDATA, s);
	curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS,
		(long)(o->connect_ms ? o->connect_ms : CONNECT_MS));
	curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)s->total_ms);
	/* for QUIT on a frozen server */
	curl_easy_setopt(c, CURLOPT_SERVER_RESPONSE_TIMEOUT, (long)(s->total_ms + 999) / 1000);
}

void
smtp_options_read(const struct conf *c, struct smtp_options *out)
{
	const char *tls = conf_string(c, "smtp", "starttls");

	*out = (struct smtp_options){ .url = conf_string(c, "smtp", "url"),
		.password = conf_string(c, "smtp", "password"),
		.ca_file = conf_string(c, "smtp", "ca_file"),
		.tls = strcmp(tls, "off") == 0    ? SMTP_TLS_OFF
			: strcmp(tls, "try") == 0 ? SMTP_TLS_TRY
						  : SMTP_TLS_REQUIRED,
		.connect_ms = conf_int(c, "smtp", "connect_timeout"),
		.total_ms = conf_int(c, "smtp", "timeout") };
}

struct smtp *
smtp_open(const struct smtp_options *o, struct err *e)
{
	struct smtp *s = must_calloc(1, sizeof *s);

	must(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
	link_init(&s->link, "smtp");
	s->mem = arena_new(4096, 1 << 16);
	s->fd = CURL_SOCKET_BAD;
	s->total_ms = o->total_ms ? o->total_ms : TOTAL_MS;
	s->curl = curl_easy_init();
	must(s->curl);
	if (url_parse(URL_SMTP, o->url, s->mem, &s->url, e) || address_set(s, e)) {
		smtp_close(s);
		return NULL;
	}
	always_set(s, o);
	tls_set(s, o);
	login_set(s, o);
	return s;
}

void
smtp_close(struct smtp *s)
{
	if (!s)
		return;
	/* libcurl's QUIT waits up to two minutes for a frozen server */
	if (s->fd != CURL_SOCKET_BAD)
		(void)shutdown(s->fd, SHUT_RDWR);
	curl_easy_cleanup(s->curl);
	arena_free(s->mem);
	link_fini(&s->link);
	free(s);
	curl_global_cleanup();
}

struct link *
smtp_link(struct smtp *s)
{
	return &s->link;
}

/* ---- transfers ---- */

static CURLcode
transfer_run(struct smtp *s)
{
	s->step = STEP_CONNECT;
	s->whole = s->answered = s->over = false;
	s->code = 0;
	s->enhanced[0] = s->error[0] = '\0';
	return curl_easy_perform(s->curl);
}

static void
down(struct smtp *s, const char *why)
{
	link_state_set(&s->link, LINK_DOWN, why);
	s->due_ms = clock_mono_ms() + link_wait_ms(&s->link);
}

static void
up(struct smtp *s)
{
	if (link_usable(&s->link))
		return;
	link_state_set(&s->link, LINK_CONNECTING, NULL);
	link_state_set(&s->link, LINK_UP, NULL);
}

/* The fault of the server's certificate, from libcurl's and OpenSSL's messages. */
static void
why_certificate(const struct smtp *s, const char *server, const char *text, char *out, size_t size)
{
	const char *words = strstr(text, "problem: ");

	if (strstr(text, "expired"))
		snprintf(out, size,
			"the certificate of %s, or its authority's, has expired: renew it", server);
	else if (strstr(text, "not yet valid"))
		snprintf(out, size, "the certificate of %s is not valid yet: compare the clocks",
			server);
	else if (strstr(text, "target"))
		snprintf(out, size,
			"the certificate of %s is for another host: smtp.url must say the host that it names",
			server);
	else if (!strstr(text, "issuer") && !strstr(text, "self-signed") &&
		!strstr(text, "self signed"))
		snprintf(out, size, "the certificate of %s is refused: %.60s", server,
			words ? words + strlen("problem: ") : text);
	else if (s->own_ca)
		snprintf(out, size,
			"the certificate of %s is not from an authority of smtp.ca_file: add its own there",
			server);
	else
		snprintf(out, size,
			"the certificate of %s is not from an authority of the system: name a file in smtp.ca_file",
			server);
}

/* Why TLS failed. False: the fault is not about TLS. */
static bool
why_no_tls(const struct smtp *s, CURLcode rc, const char *text, char *out, size_t size)
{
	char server[80];

	snprintf(server, sizeof server, "%.60s:%u", s->url.host, (unsigned)s->url.port);
	if (rc == CURLE_PEER_FAILED_VERIFICATION)
		why_certificate(s, server, text, out, size);
	else if (rc == CURLE_SSL_CACERT_BADFILE)
		snprintf(out, size, "%s cannot be read, or holds no certificate",
			s->own_ca ? "smtp.ca_file" : "smtp.ca_file is not set, and the system's");
	else if (rc == CURLE_USE_SSL_FAILED && s->code >= 400)
		snprintf(out, size, "%s answered STARTTLS with %d%s%s, and TLS is asked for",
			server, s->code, *s->enhanced ? " " : "", s->enhanced);
	else if (rc == CURLE_USE_SSL_FAILED)
		snprintf(out, size,
			"%s offers no STARTTLS, which %s; TLS from the start is smtps://", server,
			s->tls == SMTP_TLS_TRY ? "a login there needs"
					       : "smtp.starttls = required asks for");
	else if (rc == CURLE_SSL_CONNECT_ERROR && strstr(text, "wrong version number"))
		snprintf(out, size,
			"%s speaks no TLS from the start: smtp:// with smtp.starttls may do",
			server);
	else
		return false;
	return true;
}

/* Why no connection takes mail. Here libcurl's texts name only hosts and codes. */
static void
why_away(const struct smtp *s, CURLcode rc, char *out, size_t size)
{
	const char *text = *s->error ? s->error : curl_easy_strerror(rc);

	if (why_no_tls(s, rc, text, out, size))
		return;
	if (rc == CURLE_LOGIN_DENIED)
		snprintf(out, size, "the login was refused (%d): see smtp.url and smtp.password",
			s->code);
	else if (rc == CURLE_OPERATION_TIMEDOUT)
		snprintf(out, size, "no answer in time");
	else if (s->code >= 400)
		snprintf(out, size, "the server takes no mail now: %d%s%s", s->code,
			*s->enhanced ? " " : "", s->enhanced);
	else
		snprintf(out, size, "%.120s", text);
}

/* The connection is open, and the server has neither closed it nor sent anything. */
static bool
quiet(const struct smtp *s)
{
	struct pollfd p = { .fd = s->fd, .events = POLLIN };

	return s->fd != CURL_SOCKET_BAD && poll(&p, 1, 0) == 0;
}

int
smtp_ping(struct smtp *s, struct err *e)
{
	struct link_view v;
	char why[256];
	CURLcode rc;

	if (link_usable(&s->link) && clock_mono_ms() - s->heard_ms < FRESH_MS && quiet(s))
		return 0;
	if (clock_mono_ms() < s->due_ms) {
		link_look(&s->link, &v);
		return err_set(e, ERR_AWAY, "smtp is away: %s", v.why);
	}
	curl_easy_setopt(s->curl, CURLOPT_UPLOAD, 0L);
	curl_easy_setopt(s->curl, CURLOPT_NOBODY, 1L);
	curl_easy_setopt(s->curl, CURLOPT_MAIL_RCPT, NULL);
	curl_easy_setopt(s->curl, CURLOPT_CUSTOMREQUEST, "NOOP");
	rc = transfer_run(s);
	if (rc == CURLE_OK) {
		up(s);
		return 0;
	}
	why_away(s, rc, why, sizeof why);
	down(s, why);
	return err_set(e, ERR_AWAY, "smtp is away: %s", why);
}

static int
refuse(struct smtp_answer *out, const char *why)
{
	*out = (struct smtp_answer){ .fate = SMTP_REFUSED };
	snprintf(out->why, sizeof out->why, "%s", why);
	return -1;
}

/* Refuses addresses with bytes that would end an SMTP command or need an extension. */
static int
address_check(const char *address, struct smtp_answer *out)
{
	size_t n = strlen(address);

	if (n == 0 || n > ADDRESS_MAX || !strchr(address, '@'))
		return refuse(out, "the address is empty, too long or has no @");
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)address[i];

		if (c >= 0x80)
			return refuse(out, "the address is not ASCII, which is not supported");
		if (c <= ' ' || c == 0x7f || c == '<' || c == '>' || c == '"' || c == '\\')
			return refuse(out, "the address holds a byte that is not allowed");
	}
	return 0;
}

/* The server's answer to this mail. */
static void
decided(const struct smtp *s, struct smtp_answer *out)
{
	static const char *const about[] = { "greeting", "sender", "recipient", "data", "mail" };

	out->fate = s->code < 500 ? SMTP_AGAIN : SMTP_REFUSED;
	snprintf(out->why, sizeof out->why, "the server answered %d%s%s to the %s", s->code,
		*s->enhanced ? " " : "", s->enhanced, about[s->step]);
}

/* Refusals that concern us and not this mail: login, TLS, a server that shuts down. */
static bool
about_us(const struct smtp *s)
{
	return s->step == STEP_CONNECT || (s->step == STEP_MAIL && s->code == 421) ||
		(s->step <= STEP_RCPT && (s->code == 530 || s->code == 535 || s->code == 538));
}

static void
judge(struct smtp *s, CURLcode rc, struct smtp_answer *out)
{
	char why[256];
	/* 354 only asks for the message; a 2xx to an earlier step tells nothing about this one */
	bool refused = s->answered && s->code >= 400;

	*out = (struct smtp_answer){ .fate = SMTP_SENT, .code = s->code };
	if (rc == CURLE_OK || (s->whole && s->answered && s->code / 100 == 2)) {
		up(s);
		return;
	}
	if (refused && !about_us(s)) {
		up(s);
		decided(s, out);
		return;
	}
	why_away(s, rc, why, sizeof why);
	down(s, why);
	if (s->whole) {
		out->fate = SMTP_UNSURE;
		snprintf(out->why, sizeof out->why,
			"all of it was sent, and no answer came: it may have arrived");
	} else if (s->step > STEP_MAIL && !refused) {
		out->fate = SMTP_AGAIN;
		snprintf(out->why, sizeof out->why, "the connection was lost before all was sent");
	} else {
		out->fate = SMTP_AWAY;
		snprintf(out->why, sizeof out->why, "%s", why);
	}
}

void
smtp_send(struct smtp *s, const char *from, const char *to, const char *message, size_t length,
	struct smtp_answer *out)
{
	struct curl_slist *list;
	struct link_view v;
	CURLcode rc;

	if (address_check(from, out) || address_check(to, out))
		return;
	if (!link_usable(&s->link) && clock_mono_ms() < s->due_ms) {
		*out = (struct smtp_answer){ .fate = SMTP_AWAY };
		link_look(&s->link, &v);
		snprintf(out->why, sizeof out->why, "%.150s", v.why);
		return;
	}
	list = curl_slist_append(NULL, to);
	must(list);
	curl_easy_setopt(s->curl, CURLOPT_NOBODY, 0L);
	curl_easy_setopt(s->curl, CURLOPT_CUSTOMREQUEST, NULL);
	curl_easy_setopt(s->curl, CURLOPT_UPLOAD, 1L);
	curl_easy_setopt(s->curl, CURLOPT_MAIL_FROM, from);
	curl_easy_setopt(s->curl, CURLOPT_MAIL_RCPT, list);
	curl_easy_setopt(s->curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)length);
	for (int try = 0; try < 2; try++) {
		s->message = message;
		s->left = length;
		rc = transfer_run(s);
		/* the server had closed the idle connection: try once more on a new one */
		if (rc == CURLE_OK || s->code != 0 || s->step > STEP_MAIL ||
			rc == CURLE_OPERATION_TIMEDOUT || rc == CURLE_COULDNT_CONNECT)
			break;
	}
	judge(s, rc, out);
	curl_easy_setopt(s->curl, CURLOPT_MAIL_RCPT, NULL);
	curl_slist_free_all(list);
}
