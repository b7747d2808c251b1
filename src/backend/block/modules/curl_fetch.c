/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * HTTP range requests (RFC 9110 section 14) and FTP's restarts. A server proves that it gives ranges by doing so (206
 * with Content-Range), and each answer must be the range that was asked for, of a file of the same length and with the
 * same validator (ETag, else Last-Modified) as at first: a file that changes under a guest is an error, not a mixture.
 */
#include "backend/block/modules/curl_fetch.h"

#include "base/log.h"
#include "base/util.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define MAX_HANDLES 8 /* connections of one node */
#define ATTEMPTS    3
#define MAX_LENGTH  ((uint64_t)INT64_MAX / 2) /* bytes of a disk */
#define REDIRECTS   10l
#define PROTOCOLS   "http,https,ftp,ftps"

struct handle {
	struct handle *next;
	CURL *curl;
	char message[CURL_ERROR_SIZE];
};

struct fetcher {
	char *url;
	bool is_http;
	uint64_t length;
	char *validator;                /* the header line that changes with the file, or NULL */
	struct fetch_settings settings; /* with copies of its own */
	pthread_mutex_t lock;
	pthread_cond_t freed;
	struct handle *idle;
	unsigned handles;
};

/* One answer as it comes in. */
struct answer {
	const struct fetcher *fetcher;
	CURL *curl;
	uint8_t *to;
	uint64_t wanted, got;
	uint64_t first, last, total; /* of Content-Range */
	bool has_range;
	char *etag, *modified;
	bool wrong_body; /* more, or of another kind, than asked for */
};

/* --- libcurl's callbacks --- */

static size_t on_body(char *data, size_t one, size_t bytes, void *opaque)
{
	struct answer *answer = opaque;
	long status = 0;

	curl_easy_getinfo(answer->curl, CURLINFO_RESPONSE_CODE, &status);
	/* A server without ranges sends the file from its start, perhaps terabytes of it. */
	if ((answer->fetcher->is_http && status != 206) || bytes > answer->wanted - answer->got) {
		answer->wrong_body = true;
		return 0;
	}
	if (answer->to)
		memcpy(answer->to + answer->got, data, bytes);
	answer->got += bytes;
	return bytes;
}

/* The value of a header line when it has this name; to be freed. */
static char *header_value(const char *line, size_t bytes, const char *name)
{
	const size_t length = strlen(name);
	const char *end = line + bytes;

	if (bytes <= length || strncasecmp(line, name, length) || line[length] != ':')
		return NULL;
	line += length + 1;
	while (line < end && (*line == ' ' || *line == '\t'))
		line++;
	while (end > line && (end[-1] == '\r' || end[-1] == '\n' || end[-1] == ' '))
		end--;
	return strndup(line, (size_t)(end - line));
}

static size_t on_header(char *line, size_t one, size_t bytes, void *opaque)
{
	struct answer *answer = opaque;
	char *value;

	/* A new status line: what came before was a redirection's. */
	if (bytes > 5 && !strncmp(line, "HTTP/", 5)) {
		free(answer->etag);
		free(answer->modified);
		answer->etag = answer->modified = NULL;
		answer->has_range = false;
	} else if ((value = header_value(line, bytes, "Content-Range"))) {
		answer->has_range = sscanf(value, "bytes %" SCNu64 "-%" SCNu64 "/%" SCNu64, &answer->first,
					   &answer->last, &answer->total) == 3;
		if (sscanf(value, "bytes */%" SCNu64, &answer->total) == 1 && answer->total == 0)
			answer->has_range = true; /* an empty file has no range to give */
		free(value);
	} else if ((value = header_value(line, bytes, "ETag"))) {
		free(answer->etag);
		answer->etag = value;
	} else if ((value = header_value(line, bytes, "Last-Modified"))) {
		free(answer->modified);
		answer->modified = value;
	}
	return bytes;
}

/* --- handles --- */

static void set_text(CURL *curl, CURLoption option, const char *text)
{
	if (text)
		curl_easy_setopt(curl, option, text);
}

static struct handle *make_handle(struct fetcher *f)
{
	const struct fetch_settings *s = &f->settings;
	struct handle *h = xcalloc(1, sizeof(*h));
	CURL *curl = h->curl = curl_easy_init();

	if (!curl || curl_easy_setopt(curl, CURLOPT_URL, f->url)) {
		curl_easy_cleanup(curl);
		free(h);
		return NULL;
	}
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1l);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, h->message);
	curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1l);
	/* A redirection must not lead to a file of the host or a protocol nobody meant. */
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, PROTOCOLS);
	curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, PROTOCOLS);
	curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1l);
	curl_easy_setopt(curl, CURLOPT_MAXREDIRS, REDIRECTS);
	curl_easy_setopt(curl, CURLOPT_AUTOREFERER, 1l);
	curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1l);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)s->timeout_s);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1l);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)s->timeout_s);
	curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, s->sslverify ? 1l : 0l);
	curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, s->sslverify ? 2l : 0l);
	set_text(curl, CURLOPT_COOKIE, s->cookie);
	set_text(curl, CURLOPT_USERNAME, s->username);
	set_text(curl, CURLOPT_PASSWORD, s->password);
	set_text(curl, CURLOPT_PROXYUSERNAME, s->proxy_username);
	set_text(curl, CURLOPT_PROXYPASSWORD, s->proxy_password);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
	return h;
}

/* A handle of this thread's until it is given back; NULL: none can be made. */
static struct handle *take_handle(struct fetcher *f)
{
	struct handle *h;
	bool make = false;

	pthread_mutex_lock(&f->lock);
	while (!f->idle && f->handles == MAX_HANDLES)
		pthread_cond_wait(&f->freed, &f->lock);
	h = f->idle;
	if (h)
		f->idle = h->next;
	else
		make = f->handles++ < MAX_HANDLES;
	pthread_mutex_unlock(&f->lock);
	if (make)
		h = make_handle(f);
	if (!h) {
		pthread_mutex_lock(&f->lock);
		f->handles--;
		pthread_cond_signal(&f->freed);
		pthread_mutex_unlock(&f->lock);
	}
	return h;
}

static void give_handle(struct fetcher *f, struct handle *h)
{
	pthread_mutex_lock(&f->lock);
	h->next = f->idle;
	f->idle = h;
	pthread_cond_signal(&f->freed);
	pthread_mutex_unlock(&f->lock);
}

/* --- transfers --- */

static void answer_end(struct answer *answer)
{
	free(answer->etag);
	free(answer->modified);
}

static CURLcode perform(struct fetcher *f, struct handle *h, uint64_t offset, struct answer *answer)
{
	char range[64];

	snprintf(range, sizeof(range), "%" PRIu64 "-%" PRIu64, offset, offset + answer->wanted - 1);
	answer->fetcher = f;
	answer->curl = h->curl;
	h->message[0] = 0;
	curl_easy_setopt(h->curl, CURLOPT_RANGE, range);
	curl_easy_setopt(h->curl, CURLOPT_WRITEDATA, answer);
	curl_easy_setopt(h->curl, CURLOPT_HEADERDATA, answer);
	return curl_easy_perform(h->curl);
}

static const char *validator_of(const struct answer *answer)
{
	return answer->etag ? answer->etag : answer->modified;
}

/* What is wrong with an answer that came whole; NULL: nothing. */
static const char *objection(const struct fetcher *f, const struct answer *answer, uint64_t offset)
{
	const char *validator = validator_of(answer);

	if (answer->got != answer->wanted)
		return "the answer is shorter than the range that was asked for";
	if (!f->is_http)
		return NULL;
	if (!answer->has_range || answer->first != offset || answer->last != offset + answer->wanted - 1)
		return "the answer is not the range that was asked for";
	if (answer->total != f->length || (f->validator && validator && strcmp(validator, f->validator)))
		return "the file has changed on the server";
	return NULL;
}

/* Whether another attempt may help: the connection was lost, or the server says so. */
static bool is_passing(CURLcode code, CURL *curl)
{
	long status = 0;

	switch (code) {
	case CURLE_COULDNT_CONNECT:
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
	case CURLE_GOT_NOTHING:
	case CURLE_PARTIAL_FILE:
		return true;
	case CURLE_HTTP_RETURNED_ERROR:
		curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
		return status == 502 || status == 503 || status == 504;
	default:
		return false;
	}
}

static const char *text_of(const struct handle *h, CURLcode code)
{
	return h->message[0] ? h->message : curl_easy_strerror(code);
}

int fetcher_read(struct fetcher *f, uint64_t offset, void *to, uint64_t length)
{
	struct handle *h = take_handle(f);
	const char *wrong = "libcurl has no handle";

	for (unsigned attempt = 0; h && attempt < ATTEMPTS; attempt++) {
		struct answer answer = {.to = to, .wanted = length};
		const CURLcode code = perform(f, h, offset, &answer);

		wrong = code ? text_of(h, code) : objection(f, &answer, offset);
		if (answer.wrong_body)
			wrong = "the server does not keep to the range";
		answer_end(&answer);
		if (!wrong || !is_passing(code, h->curl))
			break;
	}
	if (wrong && f->settings.log)
		log_warn(f->settings.log, "%s: %s", f->url, wrong);
	if (h)
		give_handle(f, h);
	return wrong ? -EIO : 0;
}

/* --- the first look --- */

/* HTTP: the first byte shows length, ranges and validator. */
static int look_http(struct fetcher *f, struct handle *h, struct error *err)
{
	struct answer answer = {.wanted = 1};
	const CURLcode code = perform(f, h, 0, &answer);
	curl_off_t whole = -1;
	long status = 0;
	int result = 0;

	curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(h->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &whole);
	/* Nothing of an empty file can be asked for (RFC 9110 15.5.17); some servers then send all of it. */
	if ((status == 416 && answer.has_range && !answer.total) || (!code && status == 200 && whole == 0))
		f->length = 0;
	else if (answer.wrong_body || (!code && (status != 206 || !answer.has_range)))
		result = error_set(err, ENOTSUP,
				   "CURL: Error opening file: Server does not support 'range' (byte ranges).");
	else if (code)
		result = error_set(err, EIO, "CURL: Error opening file: %s", text_of(h, code));
	else
		f->length = answer.total;
	if (!result && f->length > MAX_LENGTH)
		result =
			error_set(err, EFBIG, "CURL: Error opening file: the server says that it has %" PRIu64 " bytes",
				  f->length);
	if (!result && validator_of(&answer))
		f->validator = xstrdup(validator_of(&answer));
	answer_end(&answer);
	return result;
}

static int look_ftp(struct fetcher *f, struct handle *h, struct error *err)
{
	struct answer ignored = {.fetcher = f, .curl = h->curl, .wanted = UINT64_MAX};
	curl_off_t length = -1;
	CURLcode code;

	curl_easy_setopt(h->curl, CURLOPT_NOBODY, 1l);
	curl_easy_setopt(h->curl, CURLOPT_WRITEDATA, &ignored);
	curl_easy_setopt(h->curl, CURLOPT_HEADERDATA, &ignored);
	code = curl_easy_perform(h->curl);
	curl_easy_setopt(h->curl, CURLOPT_NOBODY, 0l);
	answer_end(&ignored);
	if (code)
		return error_set(err, EIO, "CURL: Error opening file: %s", text_of(h, code));
	curl_easy_getinfo(h->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
	if (length < 0 || (uint64_t)length > MAX_LENGTH)
		return error_set(err, ENOTSUP, "CURL: Error opening file: Server didn't report file size.");
	f->length = (uint64_t)length;
	return 0;
}

static char *copy_of(const char *text)
{
	return text ? xstrdup(text) : NULL;
}

static void free_text(const char *text)
{
	free((void *)(uintptr_t)text);
}

struct fetcher *fetcher_new(const struct fetch_settings *settings, uint64_t *length, struct error *err)
{
	struct fetcher *f = xcalloc(1, sizeof(*f));
	struct fetch_settings *s = &f->settings;
	struct handle *h;
	int result;

	curl_global_init(CURL_GLOBAL_DEFAULT);
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->freed, NULL);
	*s = *settings;
	f->url = xstrdup(settings->url);
	s->url = f->url;
	s->cookie = copy_of(settings->cookie);
	s->username = copy_of(settings->username);
	s->password = copy_of(settings->password);
	s->proxy_username = copy_of(settings->proxy_username);
	s->proxy_password = copy_of(settings->proxy_password);
	f->is_http = !strncasecmp(f->url, "http", 4);
	h = take_handle(f);
	if (!h)
		result = error_set(err, ENOMEM, "CURL: no handle for '%s'", f->url);
	else
		result = f->is_http ? look_http(f, h, err) : look_ftp(f, h, err);
	if (h)
		give_handle(f, h);
	if (result) {
		fetcher_free(f);
		return NULL;
	}
	*length = f->length;
	return f;
}

void fetcher_free(struct fetcher *f)
{
	while (f->idle) {
		struct handle *h = f->idle;

		f->idle = h->next;
		curl_easy_cleanup(h->curl);
		free(h);
	}
	pthread_cond_destroy(&f->freed);
	pthread_mutex_destroy(&f->lock);
	free_text(f->settings.cookie);
	free_text(f->settings.username);
	free_text(f->settings.password);
	free_text(f->settings.proxy_username);
	free_text(f->settings.proxy_password);
	free(f->validator);
	free(f->url);
	free(f);
	curl_global_cleanup();
}
