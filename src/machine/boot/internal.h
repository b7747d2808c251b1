/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the boot loaders of this folder share: files read by offset, and a plan of who occupies which guest RAM. */
#ifndef XUNI_MACHINE_BOOT_INTERNAL_H
#define XUNI_MACHINE_BOOT_INTERNAL_H

#include "machine/boot/boot.h"

enum { BOOT_HEAD_BYTES = 16384, BOOT_FILES_MAX = 64, BOOT_MAP_MAX = 128, BOOT_CLAIMS_MAX = 512 };

struct boot_file {
	char *name;      /* as the user wrote it, for messages */
	char *arguments; /* multiboot module: the text behind the file name; else NULL */
	int fd;
	uint64_t size;
};

enum boot_kind { BOOT_BZIMAGE, BOOT_PVH, BOOT_MULTIBOOT };

struct boot {
	enum boot_kind kind;
	struct boot_file kernel;
	struct boot_file modules[BOOT_FILES_MAX]; /* the initrd is modules[0] */
	size_t module_count;
	char *append;
	uint8_t head[BOOT_HEAD_BYTES]; /* the kernel's first bytes, zero padded */
	size_t head_bytes;
};

struct boot_claim {
	uint64_t gpa, size;
	const char *what;
};

/* One placement in progress. */
struct boot_plan {
	struct boot *boot;
	struct ram *ram;
	const struct boot_board *board;
	struct boot_memory map[BOOT_MAP_MAX];
	size_t map_count;
	struct boot_claim claims[BOOT_CLAIMS_MAX];
	size_t claim_count;
};

/* --- file.c --- */
int boot_file_open(struct boot_file *file, const char *name, const char *what, struct error *err);
void boot_file_close(struct boot_file *file);
/* Exactly length bytes; a file that ends before is an error that says so. */
int boot_file_read(const struct boot_file *file, uint64_t offset, void *to, size_t length, struct error *err);
/* As above, straight into RAM. The destination was claimed. */
int boot_file_load(const struct boot_file *file, uint64_t offset, uint64_t length, struct ram *ram, uint64_t gpa,
		   struct error *err);

/* --- plan.c --- */
void boot_plan_init(struct boot_plan *plan, struct boot *boot, struct ram *ram, const struct boot_board *board);
/* Takes [gpa, +size): all of it must be RAM of the map and free. what names it in messages. */
int boot_claim(struct boot_plan *plan, uint64_t gpa, uint64_t size, const char *what, struct error *err);
/* True when boot_claim would succeed. */
bool boot_is_free(const struct boot_plan *plan, uint64_t gpa, uint64_t size);
/* Finds and claims the lowest or (from_top) highest place inside [low, high). */
int boot_find(struct boot_plan *plan, uint64_t size, uint64_t align, uint64_t low, uint64_t high, bool from_top,
	      const char *what, uint64_t *gpa, struct error *err);
/* Room for a file that the guest is given (initrd, module): as high as possible below limit, else, if the guest can
 * reach that, above 4 GiB. */
int boot_find_module(struct boot_plan *plan, const struct boot_file *file, uint64_t limit, bool above_4g, uint64_t *gpa,
		     struct error *err);
/* Allocates low memory for size bytes, zeroed. */
int boot_low(struct boot_plan *plan, uint64_t size, uint64_t align, const char *what, uint64_t *gpa, struct error *err);
int boot_store(struct boot_plan *plan, uint64_t gpa, const void *from, size_t length, struct error *err);
/* GDT (and, for long mode, identity page tables of the first 4 GiB). */
int boot_tables(struct boot_plan *plan, bool long_mode, struct boot_result *result, struct error *err);

/* --- elf.c --- */
struct boot_elf {
	bool is64;
	uint64_t entry;
	uint64_t low, high; /* physical extent of what was loaded */
};
bool boot_is_elf(const struct boot *boot);
/* Claims and loads the PT_LOAD segments. */
int boot_elf_load(struct boot_plan *plan, struct boot_elf *elf, struct error *err);
/* The PVH entry point; -ENOENT (err untouched) when the file has no such note. */
int boot_elf_pvh_entry(const struct boot *boot, uint32_t *entry, struct error *err);

/* --- bzimage.c, pvh.c, multiboot.c --- */
bool boot_is_bzimage(const struct boot *boot);
int boot_check_bzimage(const struct boot *boot, struct error *err);
/* Fills in all parts but the command line's text. */
int boot_hand_over_bzimage(const struct boot *boot, uint64_t low_bytes, struct boot_handover *handover, struct error *err);
int boot_place_bzimage(struct boot_plan *plan, struct boot_result *result, struct error *err);
int boot_place_pvh(struct boot_plan *plan, struct boot_result *result, struct error *err);
bool boot_is_multiboot(const struct boot *boot);
int boot_place_multiboot(struct boot_plan *plan, struct boot_result *result, struct error *err);

#endif
