/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Locks that keep two processes from writing one image, compatible with qemu's: open-file-description locks on single
 * bytes far from data. Byte 100 + p says "I use permission p", byte 200 + p "I do not share permission p"; all are read
 * locks, so that they do not exclude each other, and conflicts are found by asking who holds the counterpart.
 * They go away with the last descriptor of the open file, also when the process dies.
 */
#include "backend/block/internal.h"

#include <fcntl.h>
#include <time.h>

enum permission { CONSISTENT_READ, WRITE, WRITE_UNCHANGED, RESIZE, PERMISSIONS };

static const char *const permission_name[PERMISSIONS] = {"consistent read", "write", "write unchanged", "resize"};

enum { USED_BASE = 100, UNSHARED_BASE = 200 };

static int lock_byte(int fd, unsigned byte, short type)
{
	struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

	return fcntl(fd, F_OFD_SETLK, &lock) < 0 ? -errno : 0;
}

/* True when another open file holds a lock on this byte. */
static bool byte_is_held(int fd, unsigned byte)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

	return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

static int conflict(unsigned permission, bool shared, const char *filename, struct error *err)
{
	return error_set(err, EAGAIN, "Failed to get %s\"%s\" lock: is another process using the image [%s]?",
			 shared ? "shared " : "", permission_name[permission], filename);
}

static int try_lock(int fd, bool writer, const char *filename, struct error *err)
{
	const unsigned used = writer ? 1u << CONSISTENT_READ | 1u << WRITE | 1u << RESIZE : 1u << CONSISTENT_READ;
	const unsigned unshared = 1u << WRITE | 1u << RESIZE;

	for (unsigned i = 0; i < PERMISSIONS; i++) {
		int result = used & 1u << i ? lock_byte(fd, USED_BASE + i, F_RDLCK) : 0;

		if (!result && unshared & 1u << i)
			result = lock_byte(fd, UNSHARED_BASE + i, F_RDLCK);
		if (result == -EINVAL || result == -ENOLCK || result == -EOPNOTSUPP || result == -ENOSYS)
			return -ENOTSUP;
		if (result)
			return conflict(i, false, filename, err); /* somebody holds it exclusively */
	}
	for (unsigned i = 0; i < PERMISSIONS; i++) {
		if (used & 1u << i && byte_is_held(fd, UNSHARED_BASE + i))
			return conflict(i, false, filename, err);
		if (unshared & 1u << i && byte_is_held(fd, USED_BASE + i))
			return conflict(i, true, filename, err);
	}
	return 0;
}

static void unlock(int fd)
{
	struct flock lock = {.l_type = F_UNLCK,
			     .l_whence = SEEK_SET,
			     .l_start = USED_BASE,
			     .l_len = UNSHARED_BASE + PERMISSIONS - USED_BASE};

	fcntl(fd, F_OFD_SETLK, &lock);
}

/* A VMM that was killed lets go of its image only when the kernel has taken down its io_uring, a moment after the
 * process is gone; whoever starts it again at once should not meet its ghost. */
int image_lock(int fd, bool writer, const char *filename, struct error *err)
{
	const struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
	int result;

	for (unsigned tries = 0; tries < 15; tries++) {
		result = try_lock(fd, writer, filename, err);
		if (result != -EAGAIN)
			return result;
		unlock(fd);
		nanosleep(&pause, NULL);
	}
	return result;
}
