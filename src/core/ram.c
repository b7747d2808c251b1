/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One backing object (memfd or file), mapped once as a whole; slots are windows into that mapping. Slots are few and
 * fixed once vCPUs run, so looking one up is a linear search of a short array, without a lock.
 */
#include "core/ram.h"

#include "base/util.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define RAM_MAX_SLOTS 32

struct ram {
	int fd;
	uint8_t *base; /* of the whole backing */
	uint64_t size;
	uint64_t map_size;
	struct ram_slot slots[RAM_MAX_SLOTS];
	size_t slot_count;
	struct ram_code_client code_client;
	void (*observer)(void *opaque, uint64_t gpa, uint64_t length);
	void *observer_opaque;
};

static uint64_t host_memory_bytes(void)
{
	struct sysinfo info;

	if (sysinfo(&info))
		return UINT64_MAX;
	return (uint64_t)(info.totalram + info.totalswap) * info.mem_unit;
}

/* A file, made if it is not there, or a nameless one in a directory (hugetlbfs, as -mem-path is mostly used). */
static int open_file(const char *path, struct error *err)
{
	struct stat st;
	char *name;
	int fd, code;

	if (stat(path, &st) || !S_ISDIR(st.st_mode)) {
		fd = open(path, O_RDWR | O_CLOEXEC | O_CREAT, 0600);
		return fd < 0 ? error_set_errno(err, errno, "cannot open memory file '%s'", path) : fd;
	}
	name = xasprintf("%s/xuni-ram.XXXXXX", path);
	fd = mkostemp(name, O_CLOEXEC);
	code = errno;
	if (fd >= 0)
		unlink(name);
	free(name);
	return fd < 0 ? error_set_errno(err, code, "cannot make a memory file in '%s'", path) : fd;
}

/* *size becomes a multiple of the backing's pages. */
static int ram_open_backing(const struct ram_config *config, uint64_t *size, struct error *err)
{
	uint64_t page = config->hugetlb ? (config->hugetlb_size ? config->hugetlb_size : 2 * MIB) : PAGE_SIZE;
	unsigned flags = MFD_CLOEXEC;
	struct statfs fs;
	struct stat st;
	int fd, code;

	if (config->path) {
		fd = open_file(config->path, err);
		if (fd < 0)
			return fd;
		if (!fstatfs(fd, &fs) && fs.f_type == HUGETLBFS_MAGIC)
			page = (uint64_t)fs.f_bsize;
	} else {
		if (config->hugetlb) {
			flags |= MFD_HUGETLB;
			if (config->hugetlb_size)
				flags |= (unsigned)__builtin_ctzll(config->hugetlb_size) << MFD_HUGE_SHIFT;
		}
		fd = memfd_create("guest-ram", flags);
		if (fd < 0)
			return error_set_errno(err, errno, "cannot make guest RAM%s",
			                       config->hugetlb ? " of huge pages (see /proc/sys/vm/nr_hugepages)" : "");
	}
	*size = align_up(*size, page);
	if (config->path && !fstat(fd, &st) && S_ISREG(st.st_mode) && (uint64_t)st.st_size >= *size)
		return fd;
	if (ftruncate(fd, (off_t)*size)) {
		code = errno;
		close(fd);
		return error_set_errno(err, code, "cannot size guest RAM to %llu MiB", (unsigned long long)(*size / MIB));
	}
	return fd;
}

struct ram *ram_new(const struct ram_config *config, struct error *err)
{
	uint64_t host = host_memory_bytes();
	int map_flags = config->path && !config->share ? MAP_PRIVATE : MAP_SHARED;
	struct ram *ram;

	if (!config->size || config->size > host) {
		error_set(err, ENOMEM, "guest RAM of %llu MiB: the host has %llu MiB of memory and swap; choose a smaller -m",
		          (unsigned long long)(config->size / MIB), (unsigned long long)(host / MIB));
		return NULL;
	}
	ram = xcalloc(1, sizeof(*ram));
	ram->size = align_up(config->size, PAGE_SIZE);
	ram->map_size = ram->size;
	ram->fd = ram_open_backing(config, &ram->map_size, err);
	if (ram->fd < 0) {
		free(ram);
		return NULL;
	}
	ram->base = mmap(NULL, ram->map_size, PROT_READ | PROT_WRITE, map_flags | MAP_NORESERVE, ram->fd, 0);
	if (ram->base == MAP_FAILED) {
		error_set_errno(err, errno, "cannot map %llu MiB of guest RAM", (unsigned long long)(config->size / MIB));
		close(ram->fd);
		free(ram);
		return NULL;
	}
	if (config->huge_pages)
		madvise(ram->base, ram->map_size, MADV_HUGEPAGE);
	if (config->merge)
		madvise(ram->base, ram->map_size, MADV_MERGEABLE);
	if (!config->dump)
		madvise(ram->base, ram->map_size, MADV_DONTDUMP);
	if (config->prealloc && madvise(ram->base, ram->map_size, MADV_POPULATE_WRITE)) {
		error_set_errno(err, errno, "cannot allocate %llu MiB of guest RAM beforehand (prealloc)",
		                (unsigned long long)(config->size / MIB));
		ram_free(ram);
		return NULL;
	}
	return ram;
}

static void slot_free(struct ram_slot *slot)
{
	free((void *)slot->page_flags);
	free((void *)slot->code_pages);
}

void ram_free(struct ram *ram)
{
	if (!ram)
		return;
	for (size_t i = 0; i < ram->slot_count; i++)
		slot_free(&ram->slots[i]);
	munmap(ram->base, ram->map_size);
	close(ram->fd);
	free(ram);
}

int ram_map(struct ram *ram, uint64_t gpa, uint64_t size, uint64_t fd_offset, bool read_only, struct error *err)
{
	struct ram_slot *slot;

	if (!size || (gpa | size | fd_offset) & (PAGE_SIZE - 1) || !range_inside(fd_offset, size, ram->size))
		return error_set(err, EINVAL, "guest RAM slot at 0x%llx: not whole pages of the backing", (unsigned long long)gpa);
	for (size_t i = 0; i < ram->slot_count; i++)
		if (gpa < ram->slots[i].gpa + ram->slots[i].size && ram->slots[i].gpa < gpa + size)
			return error_set(err, EEXIST, "guest RAM slot at 0x%llx overlaps another", (unsigned long long)gpa);
	if (ram->slot_count == RAM_MAX_SLOTS)
		return error_set(err, ENOSPC, "more than %d guest RAM slots", RAM_MAX_SLOTS);
	slot = &ram->slots[ram->slot_count];
	*slot = (struct ram_slot){
		.gpa = gpa, .size = size, .hva = ram->base + fd_offset, .fd_offset = fd_offset, .read_only = read_only};
	slot->page_flags = malloc(size / PAGE_SIZE);
	slot->code_pages = calloc((gpa + size - 1) / (2 * MIB) - gpa / (2 * MIB) + 1, sizeof(*slot->code_pages));
	if (!slot->page_flags || !slot->code_pages) {
		slot_free(slot);
		return error_set(err, ENOMEM, "no memory for the page flags of guest RAM");
	}
	memset((void *)slot->page_flags, RAM_ALL, size / PAGE_SIZE);
	ram->slot_count++;
	return 0;
}

size_t ram_slots(const struct ram *ram, const struct ram_slot **slots)
{
	*slots = ram->slots;
	return ram->slot_count;
}

int ram_fd(const struct ram *ram)
{
	return ram->fd;
}

uint64_t ram_size(const struct ram *ram)
{
	return ram->size;
}

const struct ram_slot *ram_find(const struct ram *ram, uint64_t gpa)
{
	for (size_t i = 0; i < ram->slot_count; i++)
		if (gpa - ram->slots[i].gpa < ram->slots[i].size)
			return &ram->slots[i];
	return NULL;
}

void *ram_hva(const struct ram *ram, uint64_t gpa, uint64_t length)
{
	const struct ram_slot *slot = ram_find(ram, gpa);

	if (!slot || !range_inside(gpa - slot->gpa, length, slot->size))
		return NULL;
	return slot->hva + (gpa - slot->gpa);
}

/* The piece of [gpa, +length) that lies in one slot; 0 when gpa is not RAM. */
static size_t ram_piece(const struct ram *ram, uint64_t gpa, size_t length, uint8_t **hva)
{
	const struct ram_slot *slot = ram_find(ram, gpa);

	if (!slot)
		return 0;
	*hva = slot->hva + (gpa - slot->gpa);
	return min_u64(length, slot->size - (gpa - slot->gpa));
}

int ram_read(const struct ram *ram, uint64_t gpa, void *to, size_t length)
{
	while (length) {
		uint8_t *hva;
		size_t piece = ram_piece(ram, gpa, length, &hva);

		if (!piece)
			return -EFAULT;
		memcpy(to, hva, piece);
		to = (uint8_t *)to + piece;
		gpa += piece;
		length -= piece;
	}
	return 0;
}

int ram_write(struct ram *ram, uint64_t gpa, const void *from, size_t length)
{
	while (length) {
		uint8_t *hva;
		size_t piece = ram_piece(ram, gpa, length, &hva);

		if (!piece)
			return -EFAULT;
		memcpy(hva, from, piece);
		ram_written(ram, gpa, piece);
		from = (const uint8_t *)from + piece;
		gpa += piece;
		length -= piece;
	}
	return 0;
}

int ram_fill(struct ram *ram, uint64_t gpa, uint8_t byte, size_t length)
{
	while (length) {
		uint8_t *hva;
		size_t piece = ram_piece(ram, gpa, length, &hva);

		if (!piece)
			return -EFAULT;
		memset(hva, byte, piece);
		ram_written(ram, gpa, piece);
		gpa += piece;
		length -= piece;
	}
	return 0;
}

static void ram_written_page(struct ram *ram, const struct ram_slot *slot, uint64_t page)
{
	uint64_t gpn = (slot->gpa >> PAGE_SHIFT) + page;

	if (atomic_load_explicit(&slot->page_flags[page], memory_order_relaxed) == RAM_ALL)
		return;
	if (atomic_fetch_or_explicit(&slot->page_flags[page], RAM_ALL, memory_order_acq_rel) & RAM_CODE)
		return;
	atomic_fetch_sub_explicit(&slot->code_pages[(gpn >> 9) - (slot->gpa >> 21)], 1, memory_order_acq_rel);
	if (ram->code_client.written)
		ram->code_client.written(ram->code_client.opaque, gpn, gpn);
}

void ram_written(struct ram *ram, uint64_t gpa, uint64_t length)
{
	if (__builtin_expect(ram->observer != NULL, 0))
		ram->observer(ram->observer_opaque, gpa, length);
	while (length) {
		const struct ram_slot *slot = ram_find(ram, gpa);
		uint64_t piece;

		if (!slot)
			return;
		piece = min_u64(length, slot->size - (gpa - slot->gpa));
		for (uint64_t page = (gpa - slot->gpa) >> PAGE_SHIFT; page <= (gpa - slot->gpa + piece - 1) >> PAGE_SHIFT; page++)
			ram_written_page(ram, slot, page);
		gpa += piece;
		length -= piece;
	}
}

void ram_set_code_client(struct ram *ram, const struct ram_code_client *client)
{
	ram->code_client = *client;
}

void ram_set_observer(struct ram *ram, void (*written)(void *opaque, uint64_t gpa, uint64_t length), void *opaque)
{
	ram->observer = written;
	ram->observer_opaque = opaque;
}

bool ram_watch_code(struct ram *ram, uint64_t page)
{
	const struct ram_slot *slot = ram_find(ram, page << PAGE_SHIFT);
	_Atomic uint16_t *code_pages;

	if (!slot)
		return false;
	code_pages = &slot->code_pages[(page >> 9) - (slot->gpa >> 21)];
	atomic_fetch_add_explicit(code_pages, 1, memory_order_acq_rel);
	if (!(atomic_fetch_and_explicit(&slot->page_flags[page - (slot->gpa >> PAGE_SHIFT)], ~RAM_CODE, memory_order_acq_rel) &
	      RAM_CODE))
		atomic_fetch_sub_explicit(code_pages, 1, memory_order_acq_rel);
	return true;
}

void ram_track(struct ram *ram, enum ram_client client, bool on)
{
	for (size_t i = 0; i < ram->slot_count; i++) {
		struct ram_slot *slot = &ram->slots[i];

		if (on)
			atomic_fetch_or(&slot->tracked, client);
		else
			atomic_fetch_and(&slot->tracked, ~client);
		for (uint64_t page = 0; page < slot->size >> PAGE_SHIFT; page++) {
			if (on)
				atomic_fetch_and(&slot->page_flags[page], ~client);
			else
				atomic_fetch_or(&slot->page_flags[page], client);
		}
	}
}

void ram_harvest(struct ram *ram, enum ram_client client, const struct ram_slot *slot, uint8_t *bitmap)
{
	uint64_t pages = slot->size >> PAGE_SHIFT;

	memset(bitmap, 0, (pages + 7) / 8);
	for (uint64_t page = 0; page < pages; page++)
		if (atomic_load_explicit(&slot->page_flags[page], memory_order_relaxed) & client &&
		    atomic_fetch_and(&slot->page_flags[page], ~client) & client)
			bitmap[page / 8] |= 1 << page % 8;
}

int ram_discard(struct ram *ram, uint64_t gpa, uint64_t length)
{
	const struct ram_slot *slot = ram_find(ram, gpa);

	if (!slot || !range_inside(gpa - slot->gpa, length, slot->size) || (gpa | length) & (PAGE_SIZE - 1))
		return -EINVAL;
	if (fallocate(ram->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, slot->fd_offset + (gpa - slot->gpa), length))
		return -errno;
	ram_written(ram, gpa, length);
	return 0;
}
