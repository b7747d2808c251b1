/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Kernel and initrd files: opened once, read by offset, never mapped (a file that shrinks must not raise SIGBUS). */
#include "base/util.h"
#include "core/ram.h"
#include "machine/boot/internal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int boot_file_open(struct boot_file *file, const char *name, const char *what, struct error *err)
{
	struct stat st;
	file->fd = open(name, O_RDONLY | O_CLOEXEC);
	if (file->fd < 0)
		return error_set_errno(err, errno, "%s '%s'", what, name);
	if (fstat(file->fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(file->fd);
		file->fd = -1;
		return error_set(err, EINVAL, "%s '%s': not a regular file", what, name);
	}
	file->size = (uint64_t)st.st_size;
	file->name = xstrdup(name);
	return 0;
}

void boot_file_close(struct boot_file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	free(file->name);
	free(file->arguments);
	*file = (struct boot_file){.fd = -1};
}

int boot_file_read(const struct boot_file *file, uint64_t offset, void *to, size_t length, struct error *err)
{
	if (!range_inside(offset, length, file->size))
		return error_set(err, EINVAL, "'%s': needs bytes %#llx to %#llx, but the file ends after %llu bytes",
				 file->name, (unsigned long long)offset, (unsigned long long)(offset + length),
				 (unsigned long long)file->size);
	for (size_t done = 0; done < length;) {
		ssize_t n = pread(file->fd, (char *)to + done, length - done, (off_t)(offset + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set_errno(err, errno, "'%s': reading", file->name);
		if (n == 0)
			return error_set(err, EIO, "'%s': the file became shorter while it was read", file->name);
		done += (size_t)n;
	}
	return 0;
}

int boot_file_load(const struct boot_file *file, uint64_t offset, uint64_t length, struct ram *ram, uint64_t gpa,
		   struct error *err)
{
	void *hva = length ? ram_hva(ram, gpa, length) : NULL;
	if (!length)
		return 0;
	if (!hva)
		return error_set(err, EINVAL, "'%s': no RAM at %#llx", file->name, (unsigned long long)gpa);
	int rc = boot_file_read(file, offset, hva, length, err);
	ram_written(ram, gpa, length);
	return rc;
}
