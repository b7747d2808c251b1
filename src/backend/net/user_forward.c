/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hostfwd: a host port leads to a port of the guest. guestfwd: an address and port of the virtual network leads to a
 * command on the host or to a character device.
 */
#include "backend/net/user.h"

#include "base/util.h"

#include <stdio.h>
#include <stdlib.h>

struct user_forward {
	struct user_forward *next;
	struct net_user *user;
	struct in_addr address;
	int port;
	void *stream; /* of user->backend.streams; NULL: a command */
	bool starved; /* the stream has input that libslirp had no room for */
};

/* One side of a rule: "[address]:port"; an IPv6 address stands in brackets. */
struct endpoint {
	struct sockaddr_storage address;
	socklen_t length;
	bool any; /* no address given */
	uint16_t port;
};

static int parse_endpoint(const char *text, size_t length, struct endpoint *endpoint, struct error *err)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&endpoint->address;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&endpoint->address;
	char buffer[80];
	char *colon;
	uint64_t port;

	memset(endpoint, 0, sizeof(*endpoint));
	snprintf(buffer, sizeof(buffer), "%.*s", (int)length, text);
	colon = strrchr(buffer, ':');
	if (length >= sizeof(buffer) || !colon || parse_u64(colon + 1, 65535, &port, NULL))
		return error_set(err, EINVAL, "'%.*s' is not [ADDRESS]:PORT", (int)length, text);
	*colon = 0;
	endpoint->port = (uint16_t)port;
	endpoint->any = !buffer[0];
	if (buffer[0] == '[' && colon > buffer + 1 && colon[-1] == ']') {
		colon[-1] = 0;
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(endpoint->port);
		endpoint->length = sizeof(*in6);
		if (inet_pton(AF_INET6, buffer + 1, &in6->sin6_addr) == 1)
			return 0;
		return error_set(err, EINVAL, "'%s' is not an IPv6 address", buffer + 1);
	}
	in->sin_family = AF_INET;
	in->sin_port = htons(endpoint->port);
	endpoint->length = sizeof(*in);
	if (endpoint->any || inet_pton(AF_INET, buffer, &in->sin_addr) == 1)
		return 0;
	return error_set(err, EINVAL, "'%s' is not an IPv4 address (an IPv6 one stands in brackets)", buffer);
}

/* Takes "tcp:" or "udp:" or ":" off a rule. */
static const char *parse_protocol(const char *rule, bool *is_udp, struct error *err)
{
	*is_udp = false;
	if (!strncmp(rule, "tcp:", 4))
		return rule + 4;
	if (!strncmp(rule, "udp:", 4)) {
		*is_udp = true;
		return rule + 4;
	}
	if (rule[0] == ':')
		return rule + 1;
	error_set(err, EINVAL, "it begins with tcp: or udp:");
	return NULL;
}

static void name_port(const struct endpoint *endpoint, bool is_udp, char *text, size_t size)
{
	char address[INET6_ADDRSTRLEN] = "*";

	if (!endpoint->any && endpoint->address.ss_family == AF_INET)
		inet_ntop(AF_INET, &((const struct sockaddr_in *)&endpoint->address)->sin_addr, address,
			  sizeof(address));
	else if (!endpoint->any)
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)&endpoint->address)->sin6_addr, address,
			  sizeof(address));
	snprintf(text, size, "%s port %u on %s", is_udp ? "UDP" : "TCP", endpoint->port, address);
}

static int host_add(struct net_user *user, bool is_udp, const struct endpoint *host, struct endpoint *guest,
		    struct error *err)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&guest->address;
	int flags = is_udp ? SLIRP_HOSTFWD_UDP : 0;
	char text[96];

	if (guest->any && guest->address.ss_family == AF_INET)
		in->sin_addr = user->dhcp_start;
	if (!guest->port)
		return error_set(err, EINVAL, "the guest's port is missing");
	if (host->address.ss_family == AF_INET6)
		flags |= SLIRP_HOSTFWD_V6ONLY;
	errno = 0;
	if (!slirp_add_hostxfwd(user->slirp, (const struct sockaddr *)&host->address, host->length,
				(const struct sockaddr *)&guest->address, guest->length, flags)) {
		user_service_soon(user);
		return 0;
	}
	name_port(host, is_udp, text, sizeof(text));
	if (errno == EADDRINUSE)
		return error_set(err, EADDRINUSE, "%s is in use; choose another port or end who holds it", text);
	if (errno == EACCES)
		return error_set(err, EACCES, "%s: ports below 1024 need root; choose a higher one", text);
	return error_set_errno(err, errno ? errno : EINVAL, "%s", text);
}

static int host_rule(struct net_user *user, const char *rule, struct error *err)
{
	struct endpoint host, guest;
	const char *rest, *dash;
	bool is_udp;

	rest = parse_protocol(rule, &is_udp, err);
	dash = rest ? strchr(rest, '-') : NULL;
	if (rest && !dash)
		error_set(err, EINVAL, "the '-' between host and guest is missing");
	if (!dash || parse_endpoint(rest, (size_t)(dash - rest), &host, err) ||
	    parse_endpoint(dash + 1, strlen(dash + 1), &guest, err) || host_add(user, is_udp, &host, &guest, err))
		return error_prefix(err, "hostfwd=%s", rule);
	return 0;
}

static int host_rule_remove(struct net_user *user, const char *rule, struct error *err)
{
	struct endpoint host;
	const char *rest, *dash;
	bool is_udp;

	rest = parse_protocol(rule, &is_udp, err);
	if (!rest)
		return error_prefix(err, "hostfwd_remove %s", rule);
	/* The whole rule is taken as well as its first half. */
	dash = strchr(rest, '-');
	if (parse_endpoint(rest, dash ? (size_t)(dash - rest) : strlen(rest), &host, err))
		return error_prefix(err, "hostfwd_remove %s", rule);
	if (slirp_remove_hostxfwd(user->slirp, (const struct sockaddr *)&host.address, host.length,
				  is_udp ? SLIRP_HOSTFWD_UDP : 0) &&
	    slirp_remove_hostxfwd(user->slirp, (const struct sockaddr *)&host.address, host.length,
				  (is_udp ? SLIRP_HOSTFWD_UDP : 0) | SLIRP_HOSTFWD_V6ONLY))
		return error_set(err, ENOENT, "hostfwd_remove %s: there is no such rule; 'info usernet' lists them",
				 rule);
	user_service_soon(user);
	return 0;
}

int user_hostfwd(struct net_backend *backend, bool add, const char *rule, struct error *err)
{
	struct net_user *user = (struct net_user *)backend;

	return add ? host_rule(user, rule, err) : host_rule_remove(user, rule, err);
}

/* --- guestfwd --- */

static ssize_t guest_wrote(const void *data, size_t length, void *opaque)
{
	struct user_forward *forward = opaque;

	forward->user->backend.streams->write(forward->stream, data, length);
	return (ssize_t)length;
}

static size_t stream_room(void *opaque)
{
	struct user_forward *forward = opaque;
	size_t room = slirp_socket_can_recv(forward->user->slirp, forward->address, forward->port);

	forward->starved = !room;
	return room;
}

static void stream_receive(void *opaque, const uint8_t *data, size_t length)
{
	struct user_forward *forward = opaque;

	slirp_socket_recv(forward->user->slirp, forward->address, forward->port, data, (int)length);
	user_service_soon(forward->user);
}

void user_forward_resume(struct net_user *user)
{
	for (struct user_forward *forward = user->forwards; forward; forward = forward->next)
		if (forward->starved && stream_room(forward))
			user->backend.streams->accept(forward->stream);
}

static int guest_stream(struct net_user *user, struct user_forward *forward, const char *text, struct error *err)
{
	const struct net_streams *streams = user->backend.streams;
	struct net_stream_user stream_user = {stream_room, stream_receive, forward};

	if (!streams)
		return error_set(err, ENOTSUP, "only cmd:COMMAND is supported here");
	if (slirp_add_guestfwd(user->slirp, guest_wrote, forward, &forward->address, forward->port) < 0)
		return error_set(err, EINVAL, "the address is not free in the virtual network");
	forward->stream = streams->open(streams->opaque, text, &stream_user, err);
	if (!forward->stream) {
		slirp_remove_guestfwd(user->slirp, forward->address, forward->port);
		return -EINVAL;
	}
	return 0;
}

static int guest_rule(struct net_user *user, const char *rule, struct error *err)
{
	struct user_forward *forward = xcalloc(1, sizeof(*forward));
	struct endpoint endpoint;
	const char *rest, *dash;
	bool is_udp;
	int result = -EINVAL;

	forward->user = user;
	rest = parse_protocol(rule, &is_udp, err);
	if (rest && is_udp) {
		error_set(err, EINVAL, "only tcp can be forwarded from the guest");
		rest = NULL;
	}
	dash = rest ? strchr(rest, '-') : NULL;
	if (rest && !dash)
		error_set(err, EINVAL, "the '-' before cmd:COMMAND or chardev:ID is missing");
	if (dash && !parse_endpoint(rest, (size_t)(dash - rest), &endpoint, err)) {
		forward->address = ((struct sockaddr_in *)&endpoint.address)->sin_addr;
		forward->port = endpoint.port;
		if (endpoint.any || endpoint.address.ss_family != AF_INET || !endpoint.port)
			error_set(err, EINVAL, "an IPv4 address of the virtual network and a port are needed");
		else if (strncmp(dash + 1, "cmd:", 4))
			result = guest_stream(user, forward, dash + 1, err);
		else if (slirp_add_exec(user->slirp, dash + 5, &forward->address, forward->port) < 0)
			error_set(err, EINVAL, "the address is not free in the virtual network");
		else
			result = 0;
	}
	if (result) {
		free(forward);
		return error_prefix(err, "guestfwd=%s", rule);
	}
	forward->next = user->forwards;
	user->forwards = forward;
	return 0;
}

int user_forward_open(struct net_user *user, struct options *options, struct error *err)
{
	options_get(options, "hostfwd");
	options_get(options, "guestfwd");
	for (size_t i = 0; i < options->count; i++) {
		const struct option *option = &options->items[i];

		if (!strcmp(option->key, "hostfwd") && host_rule(user, option->value, err))
			return -EINVAL;
		if (!strcmp(option->key, "guestfwd") && guest_rule(user, option->value, err))
			return -EINVAL;
	}
	return 0;
}

void user_forward_close(struct net_user *user)
{
	while (user->forwards) {
		struct user_forward *forward = user->forwards;

		user->forwards = forward->next;
		if (forward->stream)
			user->backend.streams->close(forward->stream);
		slirp_remove_guestfwd(user->slirp, forward->address, forward->port);
		free(forward);
	}
}
