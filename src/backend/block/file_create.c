/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making files for images: created or emptied, at a length, with preallocation= of falloc and full. */
#include "backend/block/internal.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

const struct block_create_option block_file_create_options[] = {
	{"size", BLOCK_OPTION_SIZE, "Virtual disk size", NULL},
	{"nocow", BLOCK_OPTION_BOOL, "Turn off copy-on-write (valid only on btrfs)", NULL},
	{"preallocation", BLOCK_OPTION_STRING, "Preallocation mode (allowed values: off, falloc, full)", NULL},
	{"extent_size_hint", BLOCK_OPTION_SIZE, "Extent size hint for the image file, 0 to disable", NULL},
	{NULL},
};
const struct block_create_option block_device_create_options[] = {
	{"size", BLOCK_OPTION_SIZE, "Virtual disk size", NULL},
	{"preallocation", BLOCK_OPTION_STRING, "Preallocation mode (allowed values: off)", NULL},
	{NULL},
};
static const struct block_create_option *const preallocation = &block_file_create_options[2];

enum mode { OFF, FALLOC, FULL, METADATA };

/* NULL: none was given. */
static int parse_mode(const char *text, enum mode *mode, struct error *err)
{
	static const char *const modes[] = {"off", "falloc", "full", "metadata", NULL};

	*mode = OFF;
	for (unsigned i = 0; text && modes[i]; i++) {
		if (!strcmp(text, modes[i])) {
			*mode = (enum mode)i;
			text = NULL;
		}
	}
	return text ? error_set(err, EINVAL, "invalid parameter value: %s", text) : 0;
}

static int find_mode(const struct block_create *create, enum mode *mode, struct error *err)
{
	/* A format that has the option deals with it by itself. */
	const bool ours = block_create_find(create->driver, "preallocation") == preallocation;
	int result = parse_mode(ours ? block_create_text(create, "preallocation") : NULL, mode, err);

	if (result)
		return result;
	if (*mode == METADATA)
		return error_set(err, ENOTSUP, "Unsupported preallocation mode: metadata");
	return 0;
}

/* Hints, which file systems may not know. */
static void give_hints(const struct block_create *create, int fd)
{
	const uint64_t hint = block_create_number(create, "extent_size_hint", 1 * MIB);
	struct fsxattr attributes;
	int flags;

	if (block_create_bool(create, "nocow") && ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0) {
		flags |= FS_NOCOW_FL;
		(void)ioctl(fd, FS_IOC_SETFLAGS, &flags);
	}
	if (hint && hint <= UINT32_MAX && ioctl(fd, FS_IOC_FSGETXATTR, &attributes) == 0) {
		attributes.fsx_xflags |= FS_XFLAG_EXTSIZE;
		attributes.fsx_extsize = (uint32_t)hint;
		(void)ioctl(fd, FS_IOC_FSSETXATTR, &attributes);
	}
}

static int write_zeroes(int fd, uint64_t bytes)
{
	static const char zeroes[1 << 16];

	for (uint64_t at = 0; at < bytes;) {
		const ssize_t put = pwrite(fd, zeroes, min_u64(sizeof(zeroes), bytes - at), (off_t)at);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return put < 0 ? errno : ENOSPC;
		at += (uint64_t)put;
	}
	return 0;
}

static int set_length(int fd, uint64_t bytes, enum mode mode, struct error *err)
{
	int code = 0;

	if (bytes > INT64_MAX || ftruncate(fd, (off_t)bytes) < 0)
		return error_set_errno(err, bytes > INT64_MAX ? EFBIG : errno, "Could not resize file");
	if (bytes && mode == FALLOC)
		code = posix_fallocate(fd, 0, (off_t)bytes);
	else if (mode == FULL)
		code = write_zeroes(fd, bytes);
	else
		code = write_zeroes(fd, min_u64(bytes, 4096)); /* as qemu: direct I/O finds its alignment by reading */
	return code ? error_set_errno(err, code,
				      mode == FALLOC ? "Could not preallocate data for the new file"
						     : "Could not write zeros for preallocation")
		    : 0;
}

/* A device has the length it has. Its first sector goes, so that the old content is not recognised. */
static int use_device(int fd, bool is_block, uint64_t length, struct error *err)
{
	const off_t size = is_block ? lseek(fd, 0, SEEK_END) : 0;
	int code;

	if (size < 0)
		return error_set_errno(err, errno, "Could not get the size of the device");
	if (length > (uint64_t)size)
		return error_set(err, EINVAL, "Cannot grow device files");
	code = write_zeroes(fd, min_u64((uint64_t)size, BLOCK_SECTOR));
	return code ? error_set_errno(err, code, "Failed to clear the new image's first sector") : 0;
}

/* The lock comes before the content goes: nobody's open image is emptied. */
static int fill(const struct block_create *create, const char *filename, int fd, enum mode mode, struct error *err)
{
	struct stat status;
	int result = image_lock(fd, true, filename, err);

	if (result < 0 && result != -ENOTSUP)
		return result;
	if (fstat(fd, &status) < 0)
		return error_set_errno(err, errno, "Could not create '%s'", filename);
	if (!S_ISREG(status.st_mode))
		return use_device(fd, S_ISBLK(status.st_mode), create->length, err);
	if (ftruncate(fd, 0) < 0)
		return error_set_errno(err, errno, "Could not resize file");
	give_hints(create, fd);
	return set_length(fd, create->length, mode, err);
}

#define NOT_MADE "Protocol driver '%s' does not support image creation, and opening the image failed"

int block_device_create(const struct block_create *create, struct error *err)
{
	const char *name = create->driver->name, *text = block_create_text(create, "preallocation");
	struct stat status;
	enum mode mode;
	int fd, result = parse_mode(text, &mode, err);

	if (result)
		return result;
	if (mode != OFF)
		return error_set(err, ENOTSUP, "Unsupported preallocation mode '%s'", text);
	fd = open(create->filename, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return error_set_errno(err, errno, NOT_MADE ": Could not open '%s'", name, create->filename);
	if (fstat(fd, &status) < 0 || !S_ISBLK(status.st_mode))
		result = error_set(err, EINVAL, NOT_MADE ": driver '%s' requires '%s' to be a block device", name, name,
				   create->filename);
	else
		result = image_lock(fd, true, create->filename, err);
	if (!result || result == -ENOTSUP)
		result = use_device(fd, true, create->length, err);
	close(fd);
	return result;
}

/* A disk of another protocol is not made, it is there: emptied so far that its old content is not recognised. */
static int use_existing(const struct block_create *create, const struct block_driver *driver, struct error *err)
{
	const struct block_open how = {.no_flush = true};
	struct block *block = block_open_protocol(create->graph, create->filename, &how, err);
	int result = 0;

	if (!block)
		return error_prefix(err, NOT_MADE, driver->name);
	if (block->length < create->length)
		result = block_truncate(block, create->length, err);
	if (!result) {
		result = block_execute(block, BLOCK_WRITE_ZEROES, 0, min_u64(block->length, BLOCK_SECTOR), NULL, 0, 0);
		if (result)
			error_set_errno(err, -result, "Failed to clear the new image's first sector");
	}
	block_unref(block);
	return result;
}

int block_file_create(const struct block_create *create, struct error *err)
{
	const char *filename = create->filename;
	const struct block_driver *driver = block_protocol_find(&filename, err);
	enum mode mode;
	int fd, result;

	if (!driver)
		return -EINVAL;
	if (driver != &block_file_driver && driver != &block_host_device_driver)
		return driver->create ? driver->create(create, err) : use_existing(create, driver, err);
	result = find_mode(create, &mode, err);
	if (result)
		return result;
	fd = open(filename, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0)
		return error_set_errno(err, errno, "Could not create '%s'", filename);
	result = fill(create, filename, fd, mode, err);
	close(fd);
	return result;
}
