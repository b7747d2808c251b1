/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Submission queues. A request goes down the chain of nodes with `map` and becomes an io_uring entry of the protocol
 * at the bottom, or, where that is not possible at once, a job of the worker threads that runs the plain functions from
 * the top. Short or interrupted transfers are repeated by a worker. Everything but the worker's half runs in the loop's
 * thread; results of workers and of requests that finish at once come in over a list and an eventfd, those of the ring
 * over the ring's own descriptor.
 */
#include "backend/block/internal.h"

#include "base/loop.h"

#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define DRAIN_PATIENCE_NS (2 * NS_PER_S)
#define DRAIN_LOOK_MS     500
#define RING_ENTRIES      256

struct block_queue {
	struct block *block;
	struct block *entry; /* where requests start: block, or what lies below its throttle filters */
	struct block_gates *gates;
	struct loop *loop;
	struct pool *pool;
	unsigned in_flight;
	bool has_ring;
	struct io_uring ring;
	struct loop_fd *ring_watch;
	unsigned unsent; /* entries not yet handed to the kernel */

	int event_fd;
	struct loop_fd *event_watch;
	pthread_mutex_t lock; /* of the list */
	struct pool_job *finished, **finished_last;
};

/* How the layer uses request->private_data. */
struct request_state {
	struct pool_job job; /* its next also links the finished list */
	struct block_queue *queue;
	int result;
	void (*complete)(void *opaque, int result); /* see block_queue_on_complete */
	void *complete_opaque;
};

static struct request_state *state_of(struct block_request *request)
{
	_Static_assert(sizeof(struct request_state) <= sizeof(request->private_data), "fits the caller's structure");
	return (struct request_state *)request->private_data;
}

static struct block_request *request_of(struct pool_job *job)
{
	return (struct block_request *)((char *)job - offsetof(struct block_request, private_data));
}

/* --- results that come in over the list --- */

/* Any thread. */
static void push_finished(struct block_queue *queue, struct block_request *request, int result)
{
	struct request_state *state = state_of(request);
	bool was_empty;

	state->result = result;
	state->job.next = NULL;
	pthread_mutex_lock(&queue->lock);
	was_empty = !queue->finished;
	*queue->finished_last = &state->job;
	queue->finished_last = &state->job.next;
	/* Under the lock: once the request is taken from the list the queue may be freed. */
	if (was_empty)
		eventfd_write(queue->event_fd, 1);
	pthread_mutex_unlock(&queue->lock);
}

static struct pool_job *take_finished(struct block_queue *queue)
{
	struct pool_job *list;
	eventfd_t count;

	pthread_mutex_lock(&queue->lock);
	eventfd_read(queue->event_fd, &count);
	list = queue->finished;
	queue->finished = NULL;
	queue->finished_last = &queue->finished;
	pthread_mutex_unlock(&queue->lock);
	return list;
}

static void count(struct block *block, const struct block_request *request)
{
	enum { READ_BYTES, WRITE_BYTES, READ_OPS, WRITE_OPS, FLUSH_OPS, DISCARD_OPS };
	static const uint8_t operation[] = {
		[BLOCK_READ] = READ_OPS,       [BLOCK_WRITE] = WRITE_OPS,        [BLOCK_FLUSH] = FLUSH_OPS,
		[BLOCK_DISCARD] = DISCARD_OPS, [BLOCK_WRITE_ZEROES] = WRITE_OPS,
	};

	atomic_fetch_add_explicit(&block->counters[operation[request->op]], 1, memory_order_relaxed);
	if (request->op == BLOCK_READ)
		atomic_fetch_add_explicit(&block->counters[READ_BYTES], request->length, memory_order_relaxed);
	else if (request->op == BLOCK_WRITE || request->op == BLOCK_WRITE_ZEROES)
		atomic_fetch_add_explicit(&block->counters[WRITE_BYTES], request->length, memory_order_relaxed);
}

static void complete(struct block_queue *queue, struct block_request *request, int result)
{
	queue->in_flight--;
	if (result == 0)
		count(queue->block, request);
	request->done(request, result);
}

static void handle_finished(struct block_queue *queue)
{
	struct pool_job *job = take_finished(queue);

	while (job) {
		struct block_request *request = request_of(job);

		job = job->next; /* done may reuse the request */
		complete(queue, request, state_of(request)->result);
	}
}

/* --- workers --- */

static void run_job(struct pool_job *job)
{
	struct block_request *request = request_of(job);
	struct block_queue *queue = state_of(request)->queue;

	push_finished(queue, request,
		      block_run(queue->entry, request->op, request->offset, request->length, request->iov,
				request->iov_count, request->flags));
}

static void give_to_worker(struct block_queue *queue, struct block_request *request)
{
	struct request_state *state = state_of(request);

	state->job.run = run_job;
	pool_submit(queue->pool, &state->job);
}

/* --- the ring --- */

static void send_entries(struct block_queue *queue)
{
	while (queue->unsent) {
		int sent = io_uring_submit(&queue->ring);

		if (sent == -EINTR)
			continue;
		/* EAGAIN, EBUSY: the kernel is short of memory or has results to be taken first; the next pass tries
		 * again. */
		if (sent < 0)
			return;
		queue->unsent -= min_u64((unsigned)sent, queue->unsent);
	}
}

struct io_uring_sqe *block_queue_sqe(struct block_queue *queue, struct block_request *request)
{
	struct io_uring_sqe *sqe;

	if (!queue->has_ring)
		return NULL;
	sqe = io_uring_get_sqe(&queue->ring);
	if (!sqe) {
		send_entries(queue);
		sqe = io_uring_get_sqe(&queue->ring);
	}
	if (!sqe)
		return NULL;
	/* The io_uring_prep functions leave user_data alone. */
	memset(sqe, 0, sizeof(*sqe));
	io_uring_sqe_set_data(sqe, request);
	queue->unsent++;
	return sqe;
}

void block_queue_on_complete(struct block_request *request, void (*fn)(void *opaque, int result), void *opaque)
{
	state_of(request)->complete = fn;
	state_of(request)->complete_opaque = opaque;
}

static void ring_result(struct block_queue *queue, struct block_request *request, int result)
{
	struct request_state *state = state_of(request);
	const bool transfer = request->op == BLOCK_READ || request->op == BLOCK_WRITE;

	if (state->complete) {
		state->complete(state->complete_opaque, result);
		state->complete = NULL;
	}
	if (result == -EAGAIN || result == -EINTR || (transfer && result >= 0 && (uint64_t)result != request->length))
		give_to_worker(queue, request); /* knows ends of files, full disks and retries */
	else
		complete(queue, request, result < 0 ? result : 0);
}

static void handle_ring(struct block_queue *queue)
{
	struct io_uring_cqe *cqe;

	while (io_uring_peek_cqe(&queue->ring, &cqe) == 0) {
		struct block_request *request = io_uring_cqe_get_data(cqe);
		int result = cqe->res;

		io_uring_cqe_seen(&queue->ring, cqe);
		ring_result(queue, request, result);
	}
	send_entries(queue);
}

/* --- submission --- */

void block_queue_finish(struct block_queue *queue, struct block_request *request, int result)
{
	push_finished(queue, request, result);
}

/* Down the chain to the protocol. -EAGAIN: only the plain form can do it. */
static int try_fast(struct block_queue *queue, struct block_request *request)
{
	struct block *block = queue->entry;
	uint64_t offset = request->offset;

	if (request->op == BLOCK_FLUSH && (block->no_flush || queue->block->no_flush)) {
		block_queue_finish(queue, request, 0);
		return 0;
	}
	while (!block->driver->submit) {
		uint64_t length = request->length, child_offset = 0;
		struct block *child = block_data_node(block, offset);
		int result;

		if (request->op == BLOCK_WRITE && block_zeroes_found(block, request->iov, request->iov_count))
			return -EAGAIN;

		/* A flush of a node with a map of its own may have metadata to write: that is the plain form's
		 * business. */
		if (!block->driver->map || !child || (block->driver->own_metadata && request->flags & BLOCK_FUA))
			return -EAGAIN;
		result = block->driver->map(block, request->op, offset, &length, &child_offset);
		if (result)
			return result;
		if (length < request->length)
			return -EAGAIN;
		offset = child_offset;
		block = child;
	}
	if (request->op == BLOCK_WRITE && block_zeroes_found(block, request->iov, request->iov_count))
		return -EAGAIN;
	return block->driver->submit(block, queue, request, offset);
}

static void start(struct block_queue *queue, struct block_request *request)
{
	int result = try_fast(queue, request);

	if (result == -EAGAIN)
		give_to_worker(queue, request);
	else if (result)
		block_queue_finish(queue, request, result);
}

/* A request that the gates had kept; NULL: those were all for now. */
static void passed_gates(void *opaque, struct block_request *request)
{
	if (request)
		start(opaque, request);
	else
		block_queue_kick(opaque);
}

void block_submit(struct block_queue *queue, struct block_request *request)
{
	struct request_state *state = state_of(request);
	int result = block_check(queue->block, request->op, request->offset, request->length);

	*state = (struct request_state){.queue = queue};
	queue->in_flight++;
	if (result || (request->length == 0 && request->op != BLOCK_FLUSH)) {
		block_queue_finish(queue, request, result);
		return;
	}
	if (block_gates_enter(queue->gates, request))
		start(queue, request);
}

void block_queue_kick(struct block_queue *queue)
{
	send_entries(queue);
}

/* Tells the protocols below that what they have in flight need not be waited for any longer. */
static void give_up(struct block *block)
{
	for (; block; block = block->file) {
		if (block->driver->cancel)
			block->driver->cancel(block);
		if (block->backing)
			give_up(block->backing);
	}
}

void block_queue_drain(struct block_queue *queue)
{
	int64_t patience_ns = host_now_ns() + DRAIN_PATIENCE_NS;

	block_gates_open(queue->gates, true);
	while (queue->in_flight) {
		struct pollfd fds[2] = {{.fd = queue->event_fd, .events = POLLIN},
					{.fd = queue->has_ring ? queue->ring.ring_fd : -1, .events = POLLIN}};

		send_entries(queue);
		/* Short for the case that the kernel did not take all entries. */
		if (poll(fds, 2, queue->unsent ? 1 : DRAIN_LOOK_MS) < 0 && errno != EINTR)
			break;
		if (host_now_ns() > patience_ns) {
			give_up(queue->block);
			patience_ns = host_now_ns() + DRAIN_PATIENCE_NS;
		}
		if (queue->has_ring)
			handle_ring(queue);
		handle_finished(queue);
	}
	block_gates_open(queue->gates, false);
}

/* --- life --- */

static void on_event(void *opaque, uint32_t events)
{
	handle_finished(opaque);
}

static void on_ring(void *opaque, uint32_t events)
{
	handle_ring(opaque);
}

static int open_ring(struct block_queue *queue)
{
	int result = io_uring_queue_init(RING_ENTRIES, &queue->ring, 0);

	if (result < 0)
		return result;
	queue->has_ring = true;
	io_uring_ring_dontfork(&queue->ring);
	queue->ring_watch = loop_fd_add(queue->loop, queue->ring.ring_fd, EPOLLIN, on_ring, queue);
	return 0;
}

static const char *opened_aio(const struct block *block)
{
	while (block->file)
		block = block->file;
	return block->aio;
}

/* Chooses between ring and threads as the header says. */
static int choose_aio(struct block_queue *queue, const char *aio, struct error *err)
{
	struct log *log = block_log(queue->block);
	int result;

	if (!aio)
		aio = opened_aio(queue->block);
	if (aio && !strcmp(aio, "threads"))
		return 0;
	if (aio && !strcmp(aio, "native"))
		aio = NULL; /* the kernel does the I/O while the thread goes on: as the best there is */
	if (aio && strcmp(aio, "io_uring"))
		return error_set(err, EINVAL, "aio=%s: expected 'io_uring', 'native' or 'threads'", aio);
	result = open_ring(queue);
	if (result == 0)
		return 0;
	if (aio)
		return error_set_errno(err, -result, "io_uring cannot be used here; aio=threads works without it");
	if (log)
		log_warn(log, "io_uring cannot be used here (%s): disk '%s' uses threads", strerror(-result),
			 queue->block->node_name);
	return 0;
}

struct block_queue *block_queue_new(struct block *block, struct loop *loop, const char *aio, struct error *err)
{
	struct block_queue *queue = xcalloc(1, sizeof(*queue));

	queue->block = block;
	queue->loop = loop;
	queue->gates = block_gates_new(block, loop, passed_gates, queue);
	queue->entry = block_gates_entry(queue->gates);
	queue->pool = block_pool(block);
	queue->finished_last = &queue->finished;
	pthread_mutex_init(&queue->lock, NULL);
	queue->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (queue->event_fd < 0) {
		error_set_errno(err, errno, "cannot make an eventfd for disk '%s'", block->node_name);
		pthread_mutex_destroy(&queue->lock);
		block_gates_free(queue->gates);
		free(queue);
		return NULL;
	}
	queue->event_watch = loop_fd_add(loop, queue->event_fd, EPOLLIN, on_event, queue);
	if (choose_aio(queue, aio, err) < 0) {
		block_queue_free(queue);
		return NULL;
	}
	return queue;
}

const char *block_queue_aio(const struct block_queue *queue)
{
	return queue->has_ring ? "io_uring" : "threads";
}

void block_queue_free(struct block_queue *queue)
{
	if (!queue)
		return;
	block_queue_drain(queue);
	loop_fd_remove(queue->event_watch);
	if (queue->has_ring) {
		loop_fd_remove(queue->ring_watch);
		io_uring_queue_exit(&queue->ring);
	}
	/* A worker may still be inside push_finished's critical section. */
	pthread_mutex_lock(&queue->lock);
	pthread_mutex_unlock(&queue->lock);
	pthread_mutex_destroy(&queue->lock);
	close(queue->event_fd);
	block_gates_free(queue->gates);
	free(queue);
}
