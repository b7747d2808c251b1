/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libnbd does the protocol (handshake, structured replies, TLS); this file owns the handle, one after the other. Every
 * use of a handle that is ready is under the remote's lock, so that libnbd's callbacks run under it too.
 */
#include "backend/block/modules/nbd_connection.h"

#include "base/util.h"

#include <libnbd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define GOODBYE_MS 1000

/* What servers and libnbd agree on when nothing is advertised: bytes in one request. */
#define DEFAULT_MAX (32u * 1024 * 1024)

struct nbd_connection {
	struct nbd_settings settings;
	char *place;
	struct remote *remote;
	struct nbd_handle *handle;
	struct nbd_info info;
};

/* --- commands; with the lock --- */

/* libnbd's completion callback. The error of a command that a lost connection took with it is ENOTCONN, which no server
 * can send. */
static int on_complete(void *opaque, int *error)
{
	struct nbd_request *request = opaque;

	remote_done(request->connection->remote, &request->remote, -*error);
	return 1; /* libnbd forgets the command */
}

/* libnbd's extent callback: pairs of length and flags in entries. */
static int on_extent(void *opaque, const char *context, uint64_t offset, uint32_t *entries, size_t count, int *error)
{
	struct nbd_request *request = opaque;

	if (strcmp(context, request->connection->settings.meta_context) || count < 2 || request->status_length)
		return 0;
	request->status_length = entries[0];
	request->status_flags = entries[1];
	return 0;
}

static int64_t start_command(struct nbd_connection *c, struct nbd_request *r)
{
	const nbd_completion_callback completion = {.callback = on_complete, .user_data = r};
	const nbd_extent_callback extent = {.callback = on_extent, .user_data = r};

	switch (r->op) {
	case NBD_READ:
		return nbd_aio_pread(c->handle, r->data, r->length, r->offset, completion, r->flags);
	case NBD_WRITE:
		return nbd_aio_pwrite(c->handle, r->data, r->length, r->offset, completion, r->flags);
	case NBD_FLUSH:
		return nbd_aio_flush(c->handle, completion, r->flags);
	case NBD_TRIM:
		return nbd_aio_trim(c->handle, r->length, r->offset, completion, r->flags);
	case NBD_ZERO:
		return nbd_aio_zero(c->handle, r->length, r->offset, completion, r->flags);
	case NBD_STATUS:
		r->status_length = 0;
		return nbd_aio_block_status(c->handle, r->length, r->offset, extent, completion, r->flags);
	}
	return -1;
}

static bool has_ended(struct nbd_handle *h)
{
	return nbd_aio_is_dead(h) || nbd_aio_is_closed(h);
}

static void start(struct remote *remote, void *opaque, struct remote_request *request)
{
	struct nbd_connection *c = opaque;

	if (start_command(c, container_of(request, struct nbd_request, remote)) >= 0)
		return;
	/* libnbd refused it: nothing was queued and on_complete is not called for it. */
	if (has_ended(c->handle))
		remote_done(remote, request, -ENOTCONN);
	else
		remote_done(remote, request, nbd_get_errno() ? -nbd_get_errno() : -EIO);
}

static struct pollfd watch_handle(struct nbd_handle *h)
{
	const unsigned direction = nbd_aio_get_direction(h);

	return (struct pollfd){
		.fd = has_ended(h) ? -1 : nbd_aio_get_fd(h),
		.events = (short)((direction & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0) |
				  (direction & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT : 0)),
	};
}

static struct pollfd watch(void *opaque)
{
	struct nbd_connection *c = opaque;

	return watch_handle(c->handle);
}

static int service_handle(struct nbd_handle *h, short revents)
{
	const unsigned direction = nbd_aio_get_direction(h);

	if (revents & (POLLIN | POLLHUP | POLLERR) && direction & LIBNBD_AIO_DIRECTION_READ)
		return nbd_aio_notify_read(h);
	if (revents & (POLLOUT | POLLHUP | POLLERR) && direction & LIBNBD_AIO_DIRECTION_WRITE)
		return nbd_aio_notify_write(h);
	return 0;
}

static void service(void *opaque, short revents, char *text, size_t bytes)
{
	struct nbd_connection *c = opaque;

	if (service_handle(c->handle, revents) < 0 && nbd_get_error())
		snprintf(text, bytes, "%s", nbd_get_error());
}

static void say_goodbye(struct nbd_handle *h)
{
	if (!nbd_aio_is_ready(h) || nbd_aio_disconnect(h, 0) < 0)
		return;
	while (!has_ended(h)) {
		struct pollfd fd = watch_handle(h);

		if (poll(&fd, 1, GOODBYE_MS) <= 0 || service_handle(h, fd.revents) < 0)
			return;
	}
}

static void disconnect(void *opaque, bool orderly)
{
	struct nbd_connection *c = opaque;

	if (orderly) {
		say_goodbye(c->handle);
	} else if (!has_ended(c->handle)) {
		/* At the end of the stream libnbd hands back its commands. */
		shutdown(nbd_aio_get_fd(c->handle), SHUT_RDWR);
		while (!has_ended(c->handle) && service_handle(c->handle, POLLIN | POLLHUP) >= 0)
			;
	}
	nbd_close(c->handle);
	c->handle = NULL;
}

/* --- connecting; without the lock --- */

static struct nbd_handle *make_handle(struct nbd_connection *c, struct error *err)
{
	const struct nbd_address *a = &c->settings.address;
	struct nbd_handle *h = nbd_create();

	if (!h)
		return NULL;
	nbd_set_pread_initialize(h, false); /* what a server leaves out is the guest's own old memory */
	if (nbd_set_export_name(h, a->export_name) < 0 || nbd_add_meta_context(h, c->settings.meta_context) < 0 ||
	    (a->tls && nbd_set_tls(h, LIBNBD_TLS_REQUIRE) < 0) ||
	    (a->tls && nbd_set_tls_verify_peer(h, a->tls_verify_peer) < 0) ||
	    (a->tls_certificates && nbd_set_tls_certificates(h, a->tls_certificates) < 0) ||
	    (a->tls_psk_file && nbd_set_tls_psk_file(h, a->tls_psk_file) < 0) ||
	    (a->tls_username && nbd_set_tls_username(h, a->tls_username) < 0)) {
		error_set(err, EINVAL, "%s", nbd_get_error());
		nbd_close(h);
		return NULL;
	}
	return h;
}

static int start_connect(struct nbd_connection *c, struct nbd_handle *h)
{
	const struct nbd_address *a = &c->settings.address;

	switch (a->transport) {
	case NBD_TCP:
		return nbd_aio_connect_tcp(h, a->host, a->port);
	case NBD_UNIX:
		return nbd_aio_connect_unix(h, a->path);
	case NBD_VSOCK:
		return nbd_aio_connect_vsock(h, (uint32_t)strtoul(a->host, NULL, 0),
					     (uint32_t)strtoul(a->port, NULL, 0));
	}
	return -1;
}

static uint32_t clamp_size(int64_t size, uint32_t otherwise)
{
	return size > 0 && size <= DEFAULT_MAX ? (uint32_t)size : otherwise;
}

static int read_info(struct nbd_connection *c, struct nbd_handle *h, struct nbd_info *info, struct error *err)
{
	const int64_t length = nbd_get_size(h);

	if (length < 0)
		return error_set(err, EINVAL, "'%s': the size of the export is unusable: %s", c->place,
				 nbd_get_error());
	*info = (struct nbd_info){
		.length = (uint64_t)length,
		.read_only = nbd_is_read_only(h) > 0,
		.can_flush = nbd_can_flush(h) > 0,
		.can_fua = nbd_can_fua(h) > 0,
		.can_trim = nbd_can_trim(h) > 0,
		.can_zero = nbd_can_zero(h) > 0,
		.can_status = nbd_can_meta_context(h, c->settings.meta_context) > 0,
		.block_min = clamp_size(nbd_get_block_size(h, LIBNBD_SIZE_MINIMUM), 1),
		.block_preferred = clamp_size(nbd_get_block_size(h, LIBNBD_SIZE_PREFERRED), 4096),
		.block_max = clamp_size(nbd_get_block_size(h, LIBNBD_SIZE_MAXIMUM), DEFAULT_MAX),
	};
	if (!is_power_of_two(info->block_min) || info->block_min > 65536 || info->block_max < info->block_min)
		return error_set(err, EINVAL, "'%s': the block sizes of the export make no sense", c->place);
	info->block_max = (uint32_t)align_down(info->block_max, info->block_min);
	return 0;
}

/* A server that comes back must be what it was. */
static int same_export(struct nbd_connection *c, const struct nbd_info *now, struct error *err)
{
	const struct nbd_info *was = &c->info;

	if (now->length != was->length)
		return error_set(err, EIO, "'%s' came back with another size, %llu bytes after %llu", c->place,
				 (unsigned long long)now->length, (unsigned long long)was->length);
	if ((now->read_only && !was->read_only) || now->can_flush < was->can_flush || now->can_fua < was->can_fua ||
	    now->block_min > was->block_min || now->block_max < was->block_max)
		return error_set(err, EIO, "'%s' came back with less abilities than it had", c->place);
	return 0;
}

/* Until the handle is ready. */
static int finish_connect(struct nbd_connection *c, struct nbd_handle *h, struct error *err)
{
	const int64_t deadline_ns = host_now_ns() + REMOTE_CONNECT_S * NS_PER_S;

	while (!nbd_aio_is_ready(h)) {
		const int result = service_handle(h, remote_wait(c->remote, watch_handle(h), deadline_ns));

		if (result < 0 || has_ended(h)) {
			const char *text = nbd_get_error();

			return error_set(err, nbd_get_errno() ? nbd_get_errno() : EIO, "Failed to connect to '%s': %s",
					 c->place, text ? text : "the server hung up");
		}
		if (host_now_ns() >= deadline_ns)
			return error_set(err, ETIMEDOUT,
					 "Failed to connect to '%s': no answer of an NBD server within %d seconds",
					 c->place, REMOTE_CONNECT_S);
		if (remote_is_closing(c->remote))
			return error_set(err, ECANCELED, "'%s' is being closed", c->place);
	}
	return 0;
}

static int connect_handle(struct nbd_connection *c, struct nbd_handle *h, bool first, struct error *err)
{
	struct nbd_info info;
	int result;

	if (start_connect(c, h) < 0 && nbd_get_errno())
		return error_set_errno(err, nbd_get_errno(), "Failed to connect to '%s'", c->place);
	if (nbd_aio_is_created(h))
		return error_set(err, EIO, "Failed to connect to '%s': %s", c->place, nbd_get_error());
	if ((result = finish_connect(c, h, err)) || (result = read_info(c, h, &info, err)) ||
	    (!first && (result = same_export(c, &info, err))))
		return result;
	if (first)
		c->info = info;
	return 0;
}

static int connect_once(struct remote *remote, void *opaque, bool first, struct error *err)
{
	struct nbd_connection *c = opaque;
	struct nbd_handle *h;
	int result;

	if (first)
		c->remote = remote;
	h = make_handle(c, err);
	if (!h)
		return -err->code;
	result = connect_handle(c, h, first, err);
	if (result)
		nbd_close(h);
	else
		c->handle = h;
	return result;
}

/* --- life --- */

static const struct remote_driver driver = {
	.connect = connect_once,
	.start = start,
	.watch = watch,
	.service = service,
	.disconnect = disconnect,
};

static void connection_free(struct nbd_connection *c)
{
	nbd_address_free(&c->settings.address);
	free(c->settings.meta_context);
	free(c->place);
	free(c);
}

struct nbd_connection *nbd_connection_open(struct nbd_settings *settings, struct nbd_info *info, struct error *err)
{
	struct nbd_connection *c = xcalloc(1, sizeof(*c));
	struct remote_settings how = {
		.driver = &driver,
		.opaque = c,
		.what = "nbd",
		.delay_s = settings->reconnect_delay_s,
		.open_timeout_s = settings->open_timeout_s,
		.log = settings->log,
	};

	c->settings = *settings;
	how.place = c->place = nbd_address_place(&settings->address);
	c->remote = remote_open(&how, err);
	if (!c->remote) {
		connection_free(c);
		return NULL;
	}
	*info = c->info;
	return c;
}

void nbd_connection_submit(struct nbd_connection *c, struct nbd_request *request)
{
	request->connection = c;
	remote_submit(c->remote, &request->remote);
}

int nbd_connection_run(struct nbd_connection *c, struct nbd_request *request)
{
	request->connection = c;
	return remote_run(c->remote, &request->remote);
}

void nbd_connection_cancel(struct nbd_connection *c)
{
	remote_cancel(c->remote);
}

void nbd_connection_close(struct nbd_connection *c)
{
	remote_close(c->remote);
	connection_free(c);
}
