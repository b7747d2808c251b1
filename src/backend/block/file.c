/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Protocols "file" (regular files) and "host_device" (block devices): opening, size, alignment, locks. Transfers are in
 * file_io.c. Left out: floppies and CD drives as special devices, persistent reservations, zoned devices.
 */
#include "backend/block/file.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_path(const char *path, bool read_only, bool direct)
{
	int flags = (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK | (direct ? O_DIRECT : 0);
	int fd = open(path, flags), device_read_only = 0;

	if (fd < 0)
		return -errno;
	/* A block device that cannot be written to opens for writing all the same. */
	if (!read_only && ioctl(fd, BLKROGET, &device_read_only) == 0 && device_read_only) {
		close(fd);
		return -EACCES;
	}
	return fd;
}

/* Opens, falling back to read-only where that is allowed. */
static int open_image(struct block *block, const struct block_open *how, struct error *err)
{
	int fd = open_path(block->filename, block->read_only, how->no_cache);

	if ((fd == -EACCES || fd == -EPERM || fd == -EROFS) && how->auto_read_only && !block->read_only) {
		int retry = open_path(block->filename, true, how->no_cache);

		if (retry >= 0) {
			block->read_only = true;
			return retry;
		}
	}
	if (fd == -EINVAL && how->no_cache)
		return error_set(err, EINVAL,
				 "Could not open '%s': its file system does not support direct I/O (cache.direct=on, "
				 "cache=none)",
				 block->filename);
	if (fd < 0)
		return error_set_errno(err, -fd, "Could not open '%s'", block->filename);
	return fd;
}

static int check_kind(struct block *block, const struct stat *status, struct error *err)
{
	struct file_block *file = block->private_data;

	if (S_ISDIR(status->st_mode))
		return error_set_errno(err, EISDIR, "Could not open '%s'", block->filename);
	if (file->is_device && !S_ISBLK(status->st_mode))
		return error_set(err, EINVAL, "driver 'host_device' requires '%s' to be a block device",
				 block->filename);
	if (!file->is_device && !S_ISREG(status->st_mode))
		return error_set(err, EINVAL, "Could not open '%s': driver 'file' needs a regular file%s",
				 block->filename, S_ISBLK(status->st_mode) ? "; use driver 'host_device'" : "");
	return 0;
}

static int probe_length(struct block *block, const struct stat *status, struct error *err)
{
	struct file_block *file = block->private_data;
	uint64_t bytes = (uint64_t)status->st_size;

	if (file->is_device && ioctl(file->fd, BLKGETSIZE64, &bytes) < 0)
		return error_set_errno(err, errno, "Could not find the size of '%s'", block->filename);
	/* Guests see whole sectors; what is beyond the end of the file reads as zeroes. */
	block->length = align_up(bytes, BLOCK_SECTOR);
	return 0;
}

/* Alignment that works for a read, found by trying; hosts before Linux 6.1 do not tell. */
static uint32_t try_alignment(int fd)
{
	void *buffer = NULL;
	uint32_t found = 4096;

	if (posix_memalign(&buffer, 4096, 4096))
		return found;
	if (pread(fd, buffer, BLOCK_SECTOR, BLOCK_SECTOR) >= 0)
		found = BLOCK_SECTOR;
	free(buffer);
	return found;
}

static void probe_alignment(struct block *block)
{
	struct file_block *file = block->private_data;
	int sector = 0;

	block->request_alignment = 1;
	file->memory_alignment = 1;
	block->optimal_bytes = 0;
	if (!file->direct)
		return;
	file->memory_alignment = 512;
#ifdef STATX_DIOALIGN
	struct statx status;

	if (statx(file->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &status) == 0 && status.stx_mask & STATX_DIOALIGN &&
	    status.stx_dio_offset_align) {
		block->request_alignment = status.stx_dio_offset_align;
		file->memory_alignment = max_u64(status.stx_dio_mem_align, 1);
		return;
	}
#endif
	if (file->is_device && ioctl(file->fd, BLKSSZGET, &sector) == 0 && sector > 0 &&
	    is_power_of_two((unsigned)sector))
		block->request_alignment = (uint32_t)sector;
	else
		block->request_alignment = try_alignment(file->fd);
	file->memory_alignment = block->request_alignment;
}

static int parse_locking(struct options *options, const struct block_open *how, bool *locking, bool *required,
			 struct error *err)
{
	const char *text = options_get(options, "locking");

	*required = text && !strcmp(text, "on");
	*locking = !how->force_share && !(text && !strcmp(text, "off"));
	if (text && strcmp(text, "on") && strcmp(text, "off") && strcmp(text, "auto"))
		return error_set(err, EINVAL, "locking=%s: expected 'auto', 'on' or 'off'", text);
	return 0;
}

/* What tunes qemu's own way to the kernel: known and checked, and not needed here. */
static int parse_tuning(struct options *options, struct error *err)
{
	uint64_t batch = 0;
	bool ignored = false;
	int result = options_u64(options, "aio-max-batch", &batch, INT64_MAX, err);

	if (!result)
		result = options_bool(options, "drop-cache", &ignored, err);
	return result ? result : options_bool(options, "x-check-cache-dropped", &ignored, err);
}

static int take_locks(struct block *block, bool required, struct error *err)
{
	struct file_block *file = block->private_data;
	int result = image_lock(file->fd, !block->read_only, block->filename, err);

	if (result == -ENOTSUP && required)
		return error_set(err, ENOTSUP, "Could not open '%s': its file system has no locks (locking=on)",
				 block->filename);
	return result == -ENOTSUP ? 0 : result;
}

static int file_setup(struct block *block, struct options *options, const struct block_open *how, struct error *err)
{
	struct file_block *file = block->private_data;
	bool locking, required;
	struct stat status;
	int result;

	if ((result = parse_locking(options, how, &locking, &required, err)) || (result = parse_tuning(options, err)))
		return result;
	/* It would work here; a command line that does must work under qemu, too. */
	if (how->aio && !strcmp(how->aio, "native") && !how->no_cache)
		return error_set(err, EINVAL,
				 "aio=native was specified, but it requires cache.direct=on, which was not specified.");
	file->fd = open_image(block, how, err);
	if (file->fd < 0)
		return file->fd;
	if (fstat(file->fd, &status) < 0)
		return error_set_errno(err, errno, "Could not open '%s'", block->filename);
	if ((result = check_kind(block, &status, err)))
		return result;
	fcntl(file->fd, F_SETFL, fcntl(file->fd, F_GETFL) & ~O_NONBLOCK);
	if (locking && (result = take_locks(block, required, err)))
		return result;
	probe_alignment(block);
	return probe_length(block, &status, err);
}

static void file_close(struct block *block)
{
	struct file_block *file = block->private_data;

	if (file->fd >= 0)
		close(file->fd);
	pthread_mutex_destroy(&file->gate_lock);
	pthread_cond_destroy(&file->gate_free);
}

static int open_either(struct block *block, struct options *options, const struct block_open *how, bool is_device,
		       struct error *err)
{
	struct file_block *file = block->private_data;
	const char *filename = options_get(options, "filename");
	int result;

	if (!filename || !*filename)
		return error_set(err, EINVAL, "driver '%s' needs 'filename'", block->driver->name);
	block->filename = xstrdup(filename);
	file->fd = -1;
	file->direct = how->no_cache;
	file->is_device = is_device;
	pthread_mutex_init(&file->gate_lock, NULL);
	pthread_cond_init(&file->gate_free, NULL);
	result = file_setup(block, options, how, err);
	if (result < 0)
		file_close(block);
	return result;
}

static int file_open(struct block *block, struct options *options, const struct block_open *how, struct error *err)
{
	return open_either(block, options, how, false, err);
}

static int host_device_open(struct block *block, struct options *options, const struct block_open *how,
			    struct error *err)
{
	return open_either(block, options, how, true, err);
}

static int file_truncate(struct block *block, uint64_t length, struct error *err)
{
	struct file_block *file = block->private_data;

	if (length > INT64_MAX || ftruncate(file->fd, (off_t)length) < 0)
		return error_set_errno(err, length > INT64_MAX ? EFBIG : errno, "Could not resize '%s'",
				       block->filename);
	block->length = align_up(length, BLOCK_SECTOR);
	return 0;
}

static int file_preallocate(struct block *block, uint64_t from, enum block_preallocation mode, struct error *err)
{
	int result;

	if (mode == BLOCK_PREALLOC_METADATA)
		return error_set(err, ENOTSUP, "Unsupported preallocation mode: metadata");
	result = image_file_allocate(block, from, block->length - from, mode);
	return result ? error_set_errno(err, -result, "Could not preallocate '%s'", block->filename) : 0;
}

/* All of a device is data as far as it tells. */
static int device_extent(struct block *block, uint64_t offset, uint64_t *length, uint64_t *child_offset)
{
	*child_offset = offset;
	return BLOCK_EXTENT_DATA | BLOCK_EXTENT_ALLOCATED | BLOCK_EXTENT_OFFSET_VALID;
}

static int file_allocated(struct block *block, uint64_t *bytes)
{
	struct file_block *file = block->private_data;
	struct stat status;

	if (fstat(file->fd, &status) < 0)
		return -errno;
	*bytes = (uint64_t)status.st_blocks * 512;
	return 0;
}

static const char *const file_options[] = {
	"filename", "aio", "locking", "aio-max-batch", "drop-cache", "x-check-cache-dropped", NULL};

const struct block_driver block_file_driver = {
	.name = "file",
	.is_protocol = true,
	.zero_behind_end = true,
	.size = sizeof(struct file_block),
	.known = file_options,
	.open = file_open,
	.close = file_close,
	.pread = file_pread,
	.pwrite = file_pwrite,
	.flush = file_flush,
	.discard = file_discard,
	.write_zeroes = file_write_zeroes,
	.truncate = file_truncate,
	.preallocate = file_preallocate,
	.extent = file_extent,
	.allocated = file_allocated,
	.create_options = block_file_create_options,
	.create = block_file_create,
	.submit = file_submit,
};

const struct block_driver block_host_device_driver = {
	.name = "host_device",
	.is_protocol = true,
	.size = sizeof(struct file_block),
	.known = file_options,
	.open = host_device_open,
	.close = file_close,
	.pread = file_pread,
	.pwrite = file_pwrite,
	.flush = file_flush,
	.discard = file_discard,
	.write_zeroes = file_write_zeroes,
	.extent = device_extent,
	.allocated = file_allocated,
	.create_options = block_device_create_options,
	.create = block_device_create,
	.submit = file_submit,
};
