/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Finds and reads firmware images. The file is read once: a guest's reset finds the same ROM. */
#include "machine/boot/firmware.h"

#include "base/util.h"
#include "core/ram.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIRMWARE_UNIT_BYTES (64 * KIB)
#define FIRMWARE_MAX_BYTES  (16 * MIB)

static const char *const fixed_directories[] = {"/usr/share/qemu", "/usr/share/seabios", "/usr/lib/ipxe/qemu",
						"/usr/share/OVMF"};

const char *firmware_directory(size_t i)
{
	return i < ARRAY_SIZE(fixed_directories) ? fixed_directories[i] : NULL;
}

/* directory/name when there is such a file. */
static char *inside(const char *directory, const char *name)
{
	char *path = xasprintf("%s/%s", directory, name);

	if (access(path, R_OK) == 0)
		return path;
	free(path);
	return NULL;
}

char *firmware_find(char *const *directories, const char *name, struct error *err)
{
	char *path = NULL;

	if (access(name, R_OK) == 0)
		return xstrdup(name);
	for (size_t i = 0; !strchr(name, '/') && !path && directories && directories[i]; i++)
		path = inside(directories[i], name);
	for (size_t i = 0; !strchr(name, '/') && !path && firmware_directory(i); i++)
		path = inside(firmware_directory(i), name);
	if (!path)
		error_set(
			err, ENOENT,
			"firmware '%s' is not there (Debian: packages seabios, ipxe-qemu, ovmf; -L names a directory)",
			name);
	return path;
}

static int read_image(int fd, const char *path, struct ram_block *block, uint64_t bytes, struct error *err)
{
	for (uint64_t done = 0; done < bytes;) {
		ssize_t got = read(fd, block->hva + done, bytes - done);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return error_set(err, EIO, "firmware '%s' could not be read whole", path);
		done += (uint64_t)got;
	}
	return 0;
}

struct ram_block *firmware_load(struct ram *ram, const char *path, struct error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct ram_block *block = NULL;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		error_set_errno(err, errno, "firmware '%s'", path);
	else if (!S_ISREG(st.st_mode) || st.st_size <= 0 || (uint64_t)st.st_size % FIRMWARE_UNIT_BYTES ||
		 (uint64_t)st.st_size > FIRMWARE_MAX_BYTES)
		error_set(err, EINVAL, "firmware '%s' is not a file of whole 64 KiB, up to 16 MiB", path);
	else
		block = ram_block_new(ram, "pc.bios", (uint64_t)st.st_size, err);
	if (block && read_image(fd, path, block, (uint64_t)st.st_size, err) < 0) {
		ram_block_free(block);
		block = NULL;
	}
	if (fd >= 0)
		close(fd);
	return block;
}
