/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where firmware images and option ROMs are on this host, and how they get into guest memory. */
#ifndef XUNI_MACHINE_FIRMWARE_H
#define XUNI_MACHINE_FIRMWARE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ram;
struct ram_block;

#define FIRMWARE_DEFAULT "bios-256k.bin"

/* A file by the name that -bios or romfile= gives: as it is, else in the directories of -L (NULL-ended, may be NULL),
 * else where Debian's packages qemu-system-data, seabios, ipxe-qemu and ovmf put theirs. Heap; NULL: -ENOENT, *err
 * names it. */
char *firmware_find(char *const *directories, const char *name, struct error *err);
/* Directory number i of the fixed ones; NULL behind the last. */
const char *firmware_directory(size_t i);

/* Whether a descriptor of this host's firmware packages says that the image does not run without SMM. */
bool firmware_needs_smm(const char *path);

/* Reads a file of up to 16 MiB; heap. */
uint8_t *firmware_read(const char *path, size_t *length, struct error *err);
/* Reads a firmware image into a block of its own. 64 KiB to 16 MiB, whole 64 KiB. */
struct ram_block *firmware_load(struct ram *ram, const char *path, struct error *err);

#endif
