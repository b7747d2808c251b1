/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ranges of a file behind a URL, by libcurl's easy interface: each transfer blocks its thread on a handle (with its
 * connection) of its own; who finds none free waits.
 */
#ifndef XUNI_BACKEND_BLOCK_MODULES_CURL_FETCH_H
#define XUNI_BACKEND_BLOCK_MODULES_CURL_FETCH_H

#include "base/error.h"

#include <stdint.h>
#include <sys/uio.h>

struct log;
struct fetcher;

/* All copied; those that may be NULL are not set. */
struct fetch_settings {
	const char *url;
	const char *cookie, *username, *password, *proxy_username, *proxy_password;
	bool sslverify;
	uint32_t timeout_s; /* to connect, and without a byte */
	struct log *log;
};

/* Asks for the file, which must be there and readable in ranges. *length: its bytes. */
struct fetcher *fetcher_new(const struct fetch_settings *settings, uint64_t *length, struct error *err);
void fetcher_free(struct fetcher *fetcher);
/* Bytes [offset, offset + length) of the file; 0 or a negative errno, which is logged. Any thread. */
int fetcher_read(struct fetcher *fetcher, uint64_t offset, void *to, uint64_t length);

#endif
