/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The transmission phase (doc/proto.md, "Transmission" and "Request types"): requests become requests of the block
 * layer, several at once, and are answered in the order in which they end. Reads are answered in structured form where
 * that was negotiated, in one chunk; what else has an answer without data keeps the simple form, as the protocol
 * allows.
 */
#include "backend/block/nbd/session.h"

#include "base/loop.h"

#include <stdlib.h>

#define MAX_EXTENTS 4096u
#define CACHE_BYTES (256u * 1024)

int nbd_transmission_start(struct nbd_session *s, const struct nbd_export *export)
{
	struct error err = {0};

	s->queue = block_queue_new(export->block, s->loop, export->aio, &err);
	if (!s->queue) {
		if (s->config->log)
			log_warn(s->config->log, "export '%s': %s", export->name, err.msg);
		return -err.code;
	}
	s->export = export;
	s->phase = NBD_PHASE_TRANSMISSION;
	return 0;
}

/* --- replies --- */

/* The protocol knows these and no others. */
static uint32_t error_code(int result)
{
	switch (-result) {
	case 0:
	case EPERM:
	case EIO:
	case ENOMEM:
	case EINVAL:
	case ENOSPC:
	case EOVERFLOW:
	case EOPNOTSUPP:
	case ESHUTDOWN:
		return (uint32_t)-result;
	case EROFS:
	case EACCES:
		return EPERM;
	case EDQUOT:
	case EFBIG:
		return ENOSPC;
	default:
		return EIO;
	}
}

static void chunk_head(struct nbd_job *job, uint16_t type, uint32_t payload)
{
	uint8_t *to = nbd_put16(nbd_put32(job->head, NBD_STRUCTURED_REPLY), NBD_REPLY_FLAG_DONE);

	to = nbd_put32(nbd_put64(nbd_put16(to, type), job->cookie), payload);
	job->head_length = (size_t)(to - job->head);
}

/* Whether the client expects chunks in answer to this command. */
static bool answers_in_chunks(const struct nbd_job *job)
{
	return job->session->structured && (job->command == NBD_CMD_READ || job->command == NBD_CMD_BLOCK_STATUS);
}

static void reply_in_chunks(struct nbd_job *job)
{
	if (job->result) {
		chunk_head(job, NBD_REPLY_TYPE_ERROR, 6);
		nbd_put16(nbd_put32(job->head + job->head_length, error_code(job->result)), 0);
		job->head_length += 6;
	} else if (job->command == NBD_CMD_READ && job->length) {
		chunk_head(job, NBD_REPLY_TYPE_OFFSET_DATA, 8 + job->length);
		nbd_put64(job->head + job->head_length, job->offset);
		job->head_length += 8;
		job->data_length = job->length;
	} else if (job->command == NBD_CMD_READ) {
		chunk_head(job, NBD_REPLY_TYPE_NONE, 0);
	}
	/* The chunks of a block status are in its data already. */
}

static void reply(struct nbd_job *job)
{
	if (answers_in_chunks(job)) {
		reply_in_chunks(job);
	} else {
		nbd_put64(nbd_put32(nbd_put32(job->head, NBD_SIMPLE_REPLY), error_code(job->result)), job->cookie);
		job->head_length = 16;
		if (job->command == NBD_CMD_READ && !job->result)
			job->data_length = job->length;
	}
	if (job->session->phase == NBD_PHASE_ENDED)
		nbd_job_rest(job); /* nobody is there any more */
	else
		nbd_job_send(job);
}

/* --- requests of the block layer --- */

static void submit(struct nbd_job *job, enum block_op op, uint32_t flags);

static void on_done(struct block_request *request, int result)
{
	struct nbd_job *job = container_of(request, struct nbd_job, request);

	job->session->at_work--;
	job->result = result;
	/* A discard has no FUA of its own: a flush behind it makes it durable. */
	if (request->op == BLOCK_DISCARD && job->flags & NBD_CMD_FLAG_FUA && !result)
		submit(job, BLOCK_FLUSH, 0);
	else
		reply(job);
}

static void submit(struct nbd_job *job, enum block_op op, uint32_t flags)
{
	const bool fua = (op == BLOCK_WRITE || op == BLOCK_WRITE_ZEROES) &&
			 (job->flags & NBD_CMD_FLAG_FUA || job->session->export->writethrough);

	job->iov = (struct iovec){job->data, job->length};
	job->request = (struct block_request){
		.op = op,
		.flags = flags | (fua ? BLOCK_FUA : 0u),
		.offset = op == BLOCK_FLUSH ? 0 : job->offset,
		.length = op == BLOCK_FLUSH ? 0 : job->length,
		.iov = &job->iov,
		.iov_count = op == BLOCK_READ || op == BLOCK_WRITE,
		.done = on_done,
	};
	job->session->at_work++;
	block_submit(job->session->queue, &job->request);
}

static void fail(struct nbd_job *job, int result)
{
	job->result = result;
	reply(job);
}

/* --- what runs in a worker --- */

static void on_worker_done(void *opaque)
{
	struct nbd_job *job = opaque;

	job->session->at_work--;
	reply(job);
}

static void start_worker(struct nbd_job *job, void (*run)(struct pool_job *job))
{
	job->session->at_work++;
	job->pool_job.run = run;
	pool_submit(block_pool(job->session->export->block), &job->pool_job);
}

static void worker_done(struct nbd_job *job)
{
	loop_post(job->session->loop, on_worker_done, job);
}

/* NBD_CMD_CACHE: the host's caches get it by its being read. */
static void run_cache(struct pool_job *pool_job)
{
	struct nbd_job *job = container_of(pool_job, struct nbd_job, pool_job);

	for (uint32_t at = 0; at < job->length && !job->result; at += CACHE_BYTES)
		job->result = block_pread(job->session->export->block, job->offset + at, job->data,
					  min_u64(job->length - at, CACHE_BYTES));
	worker_done(job);
}

struct extents {
	uint8_t *at; /* where the next goes */
	unsigned count;
	uint64_t length; /* of the last one, whose flags follow */
	uint32_t flags;
};

static void put_extent(struct extents *e)
{
	if (!e->length)
		return;
	e->at = nbd_put32(nbd_put32(e->at, (uint32_t)e->length), e->flags);
	e->count++;
}

static uint32_t context_value(unsigned context, const struct block_span *span)
{
	if (context == NBD_META_BASE)
		return (span->data ? 0 : NBD_STATE_HOLE) | (span->zero ? NBD_STATE_ZERO : 0);
	return span->present ? span->depth + 1 : 0;
}

/* The chunk of one context at `to`; returns its end or an errno in *result. */
static uint8_t *describe(struct nbd_job *job, unsigned context, uint8_t *to, bool last, int *result)
{
	struct extents e = {.at = to + 24};
	const bool one = job->flags & NBD_CMD_FLAG_REQ_ONE;
	uint64_t at = job->offset;
	const uint64_t end = at + job->length;

	while (at < end && e.count < MAX_EXTENTS - 1 && !(one && e.count)) {
		struct block_span span;
		uint32_t value;

		*result = block_span_at(job->session->export->block, at, end - at, &span);
		if (*result || !span.length) {
			*result = *result ? *result : -EIO;
			return to;
		}
		value = context_value(context, &span);
		if (e.length && value != e.flags) {
			put_extent(&e);
			e.length = 0;
		}
		e.flags = value;
		e.length += span.length;
		at += span.length;
	}
	if (!(one && e.count))
		put_extent(&e);
	to = nbd_put16(nbd_put32(to, NBD_STRUCTURED_REPLY), last ? NBD_REPLY_FLAG_DONE : 0);
	to = nbd_put64(nbd_put16(to, NBD_REPLY_TYPE_BLOCK_STATUS), job->cookie);
	nbd_put32(nbd_put32(to, 4 + e.count * 8), context == NBD_META_BASE ? 0 : 1);
	return e.at;
}

static void run_block_status(struct pool_job *pool_job)
{
	struct nbd_job *job = container_of(pool_job, struct nbd_job, pool_job);
	const unsigned contexts = job->session->contexts;
	uint8_t *to = job->data;

	if (contexts & NBD_META_BASE)
		to = describe(job, NBD_META_BASE, to, contexts == NBD_META_BASE, &job->result);
	if (contexts & NBD_META_DEPTH && !job->result)
		to = describe(job, NBD_META_DEPTH, to, true, &job->result);
	if (!job->result)
		job->data_length = (size_t)(to - job->data);
	worker_done(job);
}

/* --- requests of the client --- */

static const struct command {
	uint16_t flags; /* that are known */
	bool data_in;   /* the request carries length bytes */
	bool changes;
	bool any_range; /* offset and length mean nothing */
} commands[] = {
	[NBD_CMD_READ] = {.flags = NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_DF},
	[NBD_CMD_WRITE] = {.flags = NBD_CMD_FLAG_FUA, .data_in = true, .changes = true},
	[NBD_CMD_FLUSH] = {.flags = NBD_CMD_FLAG_FUA, .any_range = true},
	[NBD_CMD_TRIM] = {.flags = NBD_CMD_FLAG_FUA, .changes = true},
	[NBD_CMD_CACHE] = {.flags = NBD_CMD_FLAG_FUA},
	[NBD_CMD_WRITE_ZEROES] = {.flags = NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO,
				  .changes = true},
	[NBD_CMD_BLOCK_STATUS] = {.flags = NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_REQ_ONE},
};

/* 0 when the request may go on. */
static int check(const struct nbd_session *s, const struct nbd_job *job)
{
	const struct command *command = &commands[job->command];
	const bool carries = job->command == NBD_CMD_READ || job->command == NBD_CMD_WRITE;

	if (job->flags & ~command->flags || (job->flags & NBD_CMD_FLAG_DF && !s->structured))
		return -EINVAL;
	if (command->changes && s->export->read_only)
		return -EPERM;
	if (job->command == NBD_CMD_BLOCK_STATUS && (!s->contexts || !job->length))
		return -EINVAL;
	if (carries && job->length > NBD_REQUEST_BYTES)
		return -EINVAL;
	if (!command->any_range && !range_inside(job->offset, job->length, s->export->block->length))
		return command->changes ? -ENOSPC : -EINVAL;
	return 0;
}

static uint32_t zero_flags(const struct nbd_job *job)
{
	return (job->flags & NBD_CMD_FLAG_NO_HOLE ? 0 : BLOCK_MAY_UNMAP) |
	       (job->flags & NBD_CMD_FLAG_FAST_ZERO ? BLOCK_NO_FALLBACK : 0);
}

static void start(struct nbd_job *job)
{
	switch (job->command) {
	case NBD_CMD_READ:
		submit(job, BLOCK_READ, 0);
		break;
	case NBD_CMD_WRITE:
		submit(job, BLOCK_WRITE, 0);
		break;
	case NBD_CMD_FLUSH:
		submit(job, BLOCK_FLUSH, 0);
		break;
	case NBD_CMD_TRIM:
		submit(job, BLOCK_DISCARD, 0);
		break;
	case NBD_CMD_CACHE:
		start_worker(job, run_cache);
		break;
	case NBD_CMD_WRITE_ZEROES:
		submit(job, BLOCK_WRITE_ZEROES, zero_flags(job));
		break;
	case NBD_CMD_BLOCK_STATUS:
		start_worker(job, run_block_status);
		break;
	}
}

void nbd_transmission_written(struct nbd_session *s)
{
	struct nbd_job *job = s->writing;

	s->writing = NULL;
	if (job->result)
		reply(job);
	else
		start(job);
}

/* How much room the data of a command needs. */
static size_t room_for(const struct nbd_session *s, const struct nbd_job *job)
{
	switch (job->command) {
	case NBD_CMD_READ:
	case NBD_CMD_WRITE:
		return job->length;
	case NBD_CMD_CACHE:
		return CACHE_BYTES;
	case NBD_CMD_BLOCK_STATUS:
		return 2 * (24 + (size_t)MAX_EXTENTS * 8);
	default:
		return 0;
	}
}

static void accept_request(struct nbd_session *s, const struct nbd_job *asked)
{
	const bool known = asked->command < ARRAY_SIZE(commands) && asked->command != NBD_CMD_DISC;
	const int result = known ? check(s, asked) : -EINVAL;
	const bool data_in = known && commands[asked->command].data_in;
	struct nbd_job *job;

	/* The data of a write that is too long cannot be told from what follows it. */
	if (asked->command == NBD_CMD_DISC || (data_in && asked->length > NBD_REQUEST_BYTES)) {
		s->phase = NBD_PHASE_ENDED;
		return;
	}
	job = nbd_job_new(s, result && !data_in ? 0 : room_for(s, asked));
	if (!job) {
		s->phase = NBD_PHASE_ENDED;
		return;
	}
	job->command = asked->command;
	job->flags = asked->flags;
	job->cookie = asked->cookie;
	job->offset = asked->offset;
	job->length = asked->length;
	job->result = result;
	if (data_in && job->length) {
		s->writing = job;
		s->writing_have = 0;
	} else if (result) {
		fail(job, result);
	} else {
		start(job);
	}
}

size_t nbd_transmission_input(struct nbd_session *s, const uint8_t *input, size_t bytes)
{
	struct nbd_job asked;

	if (bytes < NBD_HEADER_BYTES)
		return 0;
	if (nbd_get32(input) != NBD_REQUEST_MAGIC) {
		s->phase = NBD_PHASE_ENDED;
		return bytes;
	}
	asked = (struct nbd_job){
		.flags = nbd_get16(input + 4),
		.command = nbd_get16(input + 6),
		.cookie = nbd_get64(input + 8),
		.offset = nbd_get64(input + 16),
		.length = nbd_get32(input + 24),
	};
	accept_request(s, &asked);
	return NBD_HEADER_BYTES;
}
