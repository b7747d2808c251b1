/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Transfers of the "file" and "host_device" protocols: blocking ones in any thread, and their io_uring form. With
 * O_DIRECT, what is not aligned goes through a bounce buffer.
 */
#include "backend/block/file.h"

#include <fcntl.h>
#include <liburing.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define WINDOW       64 /* iovec entries handed to the kernel at once by the blocking form */
#define BOUNCE_BYTES (1 * MIB)
/* Through the page cache, io_uring copies in the submitting thread; more than this would hold up the loop. */
#define COPY_ELSEWHERE_BYTES (256 * KIB)

/* --- the gate of unaligned writes, see file.h --- */

static void gate_enter(struct file_block *file, bool exclusive)
{
	pthread_mutex_lock(&file->gate_lock);
	while (file->gate_exclusive || (exclusive && file->gate_writers))
		pthread_cond_wait(&file->gate_free, &file->gate_lock);
	file->gate_exclusive = exclusive;
	file->gate_writers += !exclusive;
	pthread_mutex_unlock(&file->gate_lock);
}

static bool gate_try_enter(struct file_block *file)
{
	bool entered;

	pthread_mutex_lock(&file->gate_lock);
	entered = !file->gate_exclusive;
	file->gate_writers += entered;
	pthread_mutex_unlock(&file->gate_lock);
	return entered;
}

static void gate_leave(struct file_block *file, bool exclusive)
{
	pthread_mutex_lock(&file->gate_lock);
	if (exclusive)
		file->gate_exclusive = false;
	else
		file->gate_writers--;
	if (exclusive || !file->gate_writers)
		pthread_cond_broadcast(&file->gate_free);
	pthread_mutex_unlock(&file->gate_lock);
}

static void submitted_write_ends(void *opaque, int result)
{
	gate_leave(opaque, false);
}

/* --- transfers that the file takes as they are --- */

/* The end of the file may lie inside the last sector: what is missing reads as zeroes. */
static int read_all(int fd, uint64_t offset, const struct iovec *iov, int count, uint64_t length)
{
	struct iovec window[WINDOW];
	uint64_t done = 0, covered;

	while (done < length) {
		int used = iov_window(window, WINDOW, iov, count, done, length - done, &covered);
		ssize_t got = preadv(fd, window, used, (off_t)(offset + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0) {
			iov_clear(iov, count, done, length - done);
			return 0;
		}
		done += (uint64_t)got;
	}
	return 0;
}

static int write_all(int fd, uint64_t offset, const struct iovec *iov, int count, uint64_t length, uint32_t flags)
{
	const int how = flags & BLOCK_FUA ? RWF_DSYNC : 0;
	struct iovec window[WINDOW];
	uint64_t done = 0, covered;

	while (done < length) {
		int used = iov_window(window, WINDOW, iov, count, done, length - done, &covered);
		ssize_t put = pwritev2(fd, window, used, (off_t)(offset + done), how);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -errno;
		if (put == 0)
			return -ENOSPC; /* as a full device that says nothing */
		done += (uint64_t)put;
	}
	return 0;
}

/* --- bounce buffers for O_DIRECT --- */

static bool transfer_aligned(const struct block *block, uint64_t offset, const struct iovec *iov, int count,
			     uint64_t length)
{
	const struct file_block *file = block->private_data;
	const uint32_t alignment = block->request_alignment;

	if (!file->direct)
		return true;
	return !((offset | length) & (alignment - 1)) && iov_aligned(iov, count, file->memory_alignment);
}

/* Whole units around the range are read, changed in memory and, for a write, put back: under the gate when partial. */
static int bounce(struct block *block, uint64_t offset, const struct iovec *iov, int count, uint64_t length, bool write,
		  uint32_t flags)
{
	struct file_block *file = block->private_data;
	const uint64_t alignment = block->request_alignment;
	uint64_t done = 0;
	void *buffer = NULL;
	int result = 0;

	if (posix_memalign(&buffer, max_u64(4096, file->memory_alignment), BOUNCE_BYTES))
		return -ENOMEM;
	while (done < length && !result) {
		const uint64_t at = offset + done, start = align_down(at, alignment);
		const uint64_t part = min_u64(length - done, BOUNCE_BYTES - (at - start));
		const uint64_t whole = align_up(at + part, alignment) - start;
		const struct iovec flat = {.iov_base = buffer, .iov_len = whole};
		const bool partial = whole != part;

		if (!write || partial)
			result = read_all(file->fd, start, &flat, 1, whole);
		if (!result && write) {
			iov_gather((char *)buffer + (at - start), iov, count, done, part);
			result = write_all(file->fd, start, &flat, 1, whole, flags);
		} else if (!result) {
			iov_spread(iov, count, done, (char *)buffer + (at - start), part);
		}
		done += part;
	}
	free(buffer);
	return result;
}

int file_pread(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length)
{
	struct file_block *file = block->private_data;

	if (!transfer_aligned(block, offset, iov, iov_count, length))
		return bounce(block, offset, iov, iov_count, length, false, 0);
	return read_all(file->fd, offset, iov, iov_count, length);
}

int file_pwrite(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length,
		uint32_t flags)
{
	struct file_block *file = block->private_data;
	const bool aligned = transfer_aligned(block, offset, iov, iov_count, length);
	const bool partial = file->direct && (offset | length) & (block->request_alignment - 1);
	int result;

	if (!file->direct)
		return write_all(file->fd, offset, iov, iov_count, length, flags);
	gate_enter(file, partial);
	if (aligned)
		result = write_all(file->fd, offset, iov, iov_count, length, flags);
	else
		result = bounce(block, offset, iov, iov_count, length, true, flags);
	gate_leave(file, partial);
	return result;
}

/* With O_DIRECT there is nothing in the page cache to be lost, and the next flush may well succeed. */
static int flush_failed(struct file_block *file, int error)
{
	if (!file->direct)
		file->lost = error;
	return -error;
}

static void submitted_flush_ends(void *opaque, int result)
{
	if (result < 0 && result != -EAGAIN && result != -EINTR)
		flush_failed(opaque, -result);
}

int file_flush(struct block *block)
{
	struct file_block *file = block->private_data;

	if (file->lost)
		return -file->lost;
	if (fdatasync(file->fd) < 0)
		return flush_failed(file, errno);
	return -file->lost; /* another thread may have been told meanwhile */
}

/* --- discard and zeroes --- */

static bool not_offered(int error)
{
	return error == EOPNOTSUPP || error == ENOSYS || error == ENOTTY || error == EINVAL;
}

/* -ENOTSUP, remembered, when the host does not offer it. */
static int try_fallocate(int fd, int mode, uint64_t offset, uint64_t length, _Atomic bool *not_there)
{
	if (*not_there)
		return -ENOTSUP;
	while (fallocate(fd, mode, (off_t)offset, (off_t)length) < 0) {
		if (errno == EINTR)
			continue;
		if (!not_offered(errno))
			return -errno;
		if (errno != EINVAL)
			*not_there = true; /* EINVAL may be this range's fault alone */
		return -ENOTSUP;
	}
	return 0;
}

int file_discard(struct block *block, uint64_t offset, uint64_t length)
{
	struct file_block *file = block->private_data;
	uint64_t range[2] = {offset, length};

	if (!file->is_device)
		return try_fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length,
				     &file->no_punch_hole);
	if (file->no_discard)
		return -ENOTSUP;
	if (ioctl(file->fd, BLKDISCARD, range) == 0)
		return 0;
	if (!not_offered(errno))
		return -errno;
	if (errno != EINVAL) /* which may be this range's fault alone */
		file->no_discard = true;
	return -ENOTSUP;
}

static int zeroes_by_fallocate(struct block *block, uint64_t offset, uint64_t length, uint32_t flags)
{
	struct file_block *file = block->private_data;
	int result = -ENOTSUP;

	if (flags & BLOCK_MAY_UNMAP)
		result = try_fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length,
				       &file->no_punch_hole);
	if (result == -ENOTSUP)
		result = try_fallocate(file->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset, length,
				       &file->no_zero_range);
	return result;
}

int file_write_zeroes(struct block *block, uint64_t offset, uint64_t length, uint32_t flags)
{
	struct file_block *file = block->private_data;
	int result;

	gate_enter(file, file->direct);
	result = zeroes_by_fallocate(block, offset, length, flags);
	gate_leave(file, file->direct);
	if (result == 0 && flags & BLOCK_FUA)
		result = file_flush(block);
	return result;
}

int file_extent(struct block *block, uint64_t offset, uint64_t *length, uint64_t *child_offset)
{
	struct file_block *file = block->private_data;
	off_t data, end;

	*child_offset = offset;
	data = lseek(file->fd, (off_t)offset, SEEK_DATA);
	if (data < 0 && errno == ENXIO) /* a hole up to the end */
		return BLOCK_EXTENT_ZERO | BLOCK_EXTENT_OFFSET_VALID;
	if (data < 0)
		return BLOCK_EXTENT_DATA | BLOCK_EXTENT_ALLOCATED | BLOCK_EXTENT_OFFSET_VALID;
	if ((uint64_t)data > offset) {
		*length = min_u64(*length, (uint64_t)data - offset);
		return BLOCK_EXTENT_ZERO | BLOCK_EXTENT_OFFSET_VALID;
	}
	end = lseek(file->fd, (off_t)offset, SEEK_HOLE);
	if (end > (off_t)offset)
		*length = min_u64(*length, (uint64_t)end - offset);
	return BLOCK_EXTENT_DATA | BLOCK_EXTENT_ALLOCATED | BLOCK_EXTENT_OFFSET_VALID;
}

/* --- io_uring --- */

static void set_async(const struct file_block *file, struct io_uring_sqe *sqe, uint64_t length)
{
	if (!file->direct && length >= COPY_ELSEWHERE_BYTES)
		io_uring_sqe_set_flags(sqe, IOSQE_ASYNC);
}

static int submit_write(struct block *block, struct block_queue *queue, struct block_request *request, uint64_t offset)
{
	struct file_block *file = block->private_data;
	struct io_uring_sqe *sqe;

	if (file->direct && !gate_try_enter(file))
		return -EAGAIN;
	sqe = block_queue_sqe(queue, request);
	if (!sqe) {
		if (file->direct)
			gate_leave(file, false);
		return -EAGAIN;
	}
	if (file->direct)
		block_queue_on_complete(request, submitted_write_ends, file);
	io_uring_prep_writev2(sqe, file->fd, request->iov, (unsigned)request->iov_count, offset,
			      request->flags & BLOCK_FUA && !block->no_flush ? RWF_DSYNC : 0);
	set_async(file, sqe, request->length);
	return 0;
}

int file_submit(struct block *block, struct block_queue *queue, struct block_request *request, uint64_t offset)
{
	struct file_block *file = block->private_data;
	struct io_uring_sqe *sqe;

	if (request->op == BLOCK_FLUSH) {
		sqe = file->lost ? NULL : block_queue_sqe(queue, request);
		if (!sqe)
			return -EAGAIN;
		block_queue_on_complete(request, submitted_flush_ends, file);
		io_uring_prep_fsync(sqe, file->fd, IORING_FSYNC_DATASYNC);
		return 0;
	}
	if ((request->op != BLOCK_READ && request->op != BLOCK_WRITE) || request->iov_count > IOV_MAX ||
	    !transfer_aligned(block, offset, request->iov, request->iov_count, request->length))
		return -EAGAIN;
	if (request->op == BLOCK_WRITE)
		return submit_write(block, queue, request, offset);
	sqe = block_queue_sqe(queue, request);
	if (!sqe)
		return -EAGAIN;
	io_uring_prep_readv(sqe, file->fd, request->iov, (unsigned)request->iov_count, offset);
	set_async(file, sqe, request->length);
	return 0;
}
