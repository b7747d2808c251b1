/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The lock guards everything below it in the structure and every use of a connection that is ready; `done` is called
 * without it. */
#include "backend/block/modules/remote.h"

#include "base/log.h"
#include "base/util.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define RETRY_FIRST_NS (NS_PER_S / 4)
#define RETRY_MAX_NS   (16 * NS_PER_S)
#define SILENCE_NS     (REMOTE_SILENCE_S * NS_PER_S)

enum state { CONNECTING, READY, FAILED };

struct request_list {
	struct remote_request *first, **last;
};

struct remote {
	struct remote_settings settings;
	char *what, *place;
	int wake_fd;
	pthread_t thread;

	pthread_mutex_t lock;
	pthread_cond_t changed; /* state */
	enum state state;
	bool opened; /* it was READY once */
	bool closing;
	bool cancelled;   /* the connection is to be given up */
	bool expired;     /* the delay after the last loss is over */
	int64_t lost_ns;  /* when the connection was lost */
	int64_t heard_ns; /* when the connection last moved bytes, or began to owe replies */
	unsigned in_flight;
	struct request_list waiting;   /* for a connection */
	struct request_list completed; /* done is to be called */
	struct error error;            /* of the last attempt */
};

static void list_init(struct request_list *list)
{
	list->first = NULL;
	list->last = &list->first;
}

static void list_add(struct request_list *list, struct remote_request *request)
{
	request->next = NULL;
	*list->last = request;
	list->last = &request->next;
}

static struct remote_request *list_take(struct request_list *list)
{
	struct remote_request *first = list->first;

	list_init(list);
	return first;
}

static int64_t earlier(int64_t a_ns, int64_t b_ns)
{
	return a_ns < b_ns ? a_ns : b_ns;
}

static void wake(struct remote *r)
{
	eventfd_write(r->wake_fd, 1);
}

/* --- completion --- */

/* Calls done for what has completed. Without the lock. */
static void finish(struct remote_request *request)
{
	while (request) {
		struct remote_request *next = request->next;

		request->done(request);
		request = next;
	}
}

static void complete(struct remote *r, struct remote_request *request, int result)
{
	request->result = result;
	list_add(&r->completed, request);
}

static void fail_waiting(struct remote *r)
{
	struct remote_request *request = list_take(&r->waiting);

	while (request) {
		struct remote_request *next = request->next;

		complete(r, request, -EIO);
		request = next;
	}
}

void remote_done(struct remote *r, struct remote_request *request, int result)
{
	r->in_flight--;
	if (result == -ENOTCONN)
		list_add(&r->waiting, request);
	else
		complete(r, request, result);
}

static void finish_completed(struct remote *r)
{
	struct remote_request *completed;

	pthread_mutex_lock(&r->lock);
	completed = list_take(&r->completed);
	pthread_mutex_unlock(&r->lock);
	finish(completed);
}

/* --- submitting --- */

static void start(struct remote *r, struct remote_request *request)
{
	if (r->in_flight++ == 0)
		r->heard_ns = host_now_ns();
	r->settings.driver->start(r, r->settings.opaque, request);
}

void remote_submit(struct remote *r, struct remote_request *request)
{
	struct remote_request *completed;
	bool kick = true;

	pthread_mutex_lock(&r->lock);
	if (r->state == READY) {
		start(r, request);
		/* The thread waits for replies anyway, unless the socket is full or the connection just broke. */
		kick = r->settings.driver->watch(r->settings.opaque).events != POLLIN;
	} else if (r->expired || r->state == FAILED || r->closing) {
		complete(r, request, -EIO);
	} else {
		list_add(&r->waiting, request);
	}
	completed = list_take(&r->completed);
	pthread_mutex_unlock(&r->lock);
	if (kick)
		wake(r);
	finish(completed);
}

static void on_waited(struct remote_request *request)
{
	sem_post(request->opaque);
}

int remote_run(struct remote *r, struct remote_request *request)
{
	sem_t ready;

	sem_init(&ready, 0, 0);
	request->done = on_waited;
	request->opaque = &ready;
	remote_submit(r, request);
	while (sem_wait(&ready) < 0 && errno == EINTR)
		;
	sem_destroy(&ready);
	return request->result;
}

void remote_cancel(struct remote *r)
{
	struct remote_request *completed;

	pthread_mutex_lock(&r->lock);
	if (r->state == READY) {
		r->cancelled = r->in_flight > 0;
	} else {
		r->expired = true;
		fail_waiting(r);
	}
	completed = list_take(&r->completed);
	pthread_mutex_unlock(&r->lock);
	wake(r);
	finish(completed);
}

/* --- connecting; the thread --- */

bool remote_is_closing(struct remote *r)
{
	bool closing;

	pthread_mutex_lock(&r->lock);
	closing = r->closing;
	pthread_mutex_unlock(&r->lock);
	return closing;
}

/* Waits for a socket, a wake-up or the deadline. */
static short wait_for(struct remote *r, struct pollfd fd, int64_t deadline_ns)
{
	struct pollfd fds[2] = {{.fd = r->wake_fd, .events = POLLIN}, fd};
	const int64_t left_ns = deadline_ns - host_now_ns();
	const struct timespec timeout = {.tv_sec = left_ns > 0 ? left_ns / NS_PER_S : 0,
					 .tv_nsec = left_ns > 0 ? left_ns % NS_PER_S : 0};
	eventfd_t count;

	if (ppoll(fds, 2, deadline_ns == INT64_MAX ? NULL : &timeout, NULL) < 0)
		return 0;
	if (fds[0].revents)
		eventfd_read(r->wake_fd, &count);
	return fds[1].revents;
}

/* Fails what waits when the delay is over. Returns the time at which to look again. */
static int64_t check_delay(struct remote *r)
{
	const int64_t deadline_ns = r->lost_ns + (int64_t)r->settings.delay_s * NS_PER_S;
	bool over;

	pthread_mutex_lock(&r->lock);
	over = r->expired || host_now_ns() >= deadline_ns;
	if (over) {
		r->expired = true;
		fail_waiting(r);
	}
	pthread_mutex_unlock(&r->lock);
	finish_completed(r);
	return over ? INT64_MAX : deadline_ns;
}

short remote_wait(struct remote *r, struct pollfd fd, int64_t deadline_ns)
{
	return wait_for(r, fd, earlier(deadline_ns, check_delay(r)));
}

static void pause_until(struct remote *r, int64_t deadline_ns)
{
	const struct pollfd none = {.fd = -1};

	while (!remote_is_closing(r) && host_now_ns() < deadline_ns)
		remote_wait(r, none, deadline_ns);
}

/* One attempt; when it succeeds, what waits is started. */
static bool connect_once(struct remote *r, bool first)
{
	struct remote_request *request;

	if (r->settings.driver->connect(r, r->settings.opaque, first, &r->error) < 0)
		return false;
	if (!first && r->settings.log)
		log_warn(r->settings.log, "%s '%s': connected again", r->what, r->place);
	pthread_mutex_lock(&r->lock);
	r->state = READY;
	r->opened = true;
	r->expired = false;
	request = list_take(&r->waiting);
	while (request) {
		struct remote_request *next = request->next;

		start(r, request);
		request = next;
	}
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
	finish_completed(r);
	return true;
}

/* Connects for the first time; on failure the state is FAILED. */
static void connect_first(struct remote *r)
{
	const int64_t deadline_ns = host_now_ns() + (int64_t)r->settings.open_timeout_s * NS_PER_S;
	int64_t retry_ns = RETRY_FIRST_NS;

	while (!remote_is_closing(r)) {
		if (connect_once(r, true))
			return;
		/* Also a server that is there but does not have the disk yet may get it. */
		if (host_now_ns() + retry_ns > deadline_ns)
			break;
		pause_until(r, host_now_ns() + retry_ns);
		retry_ns = earlier(2 * retry_ns, NS_PER_S);
	}
	pthread_mutex_lock(&r->lock);
	r->state = FAILED;
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
}

static void reconnect(struct remote *r)
{
	int64_t retry_ns = RETRY_FIRST_NS;

	for (;;) {
		check_delay(r);
		if (remote_is_closing(r) || connect_once(r, false))
			return;
		pause_until(r, host_now_ns() + retry_ns);
		retry_ns = earlier(2 * retry_ns, RETRY_MAX_NS);
	}
}

/* --- connected; the thread --- */

static void lose(struct remote *r, const char *reason)
{
	if (r->settings.log)
		log_warn(r->settings.log, "%s '%s': connection lost (%s); requests wait %u s for a new one", r->what,
			 r->place, reason, r->settings.delay_s);
	pthread_mutex_lock(&r->lock);
	r->settings.driver->disconnect(r->settings.opaque, false);
	r->state = CONNECTING;
	r->lost_ns = host_now_ns();
	r->expired = r->cancelled;
	r->cancelled = false;
	if (r->expired)
		fail_waiting(r);
	pthread_mutex_unlock(&r->lock);
	finish_completed(r);
}

/* One turn. False when the connection has ended, for this reason. */
static bool serve_once(struct remote *r, char *reason, size_t bytes)
{
	const struct remote_driver *driver = r->settings.driver;
	struct pollfd fd;
	int64_t deadline_ns;
	short revents;
	bool ended;

	pthread_mutex_lock(&r->lock);
	fd = driver->watch(r->settings.opaque);
	/* Bounded also when nothing is in flight now: what is submitted meanwhile wakes nobody. */
	deadline_ns = (r->in_flight ? r->heard_ns : host_now_ns()) + SILENCE_NS;
	pthread_mutex_unlock(&r->lock);
	if (fd.fd < 0)
		return false;
	revents = wait_for(r, fd, deadline_ns);
	pthread_mutex_lock(&r->lock);
	if (revents) {
		r->heard_ns = host_now_ns();
		driver->service(r->settings.opaque, revents, reason, bytes);
	}
	ended = r->in_flight && host_now_ns() >= r->heard_ns + SILENCE_NS;
	if (ended)
		snprintf(reason, bytes, "no answer for %d s", REMOTE_SILENCE_S);
	if (r->cancelled) {
		snprintf(reason, bytes, "nobody waits for its answers any longer");
		ended = true;
	}
	pthread_mutex_unlock(&r->lock);
	finish_completed(r);
	return !ended;
}

static void *run(void *opaque)
{
	struct remote *r = opaque;
	bool connected;

	connect_first(r);
	connected = r->state == READY;
	while (r->state != FAILED && !remote_is_closing(r)) {
		char reason[256] = "the server hung up";

		if (!connected) {
			reconnect(r);
			connected = !remote_is_closing(r);
		} else if (!serve_once(r, reason, sizeof(reason))) {
			lose(r, reason);
			connected = false;
		}
	}
	if (r->state == READY) {
		pthread_mutex_lock(&r->lock);
		r->settings.driver->disconnect(r->settings.opaque, true);
		pthread_mutex_unlock(&r->lock);
	}
	return NULL;
}

/* --- life --- */

static void remote_free(struct remote *r)
{
	pthread_cond_destroy(&r->changed);
	pthread_mutex_destroy(&r->lock);
	if (r->wake_fd >= 0)
		close(r->wake_fd);
	free(r->what);
	free(r->place);
	free(r);
}

static int start_thread(struct remote *r)
{
	sigset_t all, before;
	int result;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	result = pthread_create(&r->thread, NULL, run, r);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return result;
}

struct remote *remote_open(const struct remote_settings *settings, struct error *err)
{
	struct remote *r = xcalloc(1, sizeof(*r));
	bool failed;
	int result;

	r->settings = *settings;
	r->what = xstrdup(settings->what);
	r->place = xstrdup(settings->place);
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->changed, NULL);
	list_init(&r->waiting);
	list_init(&r->completed);
	r->lost_ns = host_now_ns();
	r->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	result = r->wake_fd < 0 ? errno : start_thread(r);
	if (result) {
		error_set_errno(err, result, "cannot start a thread for '%s'", r->place);
		remote_free(r);
		return NULL;
	}
	pthread_mutex_lock(&r->lock);
	while (!r->opened && r->state != FAILED)
		pthread_cond_wait(&r->changed, &r->lock);
	failed = !r->opened;
	pthread_mutex_unlock(&r->lock);
	if (!failed)
		return r;
	pthread_join(r->thread, NULL);
	error_set(err, r->error.code ? r->error.code : EIO, "%s", r->error.msg);
	remote_free(r);
	return NULL;
}

void remote_close(struct remote *r)
{
	pthread_mutex_lock(&r->lock);
	r->closing = true;
	pthread_mutex_unlock(&r->lock);
	wake(r);
	pthread_join(r->thread, NULL);
	remote_free(r);
}
