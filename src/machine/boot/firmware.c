/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Finds and reads firmware images. The file is read once: a guest's reset finds the same ROM. */
#include "machine/boot/firmware.h"

#include "base/util.h"
#include "core/ram.h"

#include <fcntl.h>
#include <glob.h>
#include <jansson.h>
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
			"firmware '%s' is not there (Debian: packages seabios, ipxe-qemu, ovmf, qemu-system-data; -L names a directory)",
			name);
	return path;
}

/* --- what the distribution says of its images (qemu docs/interop/firmware.json) --- */

static bool same_file(const char *a, const char *b)
{
	struct stat first, second;

	return stat(a, &first) == 0 && stat(b, &second) == 0 && first.st_dev == second.st_dev &&
	       first.st_ino == second.st_ino;
}

static bool says_smm(const char *descriptor, const char *path)
{
	json_t *root = json_load_file(descriptor, 0, NULL), *feature;
	json_t *executable = json_object_get(json_object_get(root, "mapping"), "executable");
	const char *image = json_string_value(json_object_get(executable, "filename"));
	bool says = false;
	size_t i;

	if (image && same_file(image, path))
		json_array_foreach (json_object_get(root, "features"), i, feature)
			says |= json_is_string(feature) && !strcmp(json_string_value(feature), "requires-smm");
	json_decref(root);
	return says;
}

bool firmware_needs_smm(const char *path)
{
	glob_t found = {0};
	bool needs = false;

	if (glob("/usr/share/qemu/firmware/*.json", 0, NULL, &found) == 0)
		for (size_t i = 0; i < found.gl_pathc && !needs; i++)
			needs = says_smm(found.gl_pathv[i], path);
	globfree(&found);
	return needs;
}

uint8_t *firmware_read(const char *path, size_t *length, struct error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint8_t *bytes = NULL;
	struct stat st;
	size_t done = 0;
	ssize_t got = 1;

	if (fd < 0 || fstat(fd, &st) < 0) {
		error_set_errno(err, errno, "firmware '%s'", path);
	} else if (!S_ISREG(st.st_mode) || st.st_size <= 0 || (uint64_t)st.st_size > FIRMWARE_MAX_BYTES) {
		error_set(err, EINVAL, "firmware '%s' is not a file of 1 byte to 16 MiB", path);
	} else {
		bytes = xcalloc(1, (size_t)st.st_size);
		while (done < (size_t)st.st_size && got > 0) {
			got = read(fd, bytes + done, (size_t)st.st_size - done);
			done += got > 0 ? (size_t)got : 0;
		}
		*length = done;
	}
	if (bytes && done < (size_t)st.st_size) {
		error_set(err, EIO, "firmware '%s' could not be read whole", path);
		free(bytes);
		bytes = NULL;
	}
	if (fd >= 0)
		close(fd);
	return bytes;
}

struct ram_block *firmware_load(struct ram *ram, const char *path, struct error *err)
{
	size_t length = 0;
	uint8_t *bytes = firmware_read(path, &length, err);
	struct ram_block *block = NULL;

	if (bytes && length % FIRMWARE_UNIT_BYTES)
		error_set(err, EINVAL, "firmware '%s' is not a file of whole 64 KiB", path);
	else if (bytes)
		block = ram_block_new(ram, "pc.bios", length, err);
	if (block)
		memcpy(block->hva, bytes, length);
	free(bytes);
	return block;
}
