/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Network back ends: the table of drivers, opening and closing, and the calls between NIC and driver. */
#include "backend/net/net.h"

#include "base/util.h"

#include <stdio.h>
#include <stdlib.h>

const struct net_driver *const net_drivers[] = {&net_user_driver, &net_tap_driver, NULL};

static const struct net_driver *driver_find(const char *type, struct error *err)
{
	const char *names[16] = {NULL};
	const char *near;

	for (size_t i = 0; net_drivers[i]; i++) {
		if (!strcmp(net_drivers[i]->name, type))
			return net_drivers[i];
		names[i] = net_drivers[i]->name;
	}
	near = nearest_word(type, names);
	if (near)
		error_set(err, EINVAL, "'%s' is not a network back end; did you mean '%s'?", type, near);
	else
		error_set(err, EINVAL, "'%s' is not a network back end; 'help' lists them", type);
	return NULL;
}

struct net_backend *net_open_streams(const char *type, const char *id, struct options *options, struct loop *loop,
				     struct log *log, const struct net_streams *streams, struct error *err)
{
	const struct net_driver *driver = driver_find(type, err);
	struct net_backend *backend;
	char context[64];
	int result;

	if (!driver)
		return NULL;
	backend = xcalloc(1, driver->size);
	backend->driver = driver;
	backend->id = xstrdup(id ? id : type);
	backend->loop = loop;
	backend->log = log;
	backend->link_up = true;
	backend->queues = 1;
	backend->streams = streams;
	result = driver->open(backend, options, err);
	if (!result) {
		snprintf(context, sizeof(context), "netdev %s", type);
		result = options_check_used(options, context, driver->known, err);
		if (result)
			driver->close(backend);
	}
	if (result) {
		free(backend->id);
		free(backend);
		return NULL;
	}
	return backend;
}

struct net_backend *net_open(const char *type, const char *id, struct options *options, struct loop *loop,
			     struct log *log, struct error *err)
{
	return net_open_streams(type, id, options, loop, log, NULL, err);
}

void net_close(struct net_backend *backend)
{
	if (!backend)
		return;
	backend->port = (struct net_port){0};
	backend->driver->close(backend);
	free(backend->id);
	free(backend);
}

void net_attach(struct net_backend *backend, const struct net_port *port)
{
	backend->port = *port;
}

void net_detach(struct net_backend *backend)
{
	backend->port = (struct net_port){0};
	net_set_offloads(backend, 0, 0);
	/* What waited for the NIC is dropped. */
	net_resume(backend);
}

void net_set_link(struct net_backend *backend, bool up)
{
	if (backend->link_up == up)
		return;
	backend->link_up = up;
	if (backend->port.link_changed)
		backend->port.link_changed(backend->port.opaque, up);
	net_resume(backend);
}

void net_send(struct net_backend *backend, unsigned queue, const struct iovec *iov, int iov_count, size_t length)
{
	if (!backend->link_up)
		return;
	if (backend->driver->send_queue && queue < backend->queues)
		backend->driver->send_queue(backend, queue, iov, iov_count, length);
	else
		backend->driver->send(backend, iov, iov_count, length);
}

void net_resume(struct net_backend *backend)
{
	if (backend->driver->resume)
		backend->driver->resume(backend);
}

uint32_t net_offloads(struct net_backend *backend)
{
	return backend->driver->offloads ? backend->driver->offloads(backend) : 0;
}

void net_set_offloads(struct net_backend *backend, uint32_t offloads, unsigned header_bytes)
{
	if (backend->driver->set_offloads)
		backend->driver->set_offloads(backend, offloads, header_bytes);
}

void net_set_queues(struct net_backend *backend, unsigned queues)
{
	if (backend->driver->set_queues)
		backend->driver->set_queues(backend, queues);
}

bool net_deliver(struct net_backend *backend, unsigned queue, const struct iovec *iov, int iov_count, size_t length)
{
	const struct net_port *port = &backend->port;

	if (!backend->link_up || !port->receive)
		return true;
	if (port->receive_queue)
		return port->receive_queue(port->opaque, queue, iov, iov_count, length);
	return port->receive(port->opaque, iov, iov_count, length);
}
