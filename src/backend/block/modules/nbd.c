/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Protocol "nbd": an export of an NBD server as a disk. Everything is sent without waiting (nbd_connection.h); the
 * plain functions wait for the reply. Left out: qemu's tls-creds objects (tls-certificates= and tls-psk-file= or a
 * nbds:// URI give the same files), several connections for one node.
 *
 * The protocol has a smallest block for some servers: a request that does not fit it is carried out on the blocks
 * around it, a write by reading them first.
 */
#include "backend/block/internal.h"
#include "backend/block/module.h"
#include "backend/block/modules/nbd_connection.h"
#include "backend/block/modules/whole_blocks.h"

#include <libnbd.h>
#include <pthread.h>
#include <stdlib.h>

/* Zeroes and discards carry no data, so only the protocol's 32 bits bound them. */
#define MAX_RANGE (1u << 30)

struct nbd {
	struct nbd_connection *connection;
	struct nbd_info info;
	struct whole_blocks blocks;
};

static int run(struct nbd *nbd, enum nbd_op op, uint64_t offset, uint64_t length, void *data, uint32_t flags)
{
	struct nbd_request request = {.op = op, .flags = flags, .offset = offset, .length = length, .data = data};

	return nbd_connection_run(nbd->connection, &request);
}

/* --- reading and writing, plain --- */

static int flush(struct nbd *nbd)
{
	return nbd->info.can_flush ? run(nbd, NBD_FLUSH, 0, 0, NULL, 0) : 0;
}

/* One command's worth at a time; zeroes behind the end of the export, which block->length may lie beyond. */
static int read_flat(struct nbd *nbd, uint64_t offset, uint8_t *data, uint64_t length)
{
	const uint64_t there = offset < nbd->info.length ? min_u64(length, nbd->info.length - offset) : 0;

	memset(data + there, 0, length - there);
	for (uint64_t at = 0; at < there;) {
		const uint64_t part = min_u64(there - at, nbd->info.block_max);
		int result = run(nbd, NBD_READ, offset + at, part, data + at, 0);

		if (result)
			return result;
		at += part;
	}
	return 0;
}

/* An export cannot grow, so a format's file may find it full; what lies in the rest of its last sector is nowhere. */
static int write_flat(struct nbd *nbd, uint64_t offset, uint8_t *data, uint64_t length, uint32_t flags)
{
	const uint64_t there = offset < nbd->info.length ? min_u64(length, nbd->info.length - offset) : 0;

	if (!range_inside(offset, length, align_up(nbd->info.length, max_u64(nbd->info.block_min, BLOCK_SECTOR))))
		return -ENOSPC;

	for (uint64_t at = 0; at < there;) {
		const uint64_t part = min_u64(there - at, nbd->info.block_max);
		int result = run(nbd, NBD_WRITE, offset + at, part, data + at, flags);

		if (result)
			return result;
		at += part;
	}
	return 0;
}

static int read_blocks(void *opaque, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length)
{
	uint8_t *flat;
	int result;

	if (iov_count == 1)
		return read_flat(opaque, offset, iov->iov_base, length);
	flat = malloc(length);
	if (!flat)
		return -ENOMEM;
	result = read_flat(opaque, offset, flat, length);
	if (!result)
		iov_spread(iov, iov_count, 0, flat, length);
	free(flat);
	return result;
}

static int write_blocks(void *opaque, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length,
			uint32_t flags)
{
	uint8_t *flat;
	int result;

	if (iov_count == 1)
		return write_flat(opaque, offset, iov->iov_base, length, flags);
	flat = malloc(length);
	if (!flat)
		return -ENOMEM;
	iov_gather(flat, iov, iov_count, 0, length);
	result = write_flat(opaque, offset, flat, length, flags);
	free(flat);
	return result;
}

static int nbd_driver_pread(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count,
			    uint64_t length)
{
	struct nbd *nbd = block->private_data;

	return whole_blocks_read(&nbd->blocks, offset, iov, iov_count, length);
}

static int nbd_driver_pwrite(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count,
			     uint64_t length, uint32_t flags)
{
	struct nbd *nbd = block->private_data;
	const uint32_t fua = flags & BLOCK_FUA && nbd->info.can_fua ? LIBNBD_CMD_FLAG_FUA : 0;
	int result = whole_blocks_write(&nbd->blocks, offset, iov, iov_count, length, fua);

	if (!result && flags & BLOCK_FUA && !fua)
		result = flush(nbd);
	return result;
}

static int nbd_driver_flush(struct block *block)
{
	return flush(block->private_data);
}

/* A command on a range without data, in pieces. */
static int run_range(struct nbd *nbd, enum nbd_op op, uint64_t offset, uint64_t length, uint32_t flags)
{
	if (op == NBD_ZERO && !range_inside(offset, length, align_up(nbd->info.length, BLOCK_SECTOR)))
		return -ENOSPC;
	length = offset < nbd->info.length ? min_u64(length, nbd->info.length - offset) : 0;
	while (length) {
		const uint64_t part = min_u64(length, MAX_RANGE);
		int result = run(nbd, op, offset, part, NULL, flags);

		if (result)
			return result;
		offset += part;
		length -= part;
	}
	return 0;
}

static int nbd_driver_discard(struct block *block, uint64_t offset, uint64_t length)
{
	struct nbd *nbd = block->private_data;
	const uint64_t start = align_up(offset, nbd->info.block_min),
		       end = align_down(offset + length, nbd->info.block_min);

	if (!nbd->info.can_trim)
		return -ENOTSUP;
	return start < end ? run_range(nbd, NBD_TRIM, start, end - start, 0) : 0;
}

static int nbd_driver_write_zeroes(struct block *block, uint64_t offset, uint64_t length, uint32_t flags)
{
	struct nbd *nbd = block->private_data;
	uint32_t command = flags & BLOCK_MAY_UNMAP ? 0 : LIBNBD_CMD_FLAG_NO_HOLE;
	int result;

	if (!nbd->info.can_zero || !whole_blocks_fit(&nbd->blocks, offset, length))
		return -ENOTSUP;
	if (flags & BLOCK_FUA && nbd->info.can_fua)
		command |= LIBNBD_CMD_FLAG_FUA;
	result = run_range(nbd, NBD_ZERO, offset, length, command);
	if (!result && flags & BLOCK_FUA && !nbd->info.can_fua)
		result = flush(nbd);
	return result;
}

/* base:allocation has bit 0 for a hole and bit 1 for zeroes. */
static int nbd_driver_extent(struct block *block, uint64_t offset, uint64_t *length, uint64_t *child_offset)
{
	struct nbd *nbd = block->private_data;
	struct nbd_request request = {.op = NBD_STATUS, .flags = LIBNBD_CMD_FLAG_REQ_ONE};
	uint64_t start, bytes;
	int result;

	*child_offset = offset;
	if (!nbd->info.can_status)
		return BLOCK_EXTENT_DATA | BLOCK_EXTENT_ALLOCATED | BLOCK_EXTENT_OFFSET_VALID;
	if (offset >= nbd->info.length)
		return BLOCK_EXTENT_ZERO | BLOCK_EXTENT_OFFSET_VALID;
	whole_blocks_widen(&nbd->blocks, offset, min_u64(*length, MAX_RANGE), &start, &bytes);
	request.offset = start;
	request.length = min_u64(bytes, nbd->info.length - start);
	result = nbd_connection_run(nbd->connection, &request);
	if (result)
		return result;
	if (request.status_length <= offset - start)
		return -EIO; /* the server said nothing about it */
	*length = min_u64(*length, request.status_length - (offset - start));
	return (request.status_flags & LIBNBD_STATE_HOLE ? 0 : BLOCK_EXTENT_DATA | BLOCK_EXTENT_ALLOCATED) |
	       (request.status_flags & LIBNBD_STATE_ZERO ? BLOCK_EXTENT_ZERO : 0) | BLOCK_EXTENT_OFFSET_VALID;
}

/* --- without waiting --- */

struct submission {
	struct nbd_request request;
	struct block *block;
	struct block_queue *queue;
	struct block_request *asked;
	void *bounce; /* or NULL */
};

static void on_submission_reply(struct remote_request *request)
{
	struct submission *s = container_of(request, struct submission, request.remote);
	struct block_request *asked = s->asked;

	if (s->bounce && asked->op == BLOCK_READ && !request->result)
		iov_spread(asked->iov, asked->iov_count, 0, s->bounce, asked->length);
	s->block->host->finish(s->queue, asked, request->result);
	free(s->bounce);
	free(s);
}

/* True when one command of the protocol does it. */
static bool is_one_command(const struct nbd *nbd, const struct block_request *r, uint64_t offset)
{
	if (r->op == BLOCK_FLUSH)
		return nbd->info.can_flush;
	return (r->op == BLOCK_READ || r->op == BLOCK_WRITE) && r->length <= nbd->info.block_max &&
	       whole_blocks_fit(&nbd->blocks, offset, r->length) && range_inside(offset, r->length, nbd->info.length) &&
	       !(r->op == BLOCK_WRITE && r->flags & BLOCK_FUA && !nbd->info.can_fua);
}

static int nbd_driver_submit(struct block *block, struct block_queue *queue, struct block_request *asked,
			     uint64_t offset)
{
	static const enum nbd_op ops[] = {
		[BLOCK_READ] = NBD_READ, [BLOCK_WRITE] = NBD_WRITE, [BLOCK_FLUSH] = NBD_FLUSH};
	struct nbd *nbd = block->private_data;
	struct submission *s;

	if (!is_one_command(nbd, asked, offset))
		return -EAGAIN;
	s = xcalloc(1, sizeof(*s));
	*s = (struct submission){.block = block, .queue = queue, .asked = asked};
	s->request.op = ops[asked->op];
	s->request.remote.done = on_submission_reply;
	if (asked->op != BLOCK_FLUSH) {
		s->request.offset = offset;
		s->request.length = asked->length;
		s->request.data = asked->iov_count == 1 ? asked->iov->iov_base : (s->bounce = malloc(asked->length));
		if (!s->request.data) {
			free(s);
			return -ENOMEM;
		}
	}
	if (asked->op == BLOCK_WRITE && asked->flags & BLOCK_FUA && !block->no_flush)
		s->request.flags = LIBNBD_CMD_FLAG_FUA;
	if (asked->op == BLOCK_WRITE && s->bounce)
		iov_gather(s->bounce, asked->iov, asked->iov_count, 0, asked->length);
	nbd_connection_submit(nbd->connection, &s->request);
	return 0;
}

/* --- life --- */

static int take_settings(struct options *options, struct nbd_settings *settings, struct error *err)
{
	const char *context = options_get(options, "x-dirty-bitmap");
	uint64_t delay = 0, timeout = 0;
	int result;

	if (options_get(options, "tls-creds"))
		return error_set(err, ENOTSUP,
				 "tls-creds= is not supported; give tls-certificates=FOLDER or tls-psk-file=FILE, or a "
				 "nbds:// URI");
	if ((result = options_u64(options, "reconnect-delay", &delay, UINT32_MAX, err)) ||
	    (result = options_u64(options, "open-timeout", &timeout, UINT32_MAX, err)) ||
	    (result = nbd_address_parse(&settings->address, options, err)))
		return result;
	settings->reconnect_delay_s = (uint32_t)delay;
	settings->open_timeout_s = (uint32_t)timeout;
	settings->meta_context = xstrdup(context ? context : "base:allocation");
	return 0;
}

static int check_access(struct block *block, const struct nbd_info *info, const struct block_open *how,
			struct error *err)
{
	if (!info->read_only || block->read_only)
		return 0;
	if (!how->auto_read_only)
		return error_set(err, EACCES,
				 "request on write denied without write permission: the export is read-only");
	block->read_only = true;
	return 0;
}

static int nbd_driver_open(struct block *block, struct options *options, const struct block_open *how,
			   struct error *err)
{
	struct nbd *nbd = block->private_data;
	struct nbd_settings settings = {.log = how->log};
	int result = take_settings(options, &settings, err);

	if (result)
		return result;
	block->filename = nbd_address_text(&settings.address);
	nbd->connection = nbd_connection_open(&settings, &nbd->info, err);
	if (!nbd->connection)
		return -err->code;
	result = check_access(block, &nbd->info, how, err);
	if (result) {
		nbd_connection_close(nbd->connection);
		return result;
	}
	nbd->blocks = (struct whole_blocks){
		.block_bytes = nbd->info.block_min, .read = read_blocks, .write = write_blocks, .opaque = nbd};
	pthread_mutex_init(&nbd->blocks.modifying, NULL);
	/* Guests see whole sectors; what is beyond the end of the export reads as zeroes. */
	block->length = align_up(nbd->info.length, BLOCK_SECTOR);
	block->request_alignment = nbd->info.block_min;
	block->optimal_bytes = nbd->info.block_preferred;
	return 0;
}

static void nbd_driver_cancel(struct block *block)
{
	struct nbd *nbd = block->private_data;

	nbd_connection_cancel(nbd->connection);
}

static void nbd_driver_close(struct block *block)
{
	struct nbd *nbd = block->private_data;

	nbd_connection_close(nbd->connection);
	pthread_mutex_destroy(&nbd->blocks.modifying);
}

static const char *const nbd_options[] = {
	"filename",     "server.*",         "host",         "port",           "path",
	"export",       "tls-creds",        "tls-hostname", "x-dirty-bitmap", "reconnect-delay",
	"open-timeout", "tls-certificates", "tls-psk-file", "tls-username",   NULL,
};

static const struct block_driver nbd_driver = {
	.name = "nbd",
	.is_protocol = true,
	.size = sizeof(struct nbd),
	.known = nbd_options,
	.open = nbd_driver_open,
	.close = nbd_driver_close,
	.pread = nbd_driver_pread,
	.pwrite = nbd_driver_pwrite,
	.flush = nbd_driver_flush,
	.discard = nbd_driver_discard,
	.write_zeroes = nbd_driver_write_zeroes,
	.extent = nbd_driver_extent,
	.submit = nbd_driver_submit,
	.cancel = nbd_driver_cancel,
};

static const struct block_driver *const drivers[] = {&nbd_driver, NULL};

extern const struct module xuni_module __attribute__((visibility("default")));
const struct module xuni_module = {"block", BLOCK_MODULE_ABI, drivers};
