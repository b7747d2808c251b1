/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libnbd does the protocol (handshake, structured replies, TLS); this file owns the handle, one after the other, and
 * the requests. The lock guards everything below it in the structure and every use of a handle that is ready, so that
 * libnbd's callbacks always run under it. `done` is called without it.
 */
#include "backend/block/modules/nbd_connection.h"

#include "base/log.h"
#include "base/util.h"

#include <libnbd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECT_NS     (30 * NS_PER_S) /* for one attempt, handshake included */
#define RETRY_FIRST_NS (NS_PER_S / 4)
#define RETRY_MAX_NS   (16 * NS_PER_S)
#define GOODBYE_NS     NS_PER_S

/* What servers and libnbd agree on when nothing is advertised: bytes in one request. */
#define DEFAULT_MAX (32u * 1024 * 1024)

enum state { CONNECTING, READY, FAILED };

struct request_list {
	struct nbd_request *first, **last;
};

struct nbd_connection {
	struct nbd_settings settings;
	char *place;
	int wake_fd;
	pthread_t thread;
	struct nbd_handle *handle; /* set and cleared by the thread, under the lock when ready */

	pthread_mutex_t lock;
	pthread_cond_t changed; /* state */
	enum state state;
	bool closing;
	bool expired;     /* the delay after the last loss is over */
	int64_t lost_ns;  /* when the connection was lost */
	int64_t heard_ns; /* when the connection last moved bytes, or began to owe replies */
	unsigned in_flight;
	struct request_list waiting;   /* for a connection */
	struct request_list completed; /* done is to be called */
	struct nbd_info info;
	struct error error; /* of the last attempt */
};

static void list_init(struct request_list *list)
{
	list->first = NULL;
	list->last = &list->first;
}

static void list_add(struct request_list *list, struct nbd_request *request)
{
	request->next = NULL;
	*list->last = request;
	list->last = &request->next;
}

static struct nbd_request *list_take(struct request_list *list)
{
	struct nbd_request *first = list->first;

	list_init(list);
	return first;
}

static int64_t earlier(int64_t a_ns, int64_t b_ns)
{
	return a_ns < b_ns ? a_ns : b_ns;
}

static void wake(struct nbd_connection *c)
{
	eventfd_write(c->wake_fd, 1);
}

/* --- completion --- */

/* Calls done for what has completed. Without the lock. */
static void finish(struct nbd_request *request)
{
	while (request) {
		struct nbd_request *next = request->next;

		request->done(request);
		request = next;
	}
}

static void complete(struct nbd_connection *c, struct nbd_request *request, int result)
{
	request->result = result;
	list_add(&c->completed, request);
}

/* With the lock: everything that waits for a connection fails. */
static void fail_waiting(struct nbd_connection *c)
{
	struct nbd_request *request = list_take(&c->waiting);

	while (request) {
		struct nbd_request *next = request->next;

		complete(c, request, -EIO);
		request = next;
	}
}

/* libnbd's completion callback; with the lock. The error of a command that a lost connection took with it is ENOTCONN,
 * which no server can send. */
static int on_complete(void *opaque, int *error)
{
	struct nbd_request *request = opaque;
	struct nbd_connection *c = request->connection;

	c->in_flight--;
	if (*error == ENOTCONN)
		list_add(&c->waiting, request);
	else
		complete(c, request, -*error);
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

/* --- sending; with the lock, connection ready --- */

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

static void send_request(struct nbd_connection *c, struct nbd_request *request)
{
	if (c->in_flight++ == 0)
		c->heard_ns = host_now_ns();
	if (start_command(c, request) >= 0)
		return;
	/* libnbd refused it: nothing was queued and on_complete is not called for it. */
	c->in_flight--;
	if (nbd_get_errno() == ENOTCONN || nbd_aio_is_dead(c->handle) || nbd_aio_is_closed(c->handle))
		list_add(&c->waiting, request);
	else
		complete(c, request, nbd_get_errno() ? -nbd_get_errno() : -EIO);
}

void nbd_connection_submit(struct nbd_connection *c, struct nbd_request *request)
{
	struct nbd_request *completed;
	bool kick = true;

	request->connection = c;
	pthread_mutex_lock(&c->lock);
	if (c->state == READY) {
		send_request(c, request);
		/* The thread waits for replies anyway, unless the socket is full or the connection just broke. */
		kick = nbd_aio_get_direction(c->handle) != LIBNBD_AIO_DIRECTION_READ;
	} else if (c->expired || c->state == FAILED || c->closing) {
		complete(c, request, -EIO);
	} else {
		list_add(&c->waiting, request);
	}
	completed = list_take(&c->completed);
	pthread_mutex_unlock(&c->lock);
	if (kick)
		wake(c);
	finish(completed);
}

/* --- connecting; the thread --- */

static struct nbd_handle *make_handle(struct nbd_connection *c)
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
		error_set(&c->error, EINVAL, "%s", nbd_get_error());
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

/* Waits for the handle's socket, the wake-up or the deadline, and lets libnbd work. with_lock: for handles that are
 * ready. 0: go on; -1: libnbd has an error. */
static int pass(struct nbd_connection *c, struct nbd_handle *h, int64_t deadline_ns, bool with_lock)
{
	struct pollfd fds[2] = {{.fd = c->wake_fd, .events = POLLIN}, {.fd = -1}};
	int64_t left_ns = deadline_ns - host_now_ns();
	struct timespec timeout;
	unsigned direction = 0;
	eventfd_t count;
	int result = 0;

	if (h) {
		direction = nbd_aio_get_direction(h);
		fds[1].fd = nbd_aio_get_fd(h);
		fds[1].events = (short)((direction & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0) |
					(direction & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT : 0));
	}
	if (left_ns < 0)
		left_ns = 0;
	timeout = (struct timespec){.tv_sec = left_ns / NS_PER_S, .tv_nsec = left_ns % NS_PER_S};
	if (ppoll(fds, h ? 2 : 1, deadline_ns == INT64_MAX ? NULL : &timeout, NULL) < 0)
		return 0;
	if (fds[0].revents)
		eventfd_read(c->wake_fd, &count);
	if (!h || !fds[1].revents)
		return 0;
	if (with_lock) {
		pthread_mutex_lock(&c->lock);
		c->heard_ns = host_now_ns();
	}
	direction = nbd_aio_get_direction(h);
	if (fds[1].revents & (POLLIN | POLLHUP | POLLERR) && direction & LIBNBD_AIO_DIRECTION_READ)
		result = nbd_aio_notify_read(h);
	else if (fds[1].revents & (POLLOUT | POLLHUP | POLLERR) && direction & LIBNBD_AIO_DIRECTION_WRITE)
		result = nbd_aio_notify_write(h);
	if (with_lock)
		pthread_mutex_unlock(&c->lock);
	return result;
}

static bool has_ended(struct nbd_handle *h)
{
	return nbd_aio_is_dead(h) || nbd_aio_is_closed(h);
}

/* Fails what waits when the delay is over. Returns the time at which to look again. */
static int64_t check_delay(struct nbd_connection *c)
{
	const int64_t deadline_ns = c->lost_ns + (int64_t)c->settings.reconnect_delay_s * NS_PER_S;
	struct nbd_request *completed = NULL;
	bool over;

	pthread_mutex_lock(&c->lock);
	over = c->expired || host_now_ns() >= deadline_ns;
	if (over) {
		c->expired = true;
		fail_waiting(c);
		completed = list_take(&c->completed);
	}
	pthread_mutex_unlock(&c->lock);
	finish(completed);
	return over ? INT64_MAX : deadline_ns;
}

/* One attempt, without the lock. NULL with c->error set. */
static struct nbd_handle *connect_once(struct nbd_connection *c)
{
	const int64_t deadline_ns = host_now_ns() + CONNECT_NS;
	struct nbd_handle *h = make_handle(c);
	int result;

	if (!h)
		return NULL;
	result = start_connect(c, h);
	if (result < 0 && nbd_get_errno())
		error_set_errno(&c->error, nbd_get_errno(), "Failed to connect to '%s'", c->place);
	else if (result < 0)
		error_set(&c->error, EIO, "Failed to connect to '%s': %s", c->place, nbd_get_error());
	while (result >= 0 && !nbd_aio_is_ready(h)) {
		result = pass(c, h, earlier(deadline_ns, check_delay(c)), false);
		if (result < 0 || has_ended(h)) {
			const char *text = nbd_get_error();

			error_set(&c->error, nbd_get_errno() ? nbd_get_errno() : EIO, "Failed to connect to '%s': %s",
				  c->place, text ? text : "the server hung up");
			result = -1;
		} else if (host_now_ns() >= deadline_ns) {
			result = error_set(&c->error, ETIMEDOUT,
					   "Failed to connect to '%s': no answer of an NBD server within %lld seconds",
					   c->place, (long long)(CONNECT_NS / NS_PER_S));
		} else if (__atomic_load_n(&c->closing, __ATOMIC_RELAXED)) {
			result = -1;
		}
	}
	if (result >= 0)
		return h;
	nbd_close(h);
	return NULL;
}

static uint32_t clamp_size(int64_t size, uint32_t otherwise)
{
	return size > 0 && size <= DEFAULT_MAX ? (uint32_t)size : otherwise;
}

static int read_info(struct nbd_connection *c, struct nbd_handle *h, struct nbd_info *info)
{
	const int64_t length = nbd_get_size(h);

	if (length < 0)
		return error_set(&c->error, EINVAL, "'%s': the size of the export is unusable: %s", c->place,
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
		return error_set(&c->error, EINVAL, "'%s': the block sizes of the export make no sense", c->place);
	info->block_max = (uint32_t)align_down(info->block_max, info->block_min);
	return 0;
}

/* A server that comes back must be what it was. */
static int same_export(struct nbd_connection *c, const struct nbd_info *now)
{
	const struct nbd_info *was = &c->info;

	if (now->length != was->length)
		return error_set(&c->error, EIO, "'%s' came back with another size, %llu bytes after %llu", c->place,
				 (unsigned long long)now->length, (unsigned long long)was->length);
	if ((now->read_only && !was->read_only) || now->can_flush < was->can_flush || now->can_fua < was->can_fua ||
	    now->block_min > was->block_min || now->block_max < was->block_max)
		return error_set(&c->error, EIO, "'%s' came back with less abilities than it had", c->place);
	return 0;
}

/* Makes a connected handle the connection's, and sends what waits. */
static int adopt(struct nbd_connection *c, struct nbd_handle *h, bool first)
{
	struct nbd_info info;
	struct nbd_request *request, *completed;

	if (read_info(c, h, &info) || (!first && same_export(c, &info))) {
		nbd_close(h);
		return -1;
	}
	pthread_mutex_lock(&c->lock);
	if (first)
		c->info = info;
	else if (c->settings.log)
		log_warn(c->settings.log, "nbd '%s': connected again", c->place);
	c->handle = h;
	c->state = READY;
	c->expired = false;
	request = list_take(&c->waiting);
	while (request) {
		struct nbd_request *next = request->next;

		send_request(c, request);
		request = next;
	}
	completed = list_take(&c->completed);
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
	finish(completed);
	return 0;
}

/* --- the thread --- */

static bool is_closing(struct nbd_connection *c)
{
	bool closing;

	pthread_mutex_lock(&c->lock);
	closing = c->closing;
	pthread_mutex_unlock(&c->lock);
	return closing;
}

static void pause_until(struct nbd_connection *c, int64_t deadline_ns)
{
	while (!is_closing(c) && host_now_ns() < deadline_ns)
		pass(c, NULL, earlier(deadline_ns, check_delay(c)), false);
}

/* Connects for the first time; on failure the state is FAILED. */
static void connect_first(struct nbd_connection *c)
{
	const int64_t deadline_ns = host_now_ns() + (int64_t)c->settings.open_timeout_s * NS_PER_S;
	int64_t retry_ns = RETRY_FIRST_NS;

	while (!is_closing(c)) {
		struct nbd_handle *h = connect_once(c);

		if (h && adopt(c, h, true) == 0)
			return;
		/* Also a server that is there but does not have the export yet may get it. */
		if (host_now_ns() + retry_ns > deadline_ns)
			break;
		pause_until(c, host_now_ns() + retry_ns);
		retry_ns = earlier(2 * retry_ns, NS_PER_S);
	}
	pthread_mutex_lock(&c->lock);
	c->state = FAILED;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
}

static void reconnect(struct nbd_connection *c)
{
	int64_t retry_ns = RETRY_FIRST_NS;

	for (;;) {
		struct nbd_handle *h;

		check_delay(c);
		if (is_closing(c))
			return;
		h = connect_once(c);
		if (h && adopt(c, h, false) == 0)
			return;
		pause_until(c, host_now_ns() + retry_ns);
		retry_ns = earlier(2 * retry_ns, RETRY_MAX_NS);
	}
}

/* The connection is gone: libnbd has handed back all requests. */
static void lose(struct nbd_connection *c, const char *reason)
{
	struct nbd_handle *h;

	if (c->settings.log)
		log_warn(c->settings.log, "nbd '%s': connection lost (%s); requests wait %u s for a new one", c->place,
			 reason, c->settings.reconnect_delay_s);
	pthread_mutex_lock(&c->lock);
	h = c->handle;
	c->handle = NULL;
	c->state = CONNECTING;
	c->lost_ns = host_now_ns();
	c->expired = false;
	pthread_mutex_unlock(&c->lock);
	nbd_close(h);
}

static int64_t silence_deadline(struct nbd_connection *c)
{
	int64_t deadline_ns;

	pthread_mutex_lock(&c->lock);
	deadline_ns = c->in_flight ? c->heard_ns + NBD_SILENCE_S * NS_PER_S : INT64_MAX;
	pthread_mutex_unlock(&c->lock);
	return deadline_ns;
}

/* Until the connection is lost or is to be closed. */
static void serve(struct nbd_connection *c)
{
	char reason[256] = "the server hung up";

	while (!is_closing(c) && !has_ended(c->handle)) {
		const int64_t deadline_ns = silence_deadline(c);
		struct nbd_request *completed;

		/* Bounded also when nothing is in flight now: what is submitted meanwhile wakes nobody. */
		if (pass(c, c->handle, earlier(deadline_ns, host_now_ns() + NBD_SILENCE_S * NS_PER_S), true) < 0)
			snprintf(reason, sizeof(reason), "%s", nbd_get_error());
		pthread_mutex_lock(&c->lock);
		completed = list_take(&c->completed);
		pthread_mutex_unlock(&c->lock);
		finish(completed);
		if (host_now_ns() >= silence_deadline(c)) {
			snprintf(reason, sizeof(reason), "no answer for %d s", NBD_SILENCE_S);
			/* libnbd sees the end of the stream and hands back its commands. */
			shutdown(nbd_aio_get_fd(c->handle), SHUT_RDWR);
		}
	}
	if (!is_closing(c))
		lose(c, reason);
}

static void say_goodbye(struct nbd_connection *c)
{
	const int64_t deadline_ns = host_now_ns() + GOODBYE_NS;

	if (!c->handle)
		return;
	if (nbd_aio_is_ready(c->handle) && nbd_aio_disconnect(c->handle, 0) == 0)
		while (!has_ended(c->handle) && host_now_ns() < deadline_ns)
			if (pass(c, c->handle, deadline_ns, true) < 0)
				break;
	nbd_close(c->handle);
	c->handle = NULL;
}

static void *run(void *opaque)
{
	struct nbd_connection *c = opaque;

	connect_first(c);
	while (c->state != FAILED && !is_closing(c)) {
		if (c->handle)
			serve(c);
		else
			reconnect(c);
	}
	say_goodbye(c);
	return NULL;
}

/* --- life --- */

static void connection_free(struct nbd_connection *c)
{
	pthread_cond_destroy(&c->changed);
	pthread_mutex_destroy(&c->lock);
	if (c->wake_fd >= 0)
		close(c->wake_fd);
	nbd_address_free(&c->settings.address);
	free(c->settings.meta_context);
	free(c->place);
	free(c);
}

static int start_thread(struct nbd_connection *c)
{
	sigset_t all, before;
	int result;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	result = pthread_create(&c->thread, NULL, run, c);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return result;
}

struct nbd_connection *nbd_connection_open(struct nbd_settings *settings, struct nbd_info *info, struct error *err)
{
	struct nbd_connection *c = xcalloc(1, sizeof(*c));
	bool failed;
	int result;

	c->settings = *settings;
	c->place = nbd_address_place(&settings->address);
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->changed, NULL);
	list_init(&c->waiting);
	list_init(&c->completed);
	c->lost_ns = host_now_ns();
	c->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	result = c->wake_fd < 0 ? errno : start_thread(c);
	if (result) {
		error_set_errno(err, result, "cannot start a thread for '%s'", c->place);
		connection_free(c);
		return NULL;
	}
	pthread_mutex_lock(&c->lock);
	while (c->state == CONNECTING)
		pthread_cond_wait(&c->changed, &c->lock);
	*info = c->info;
	failed = c->state == FAILED; /* it may have been lost again, which is another matter */
	pthread_mutex_unlock(&c->lock);
	if (!failed)
		return c;
	pthread_join(c->thread, NULL);
	error_set(err, c->error.code ? c->error.code : EIO, "%s", c->error.msg);
	connection_free(c);
	return NULL;
}

void nbd_connection_close(struct nbd_connection *c)
{
	pthread_mutex_lock(&c->lock);
	__atomic_store_n(&c->closing, true, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&c->lock);
	wake(c);
	pthread_join(c->thread, NULL);
	connection_free(c);
}
