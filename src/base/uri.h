/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Uniform resource identifiers of the form SCHEME://[USER@]HOST[:PORT][/PATH][?KEY=VALUE[&...]] (RFC 3986). */
#ifndef XUNI_BASE_URI_H
#define XUNI_BASE_URI_H

#include "base/error.h"

/* All parts are decoded, except that values of the query are decoded when they are asked for. */
struct uri {
	char *scheme;  /* in small letters */
	char *user;    /* what stands before '@', or NULL */
	char *host;    /* without the brackets of an IPv6 address; "" when there is none */
	unsigned port; /* 0: not given */
	char *path;    /* with its leading slash; "" when there is none */
	char *query;   /* or NULL */
};

/* Bytes that must not be in a URI, broken escapes and escaped NULs are errors. On error *uri is empty. */
int uri_parse(struct uri *uri, const char *text, struct error *err);
void uri_free(struct uri *uri);
/* The value of a key of the query, decoded, to be freed; NULL when it is absent or broken. */
char *uri_query(const struct uri *uri, const char *key);
/* Text with everything escaped that may not stand in a path; to be freed. */
char *uri_escape(const char *text);

#endif
