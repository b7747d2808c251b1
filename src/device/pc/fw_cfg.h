/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef XUNI_DEVICE_PC_FW_CFG_H
#define XUNI_DEVICE_PC_FW_CFG_H

#include "core/device.h"

struct fw_cfg;

extern const struct device_class fw_cfg_class;

/* Keys with a fixed meaning; numbers are little-endian. Files get keys from 0x20 on. */
enum fw_cfg_key {
	FW_CFG_SIGNATURE = 0x00, /* "QEMU", made here */
	FW_CFG_ID = 0x01,        /* features, made here */
	FW_CFG_UUID = 0x02,
	FW_CFG_RAM_SIZE = 0x03,
	FW_CFG_NOGRAPHIC = 0x04,
	FW_CFG_NB_CPUS = 0x05,
	FW_CFG_KERNEL_ADDR = 0x07,
	FW_CFG_KERNEL_SIZE = 0x08,
	FW_CFG_INITRD_ADDR = 0x0a,
	FW_CFG_INITRD_SIZE = 0x0b,
	FW_CFG_BOOT_MENU = 0x0e,
	FW_CFG_MAX_CPUS = 0x0f,
	FW_CFG_KERNEL_ENTRY = 0x10,
	FW_CFG_KERNEL_DATA = 0x11,
	FW_CFG_INITRD_DATA = 0x12,
	FW_CFG_CMDLINE_ADDR = 0x13,
	FW_CFG_CMDLINE_SIZE = 0x14,
	FW_CFG_CMDLINE_DATA = 0x15,
	FW_CFG_SETUP_ADDR = 0x16,
	FW_CFG_SETUP_SIZE = 0x17,
	FW_CFG_SETUP_DATA = 0x18,
	FW_CFG_FILE_DIR = 0x19, /* made here */
	FW_CFG_ARCH_LOCAL =
		0x8000, /* or-ed to keys of their own on each architecture: ACPI 0, SMBIOS 1, IRQ0 2, E820 3, HPET 4 */
};

enum { FW_CFG_NAME_MAX = 55, FW_CFG_FILES_MAX = 256 };

/* Ports 0x510-0x511 (selector, data) and 0x514-0x51b (DMA). */
struct fw_cfg *fw_cfg_new(const struct device_env *env, struct error *err);

/* All of these: before guests run, or with the vCPUs stopped. An item added again is replaced. The bytes are copied. */
void fw_cfg_add_bytes(struct fw_cfg *fw_cfg, uint16_t key, const void *bytes, size_t length);
/* With the terminating zero. */
void fw_cfg_add_string(struct fw_cfg *fw_cfg, uint16_t key, const char *text);
void fw_cfg_add_u16(struct fw_cfg *fw_cfg, uint16_t key, uint16_t value);
void fw_cfg_add_u32(struct fw_cfg *fw_cfg, uint16_t key, uint32_t value);
void fw_cfg_add_u64(struct fw_cfg *fw_cfg, uint16_t key, uint64_t value);
/* Not copied: the bytes stay the caller's and must outlive the device (kernel, initrd). */
void fw_cfg_add_borrowed(struct fw_cfg *fw_cfg, uint16_t key, const void *bytes, size_t length);

/* A named file; -EINVAL for a name too long or empty, -ENOSPC when there are too many. A known name is replaced. */
int fw_cfg_add_file(struct fw_cfg *fw_cfg, const char *name, const void *bytes, size_t length, struct error *err);
/* As fw_cfg_add_file for a file that comes to be, or changes, when a guest looks: select (may be NULL) is called in the
 * vCPU's thread when it is selected and may call fw_cfg_update_file; written (NULL: read-only) after a guest wrote. */
struct fw_cfg_callback {
	void (*select)(void *opaque);
	void (*written)(void *opaque, size_t offset, size_t length);
	void *opaque;
};
int fw_cfg_add_callback(struct fw_cfg *fw_cfg, const char *name, const void *bytes, size_t length,
			const struct fw_cfg_callback *callback, struct error *err);
/* New contents, of any length; only from inside select, or with the vCPUs stopped. -ENOENT. */
int fw_cfg_update_file(struct fw_cfg *fw_cfg, const char *name, const void *bytes, size_t length);
/* What a file holds now, or NULL. */
const void *fw_cfg_file(struct fw_cfg *fw_cfg, const char *name, size_t *length);

/* Name of file number index, NULL behind the last. Valid until one is added. */
const char *fw_cfg_file_at(struct fw_cfg *fw_cfg, size_t index, size_t *length);

/* One -fw_cfg option: its name, and file= or string= (names not under opt/ get a warning, as they may collide). */
int fw_cfg_add_option(struct fw_cfg *fw_cfg, const char *name, struct options *options, struct error *err);

#endif
