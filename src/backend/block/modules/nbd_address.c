/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The NBD URI specification of the protocol's authors (doc/uri.md), and qemu's options and file names. */
#include "backend/block/modules/nbd_address.h"

#include "base/uri.h"
#include "base/util.h"

#include <stdlib.h>

#define DEFAULT_PORT "10809"

static void set(char **to, const char *text)
{
	free(*to);
	*to = text ? xstrdup(text) : NULL;
}

/* --- URIs --- */

static int from_tcp_uri(struct nbd_address *a, const struct uri *uri, const char *text, struct error *err)
{
	if (!*uri->host)
		return error_set(err, EINVAL, "'%s' names no host", text);
	a->transport = NBD_TCP;
	set(&a->host, uri->host);
	a->port = uri->port ? xasprintf("%u", uri->port) : xstrdup(DEFAULT_PORT);
	return 0;
}

static int from_unix_uri(struct nbd_address *a, const struct uri *uri, const char *text, struct error *err)
{
	if (*uri->host || uri->port)
		return error_set(err, EINVAL,
				 "'%s': a URI of a Unix socket has no host; write nbd+unix:///EXPORT?socket=PATH",
				 text);
	a->transport = NBD_UNIX;
	a->path = uri_query(uri, "socket");
	return a->path && *a->path ? 0 : error_set(err, EINVAL, "'%s' lacks ?socket=PATH", text);
}

static int take_tls(struct nbd_address *a, const struct uri *uri, struct error *err)
{
	char *verify = uri_query(uri, "tls-verify-peer");
	int result = 0;

	a->tls_certificates = uri_query(uri, "tls-certificates");
	a->tls_psk_file = uri_query(uri, "tls-psk-file");
	set(&a->tls_username, uri->user);
	if (verify)
		result = parse_bool(verify, &a->tls_verify_peer, err);
	free(verify);
	return result;
}

static int from_uri(struct nbd_address *a, const char *text, struct error *err)
{
	struct uri uri;
	const char *kind;
	int result = uri_parse(&uri, text, err);

	if (result)
		return result;
	a->tls = !strncmp(uri.scheme, "nbds", 4);
	kind = uri.scheme + (a->tls ? 4 : 3);
	set(&a->export_name, uri.path + (*uri.path == '/'));
	if (!*kind || !strcmp(kind, "+tcp"))
		result = from_tcp_uri(a, &uri, text, err);
	else if (!strcmp(kind, "+unix"))
		result = from_unix_uri(a, &uri, text, err);
	else
		result = error_set(err, EINVAL, "'%s': unknown scheme '%s'", text, uri.scheme);
	if (!result)
		result = take_tls(a, &uri, err);
	uri_free(&uri);
	return result;
}

/* nbd:HOST:PORT[:exportname=NAME], nbd:unix:PATH[:exportname=NAME] */
static int from_old_name(struct nbd_address *a, const char *text, struct error *err)
{
	static const char mark[] = ":exportname=";
	const char *place = text + 4, *name = strstr(place, mark), *colon;
	const size_t length = name ? (size_t)(name - place) : strlen(place);

	set(&a->export_name, name ? name + sizeof(mark) - 1 : "");
	if (!strncmp(place, "unix:", 5)) {
		a->transport = NBD_UNIX;
		a->path = strndup(place + 5, length - 5);
		return *a->path ? 0 : error_set(err, EINVAL, "'%s' names no socket", text);
	}
	a->transport = NBD_TCP;
	colon = memrchr(place, ':', length);
	if (!colon || colon == place)
		return error_set(err, EINVAL, "'%s' is not nbd:HOST:PORT or nbd:unix:PATH", text);
	if (*place == '[' && colon[-1] == ']')
		a->host = strndup(place + 1, (size_t)(colon - place) - 2);
	else
		a->host = strndup(place, (size_t)(colon - place));
	a->port = strndup(colon + 1, length - (size_t)(colon + 1 - place));
	return *a->port ? 0 : error_set(err, EINVAL, "'%s' names no port", text);
}

/* --- options --- */

static int from_server(struct nbd_address *a, struct options *options, const char *type, struct error *err)
{
	const char *host = options_get(options, "server.host"), *port = options_get(options, "server.port"),
		   *path = options_get(options, "server.path"), *cid = options_get(options, "server.cid");

	if (!strcmp(type, "unix")) {
		a->transport = NBD_UNIX;
		set(&a->path, path);
		return path && *path ? 0 : error_set(err, EINVAL, "server.type=unix needs server.path");
	}
	if (strcmp(type, "inet") && strcmp(type, "vsock"))
		return error_set(err, EINVAL, "server.type=%s: expected 'inet', 'unix' or 'vsock'", type);
	a->transport = !strcmp(type, "inet") ? NBD_TCP : NBD_VSOCK;
	set(&a->host, a->transport == NBD_TCP ? host : cid);
	set(&a->port, port);
	if (!a->host || !a->port)
		return error_set(err, EINVAL, "server.type=%s needs server.%s and server.port", type,
				 a->transport == NBD_TCP ? "host" : "cid");
	return 0;
}

/* host, port and path without server., which are older. */
static int from_plain(struct nbd_address *a, struct options *options, struct error *err)
{
	const char *host = options_get(options, "host"), *path = options_get(options, "path"),
		   *port = options_get(options, "port");

	if (host && path)
		return error_set(err, EINVAL, "path and host may not be used at the same time");
	if (!host && !path)
		return error_set(err, EINVAL,
				 "NBD server address missing: server.type=inet|unix, or a URI as filename");
	a->transport = host ? NBD_TCP : NBD_UNIX;
	set(&a->host, host);
	set(&a->path, path);
	set(&a->port, port ? port : DEFAULT_PORT);
	return 0;
}

static int from_options(struct nbd_address *a, struct options *options, struct error *err)
{
	const char *type = options_get(options, "server.type"), *export = options_get(options, "export"),
		   *certificates = options_get(options, "tls-certificates"),
		   *psk = options_get(options, "tls-psk-file"), *username = options_get(options, "tls-username");

	set(&a->export_name, export ? export : "");
	set(&a->tls_certificates, certificates);
	set(&a->tls_psk_file, psk);
	set(&a->tls_username, username);
	a->tls = certificates || psk;
	return type ? from_server(a, options, type, err) : from_plain(a, options, err);
}

int nbd_address_parse(struct nbd_address *a, struct options *options, struct error *err)
{
	const char *filename = options_get(options, "filename");
	int result;

	*a = (struct nbd_address){.tls_verify_peer = true};
	if (!filename)
		result = from_options(a, options, err);
	else if (strstr(filename, "://"))
		result = from_uri(a, filename, err);
	else if (!strncmp(filename, "nbd:", 4))
		result = from_old_name(a, filename, err);
	else
		result = error_set(err, EINVAL, "'%s' is not the URI of an NBD export", filename);
	/* The protocol's limit for strings. */
	if (!result && strlen(a->export_name) > 4096)
		result = error_set(err, EINVAL, "export name is longer than 4096 bytes");
	/* Without either libnbd would take any server for the right one. */
	if (!result && a->tls && a->tls_verify_peer && !a->tls_certificates && !a->tls_psk_file)
		result =
			error_set(err, EINVAL,
				  "NBD over TLS needs tls-certificates=FOLDER (with ca-cert.pem) or tls-psk-file=FILE; "
				  "tls-verify-peer=off takes any server");
	if (result)
		nbd_address_free(a);
	return result;
}

void nbd_address_free(struct nbd_address *a)
{
	free(a->host);
	free(a->port);
	free(a->path);
	free(a->export_name);
	free(a->tls_certificates);
	free(a->tls_psk_file);
	free(a->tls_username);
	*a = (struct nbd_address){0};
}

char *nbd_address_text(const struct nbd_address *a)
{
	static const char *const transports[] = {[NBD_TCP] = "", [NBD_UNIX] = "+unix", [NBD_VSOCK] = "+vsock"};
	char *name = uri_escape(a->export_name), *path, *text;
	const char *scheme = a->tls ? "nbds" : "nbd", *transport = transports[a->transport], *slash = *name ? "/" : "";

	if (a->transport == NBD_UNIX) {
		path = uri_escape(a->path);
		text = xasprintf("%s%s://%s%s?socket=%s", scheme, transport, slash, name, path);
		free(path);
	} else if (strchr(a->host, ':')) {
		text = xasprintf("%s%s://[%s]:%s%s%s", scheme, transport, a->host, a->port, slash, name);
	} else {
		text = xasprintf("%s%s://%s:%s%s%s", scheme, transport, a->host, a->port, slash, name);
	}
	free(name);
	return text;
}

char *nbd_address_place(const struct nbd_address *a)
{
	return a->transport == NBD_UNIX ? xstrdup(a->path) : xasprintf("%s:%s", a->host, a->port);
}
