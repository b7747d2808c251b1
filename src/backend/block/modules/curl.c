/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Protocols "http", "https", "ftp", "ftps": a file on such a server as a read-only disk, with the options of qemu's
 * curl driver. Small reads are served from windows of `readahead` bytes that are fetched whole, once, also when several
 * threads want the same; reads of at least that size are fetched as they are. Left out: writing, asking ahead of what
 * was read.
 */
#include "backend/block/internal.h"
#include "backend/block/module.h"
#include "backend/block/modules/curl_fetch.h"

#include <pthread.h>
#include <stdlib.h>
#include <strings.h>

#define WINDOWS           16
#define DEFAULT_READAHEAD (256 * KIB)
#define MAX_READAHEAD     (32 * MIB)
#define DEFAULT_TIMEOUT_S 5
#define MAX_TIMEOUT_S     10000

enum window_state { EMPTY, FETCHING, FILLED };

struct window {
	enum window_state state;
	uint64_t number; /* of the window in the file */
	uint64_t used;   /* when last, by the node's count */
	uint8_t *data;   /* readahead bytes, made at first use */
};

struct curl_block {
	struct fetcher *fetcher;
	uint64_t length, readahead;
	pthread_mutex_t lock;
	pthread_cond_t filled;
	uint64_t uses;
	struct window windows[WINDOWS];
};

/* --- windows; with the lock --- */

static struct window *find_window(struct curl_block *c, uint64_t number)
{
	for (unsigned i = 0; i < WINDOWS; i++)
		if (c->windows[i].state != EMPTY && c->windows[i].number == number)
			return &c->windows[i];
	return NULL;
}

/* The one that was used longest ago, for new content; NULL: all are being fetched. */
static struct window *oldest_window(struct curl_block *c)
{
	struct window *oldest = NULL;

	for (unsigned i = 0; i < WINDOWS; i++) {
		struct window *w = &c->windows[i];

		if (w->state == FETCHING)
			continue;
		if (w->state == EMPTY)
			return w;
		if (!oldest || w->used < oldest->used)
			oldest = w;
	}
	return oldest;
}

/* Fetches without the lock, which is held at entry and exit. */
static int fill_window(struct curl_block *c, struct window *w, uint64_t number)
{
	const uint64_t start = number * c->readahead;
	int result;

	if (!w->data)
		w->data = malloc(c->readahead);
	if (!w->data)
		return -ENOMEM;
	w->state = FETCHING;
	w->number = number;
	pthread_mutex_unlock(&c->lock);
	result = fetcher_read(c->fetcher, start, w->data, min_u64(c->readahead, c->length - start));
	pthread_mutex_lock(&c->lock);
	w->state = result ? EMPTY : FILLED;
	pthread_cond_broadcast(&c->filled);
	return result;
}

/* Copies [offset, offset + length), which lies in one window. */
static int read_window(struct curl_block *c, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t skip,
		       uint64_t length)
{
	const uint64_t number = offset / c->readahead;
	int result = 0;

	pthread_mutex_lock(&c->lock);
	while (!result) {
		struct window *w = find_window(c, number);

		if (w && w->state == FILLED) {
			w->used = ++c->uses;
			iov_spread(iov, iov_count, skip, w->data + offset % c->readahead, length);
			break;
		}
		if (!w)
			w = oldest_window(c);
		if (!w || w->state == FETCHING)
			pthread_cond_wait(&c->filled, &c->lock);
		else
			result = fill_window(c, w, number);
	}
	pthread_mutex_unlock(&c->lock);
	return result;
}

static int read_small(struct curl_block *c, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length)
{
	for (uint64_t done = 0; done < length;) {
		const uint64_t at = offset + done, in_window = c->readahead - at % c->readahead,
			       part = min_u64(length - done, in_window);
		int result = read_window(c, at, iov, iov_count, done, part);

		if (result)
			return result;
		done += part;
	}
	return 0;
}

static int read_large(struct curl_block *c, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length)
{
	uint8_t *flat = iov_count == 1 ? iov->iov_base : malloc(length);
	int result;

	if (!flat)
		return -ENOMEM;
	result = fetcher_read(c->fetcher, offset, flat, length);
	if (iov_count == 1)
		return result;
	if (!result)
		iov_spread(iov, iov_count, 0, flat, length);
	free(flat);
	return result;
}

static int curl_pread(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length)
{
	struct curl_block *c = block->private_data;
	const uint64_t there = offset < c->length ? min_u64(length, c->length - offset) : 0;

	/* block->length is in whole sectors. */
	iov_clear(iov, iov_count, there, length - there);
	if (!there)
		return 0;
	if (there < c->readahead)
		return read_small(c, offset, iov, iov_count, there);
	if (there == length)
		return read_large(c, offset, iov, iov_count, length);
	return read_small(c, offset, iov, iov_count, there);
}

static int curl_pwrite(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length,
		       uint32_t flags)
{
	return -EROFS;
}

/* --- opening --- */

static int take_secret(struct block *block, struct options *options, const char *key, const char **text,
		       struct error *err)
{
	const char *id = options_get(options, key);

	if (!id)
		return 0;
	*text = block->host->secret(block, id, err);
	return *text ? 0 : error_prefix(err, "%s=%s", key, id);
}

/* The old way of options, before the URL's scheme: "file:name=value:...", is not known here. */
static int check_url(const struct block *block, const char *url, struct error *err)
{
	const size_t scheme = strlen(block->driver->name);

	if (!url)
		return error_set(err, EINVAL, "curl block driver requires an 'url' option");
	if (strncasecmp(url, block->driver->name, scheme) || strncmp(url + scheme, "://", 3))
		return error_set(err, EINVAL, "%s curl driver cannot handle the URL '%s' (does not start with '%s://')",
				 block->driver->name, url, block->driver->name);
	return 0;
}

static int take_settings(struct block *block, struct options *options, struct fetch_settings *s, struct error *err)
{
	struct curl_block *c = block->private_data;
	const char *url = options_get(options, "url"), *filename = options_get(options, "filename");
	uint64_t timeout = DEFAULT_TIMEOUT_S;
	int result;

	*s = (struct fetch_settings){.url = url ? url : filename, .sslverify = true};
	s->cookie = options_get(options, "cookie");
	s->username = options_get(options, "username");
	s->proxy_username = options_get(options, "proxy-username");
	c->readahead = DEFAULT_READAHEAD;
	if (s->cookie && options_get(options, "cookie-secret"))
		return error_set(err, EINVAL, "curl driver cannot handle both cookie and cookie secret");
	if ((result = check_url(block, s->url, err)) ||
	    (result = options_size(options, "readahead", &c->readahead, 1, err)) ||
	    (result = options_bool(options, "sslverify", &s->sslverify, err)) ||
	    (result = options_u64(options, "timeout", &timeout, MAX_TIMEOUT_S, err)) ||
	    (result = take_secret(block, options, "password-secret", &s->password, err)) ||
	    (result = take_secret(block, options, "proxy-password-secret", &s->proxy_password, err)) ||
	    (result = take_secret(block, options, "cookie-secret", &s->cookie, err)))
		return result;
	s->timeout_s = timeout ? (uint32_t)timeout : DEFAULT_TIMEOUT_S;
	if (!c->readahead || c->readahead % BLOCK_SECTOR || c->readahead > MAX_READAHEAD)
		return error_set(err, EINVAL, "HTTP_READAHEAD (readahead=) must be a multiple of 512, at most 32M");
	return 0;
}

static int curl_open(struct block *block, struct options *options, const struct block_open *how, struct error *err)
{
	struct curl_block *c = block->private_data;
	struct fetch_settings settings;
	int result = take_settings(block, options, &settings, err);

	if (result)
		return result;
	if (!block->read_only && !how->auto_read_only)
		return error_set(err, EACCES, "curl driver does not support writes");
	block->read_only = true;
	block->filename = xstrdup(settings.url);
	settings.log = how->log;
	c->fetcher = fetcher_new(&settings, &c->length, err);
	if (!c->fetcher)
		return -err->code;
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->filled, NULL);
	block->length = align_up(c->length, BLOCK_SECTOR);
	return 0;
}

static void curl_close(struct block *block)
{
	struct curl_block *c = block->private_data;

	fetcher_free(c->fetcher);
	for (unsigned i = 0; i < WINDOWS; i++)
		free(c->windows[i].data);
	pthread_cond_destroy(&c->filled);
	pthread_mutex_destroy(&c->lock);
}

static const char *const curl_options[] = {
	"filename",
	"url",
	"readahead",
	"sslverify",
	"timeout",
	"cookie",
	"cookie-secret",
	"username",
	"password-secret",
	"proxy-username",
	"proxy-password-secret",
	NULL,
};

#define CURL_DRIVER(protocol)                                                                                          \
	static const struct block_driver protocol##_driver = {                                                         \
		.name = #protocol,                                                                                     \
		.is_protocol = true,                                                                                   \
		.size = sizeof(struct curl_block),                                                                     \
		.known = curl_options,                                                                                 \
		.open = curl_open,                                                                                     \
		.close = curl_close,                                                                                   \
		.pread = curl_pread,                                                                                   \
		.pwrite = curl_pwrite,                                                                                 \
	}

CURL_DRIVER(http);
CURL_DRIVER(https);
CURL_DRIVER(ftp);
CURL_DRIVER(ftps);

static const struct block_driver *const drivers[] = {&http_driver, &https_driver, &ftp_driver, &ftps_driver, NULL};

extern const struct module xuni_module __attribute__((visibility("default")));
const struct module xuni_module = {"block", BLOCK_MODULE_ABI, drivers};
