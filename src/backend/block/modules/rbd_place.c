/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu's names of RADOS block devices, in which a backslash takes the meaning of the character behind it away. */
#include "backend/block/modules/rbd_place.h"

#include "base/util.h"

#include <stdlib.h>

#define MAX_SERVERS 32

/* The text up to one of the characters of `ends`, without its backslashes; *at moves to the end. */
static char *take(const char **at, const char *ends)
{
	char *text = xcalloc(strlen(*at) + 1, 1), *to = text;

	while (**at && !strchr(ends, **at)) {
		if (**at == '\\' && (*at)[1])
			++*at;
		*to++ = *(*at)++;
	}
	return text;
}

static int take_setting(struct rbd_place *place, const char **at, const char *name, struct error *err)
{
	char *key = take(at, "=:"), *value;

	if (**at != '=') {
		const int result = error_set(err, EINVAL, "conf option %s of '%s' has no value", key, name);

		free(key);
		return result;
	}
	++*at;
	value = take(at, ":");
	if (!strcmp(key, "conf") || !strcmp(key, "id")) {
		char **to = !strcmp(key, "conf") ? &place->conf : &place->user;

		free(*to);
		*to = value;
	} else {
		options_add(&place->settings, key, value);
		free(value);
	}
	free(key);
	return 0;
}

int rbd_place_from_name(struct rbd_place *place, const char *name, struct error *err)
{
	const char *at = name;
	int result = 0;

	*place = (struct rbd_place){0};
	if (strncmp(name, "rbd:", 4))
		return error_set(err, EINVAL, "'%s' is not rbd:POOL/IMAGE[@SNAPSHOT][:NAME=VALUE...]", name);
	at += 4;
	place->pool = take(&at, "/:@");
	if (*at == '/') {
		at++;
		place->image = take(&at, "/@:");
	}
	if (*at == '/') {
		at++;
		place->name_space = place->image;
		place->image = take(&at, "@:");
	}
	if (*at == '@') {
		at++;
		place->snapshot = take(&at, ":");
	}
	if (!place->image || !*place->image || !*place->pool)
		result = error_set(err, EINVAL, "'%s' is not rbd:POOL/IMAGE[@SNAPSHOT][:NAME=VALUE...]", name);
	while (!result && *at == ':') {
		at++;
		result = take_setting(place, &at, name, err);
	}
	if (result)
		rbd_place_free(place);
	return result;
}

static char *copy_of(struct options *options, const char *key)
{
	const char *text = options_get(options, key);

	return text ? xstrdup(text) : NULL;
}

/* server.N.host and server.N.port, N from 0. */
static void take_servers(struct rbd_place *place, struct options *options)
{
	for (unsigned i = 0; i < MAX_SERVERS; i++) {
		char *host_key = xasprintf("server.%u.host", i), *port_key = xasprintf("server.%u.port", i);
		const char *host = options_get(options, host_key), *port = options_get(options, port_key);
		char *before = place->monitors;

		free(host_key);
		free(port_key);
		if (!host || !port)
			return;
		place->monitors = xasprintf(strchr(host, ':') ? "%s%s[%s]:%s" : "%s%s%s:%s", before ? before : "",
					    before ? "," : "", host, port);
		free(before);
	}
}

/* auth-client-required.N: ways to prove who one is, "cephx" or "none". */
static void take_required(struct rbd_place *place, struct options *options)
{
	char *list = NULL;

	for (unsigned i = 0; i < MAX_SERVERS; i++) {
		char *key = xasprintf("auth-client-required.%u", i), *before = list;
		const char *word = options_get(options, key);

		free(key);
		if (!word)
			break;
		list = xasprintf("%s%s%s", before ? before : "", before ? ";" : "", word);
		free(before);
	}
	if (list)
		options_add(&place->settings, "auth_client_required", list);
	free(list);
}

int rbd_place_from_options(struct rbd_place *place, struct options *options, struct error *err)
{
	*place = (struct rbd_place){0};
	place->pool = copy_of(options, "pool");
	place->name_space = copy_of(options, "namespace");
	place->image = copy_of(options, "image");
	place->snapshot = copy_of(options, "snapshot");
	place->conf = copy_of(options, "conf");
	place->user = copy_of(options, "user");
	take_servers(place, options);
	take_required(place, options);
	if (place->pool && place->image)
		return 0;
	rbd_place_free(place);
	return error_set(err, EINVAL, "driver 'rbd' needs 'pool' and 'image', or rbd:POOL/IMAGE as filename");
}

void rbd_place_free(struct rbd_place *place)
{
	free(place->pool);
	free(place->name_space);
	free(place->image);
	free(place->snapshot);
	free(place->conf);
	free(place->user);
	free(place->monitors);
	options_free(&place->settings);
	*place = (struct rbd_place){0};
}

char *rbd_place_text(const struct rbd_place *place)
{
	return xasprintf("rbd:%s/%s%s%s%s%s%s%s%s%s", place->pool, place->name_space ? place->name_space : "",
			 place->name_space ? "/" : "", place->image, place->snapshot ? "@" : "",
			 place->snapshot ? place->snapshot : "", place->conf ? ":conf=" : "",
			 place->conf ? place->conf : "", place->user ? ":id=" : "", place->user ? place->user : "");
}
