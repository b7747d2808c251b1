/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Main RAM is one backing object (memfd or file), mapped once as a whole. Slots are few, so looking one up is a linear
 * search of a short array, without a lock. What changes while vCPUs run is in ram_window.c.
 */
#include "core/ram_internal.h"

#include "base/util.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

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
		return error_set_errno(err, code, "cannot size guest RAM to %llu MiB",
				       (unsigned long long)(*size / MIB));
	}
	return fd;
}

struct ram *ram_new(const struct ram_config *config, struct error *err)
{
	uint64_t host = host_memory_bytes();
	int map_flags = config->path && !config->share ? MAP_PRIVATE : MAP_SHARED;
	uint8_t *base;
	struct ram *ram;

	if (!config->size || config->size > host) {
		error_set(err, ENOMEM,
			  "guest RAM of %llu MiB: the host has %llu MiB of memory and swap; choose a smaller -m",
			  (unsigned long long)(config->size / MIB), (unsigned long long)(host / MIB));
		return NULL;
	}
	ram = xcalloc(1, sizeof(*ram));
	ram->main = (struct ram_block){.ram = ram, .size = align_up(config->size, PAGE_SIZE)};
	ram->map_size = ram->main.size;
	ram->shared = map_flags == MAP_SHARED;
	ram->fd = ram_open_backing(config, &ram->map_size, err);
	if (ram->fd < 0) {
		free(ram);
		return NULL;
	}
	base = mmap(NULL, ram->map_size, PROT_READ | PROT_WRITE, map_flags | MAP_NORESERVE, ram->fd, 0);
	ram->main.page_flags = malloc(ram->main.size / PAGE_SIZE);
	if (base == MAP_FAILED || !ram->main.page_flags) {
		error_set_errno(err, errno, "cannot map %llu MiB of guest RAM",
				(unsigned long long)(config->size / MIB));
		if (base != MAP_FAILED)
			munmap(base, ram->map_size);
		close(ram->fd);
		free((void *)ram->main.page_flags);
		free(ram);
		return NULL;
	}
	memset((void *)ram->main.page_flags, RAM_ALL, ram->main.size / PAGE_SIZE);
	ram->main.name = xstrdup("pc.ram");
	ram->main.hva = base;
	pthread_mutex_init(&ram->layout_lock, NULL);
	if (config->huge_pages)
		madvise(base, ram->map_size, MADV_HUGEPAGE);
	if (config->merge)
		madvise(base, ram->map_size, MADV_MERGEABLE);
	if (!config->dump)
		madvise(base, ram->map_size, MADV_DONTDUMP);
	if (config->prealloc && madvise(base, ram->map_size, MADV_POPULATE_WRITE)) {
		error_set_errno(err, errno, "cannot allocate %llu MiB of guest RAM beforehand (prealloc)",
				(unsigned long long)(config->size / MIB));
		ram_free(ram);
		return NULL;
	}
	return ram;
}

void ram_free(struct ram *ram)
{
	if (!ram)
		return;
	for (size_t i = 0; i < ram_slot_count(ram); i++)
		ram_slot_free(ram->slots[i]);
	ram_forget_slots(ram);
	while (ram->main.next)
		ram_block_free(ram->main.next);
	munmap(ram->main.hva, ram->map_size);
	close(ram->fd);
	free(ram->main.name);
	free((void *)ram->main.page_flags);
	pthread_mutex_destroy(&ram->layout_lock);
	free(ram);
}

int ram_map(struct ram *ram, uint64_t gpa, uint64_t size, uint64_t offset, bool read_only, struct error *err)
{
	struct ram_slot *slot;
	size_t number;

	if (!size || (gpa | size | offset) & (PAGE_SIZE - 1) || !range_inside(offset, size, ram->main.size))
		return error_set(err, EINVAL, "guest RAM slot at 0x%llx: not whole pages of the backing",
				 (unsigned long long)gpa);
	if (ram_slot_taken(ram, gpa, size, SIZE_MAX))
		return error_set(err, EEXIST, "guest RAM slot at 0x%llx overlaps another", (unsigned long long)gpa);
	number = ram_slot_number(ram);
	if (number == SIZE_MAX)
		return error_set(err, ENOSPC, "more than %d guest RAM slots", RAM_MAX_SLOTS);
	slot = ram_slot_new(&ram->main, offset, size, gpa, read_only);
	slot->fixed = true;
	memset((void *)slot->code_pages, 0, ram_slot_runs(slot) * sizeof(*slot->code_pages));
	ram->slots[number] = slot;
	return 0;
}

size_t ram_slot_count(const struct ram *ram)
{
	return atomic_load_explicit(&ram->slot_count, memory_order_acquire);
}

const struct ram_slot *ram_slot_at(const struct ram *ram, size_t number)
{
	return atomic_load_explicit(&ram->slots[number], memory_order_acquire);
}

struct ram_block *ram_main(struct ram *ram)
{
	return &ram->main;
}

int ram_fd(const struct ram *ram)
{
	return ram->fd;
}

bool ram_is_shared(const struct ram *ram)
{
	return ram->shared;
}

uint64_t ram_size(const struct ram *ram)
{
	return ram->main.size;
}

const struct ram_slot *ram_find(const struct ram *ram, uint64_t gpa)
{
	for (size_t i = 0, count = ram_slot_count(ram); i < count; i++) {
		const struct ram_slot *slot = ram_slot_at(ram, i);

		if (slot && gpa - slot->gpa < slot->size)
			return slot;
	}
	return NULL;
}

void *ram_hva(const struct ram *ram, uint64_t gpa, uint64_t length)
{
	const struct ram_slot *slot = ram_find(ram, gpa);

	if (!slot || !range_inside(gpa - slot->gpa, length, slot->size))
		return NULL;
	return slot->hva + (gpa - slot->gpa);
}

/* The piece of [gpa, +length) that lies in one slot; 0 when gpa is not RAM. *hva NULL: may not be written. */
static size_t ram_piece(const struct ram *ram, uint64_t gpa, size_t length, bool write, uint8_t **hva)
{
	const struct ram_slot *slot = ram_find(ram, gpa);

	if (!slot)
		return 0;
	*hva = write && slot->read_only ? NULL : slot->hva + (gpa - slot->gpa);
	return min_u64(length, slot->size - (gpa - slot->gpa));
}

int ram_read(const struct ram *ram, uint64_t gpa, void *to, size_t length)
{
	while (length) {
		uint8_t *hva;
		size_t piece = ram_piece(ram, gpa, length, false, &hva);

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
		size_t piece = ram_piece(ram, gpa, length, true, &hva);

		if (!piece)
			return -EFAULT;
		if (hva) {
			memcpy(hva, from, piece);
			ram_written(ram, gpa, piece);
		}
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
		size_t piece = ram_piece(ram, gpa, length, true, &hva);

		if (!piece)
			return -EFAULT;
		if (hva) {
			memset(hva, byte, piece);
			ram_written(ram, gpa, piece);
		}
		gpa += piece;
		length -= piece;
	}
	return 0;
}

/* All places at which the guest sees that page of the block. */
static void tell_code_client(struct ram *ram, const struct ram_block *block, uint64_t page)
{
	for (size_t i = 0, count = ram_slot_count(ram); i < count; i++) {
		const struct ram_slot *slot = ram_slot_at(ram, i);
		uint64_t gpn;

		if (!slot || slot->block != block || (page << PAGE_SHIFT) - slot->offset >= slot->size)
			continue;
		gpn = ((slot->gpa - slot->offset) >> PAGE_SHIFT) + page;
		if (slot->fixed)
			atomic_fetch_sub_explicit(&slot->code_pages[(gpn >> 9) - (slot->gpa >> 21)], 1,
						  memory_order_acq_rel);
		if (ram->code_client.written)
			ram->code_client.written(ram->code_client.opaque, gpn, gpn);
	}
}

static void written_page(struct ram_block *block, uint64_t page)
{
	struct ram *ram = block->ram;

	if (atomic_load_explicit(&block->page_flags[page], memory_order_acquire) != RAM_ALL) {
		bool ends_watch;

		atomic_fetch_add_explicit(&ram->telling, 1, memory_order_acq_rel);
		ends_watch =
			!(atomic_fetch_or_explicit(&block->page_flags[page], RAM_ALL, memory_order_acq_rel) & RAM_CODE);
		if (ends_watch)
			tell_code_client(ram, block, page);
		atomic_fetch_sub_explicit(&ram->telling, 1, memory_order_acq_rel);
		if (ends_watch)
			return;
	}
	while (!ram_code_told(ram)) /* another thread's write has ended the watch */
		__builtin_ia32_pause();
}

bool ram_code_told(const struct ram *ram)
{
	return !atomic_load_explicit(&ram->telling, memory_order_acquire);
}

static void written_pages(struct ram_block *block, uint64_t offset, uint64_t length)
{
	for (uint64_t page = offset >> PAGE_SHIFT; page <= (offset + length - 1) >> PAGE_SHIFT; page++)
		written_page(block, page);
}

void ram_block_written(struct ram_block *block, uint64_t offset, uint64_t length)
{
	if (length)
		written_pages(block, offset, length);
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
		written_pages(slot->block, slot->offset + (gpa - slot->gpa), piece);
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
	if (slot->fixed)
		atomic_fetch_add_explicit(code_pages, 1, memory_order_acq_rel);
	if (!(atomic_fetch_and_explicit(&slot->page_flags[page - (slot->gpa >> PAGE_SHIFT)], ~RAM_CODE,
					memory_order_acq_rel) &
	      RAM_CODE) &&
	    slot->fixed)
		atomic_fetch_sub_explicit(code_pages, 1, memory_order_acq_rel);
	return true;
}

static void track_block(struct ram_block *block, enum ram_client client, bool on)
{
	if (on)
		atomic_fetch_or(&block->tracked, client);
	else
		atomic_fetch_and(&block->tracked, ~client);
	for (uint64_t page = 0; page < block->size >> PAGE_SHIFT; page++) {
		if (on)
			atomic_fetch_and(&block->page_flags[page], ~client);
		else
			atomic_fetch_or(&block->page_flags[page], client);
	}
}

void ram_track(struct ram *ram, enum ram_client client, bool on)
{
	for (struct ram_block *block = &ram->main; block; block = block->next)
		track_block(block, client, on);
}

static void harvest(_Atomic uint8_t *page_flags, uint64_t pages, enum ram_client client, uint8_t *bitmap)
{
	memset(bitmap, 0, (pages + 7) / 8);
	for (uint64_t page = 0; page < pages; page++)
		if (atomic_load_explicit(&page_flags[page], memory_order_relaxed) & client &&
		    atomic_fetch_and(&page_flags[page], ~client) & client)
			bitmap[page / 8] |= 1 << page % 8;
}

void ram_harvest(struct ram *ram, enum ram_client client, const struct ram_slot *slot, uint8_t *bitmap)
{
	harvest(slot->page_flags, slot->size >> PAGE_SHIFT, client, bitmap);
}

void ram_block_track(struct ram_block *block, enum ram_client client, bool on)
{
	pthread_mutex_lock(&block->ram->layout_lock);
	track_block(block, client, on);
	for (struct ram_listener *listener = block->ram->listeners; listener; listener = listener->next)
		if (listener->tracked)
			listener->tracked(listener->opaque, block);
	pthread_mutex_unlock(&block->ram->layout_lock);
}

void ram_block_harvest(struct ram_block *block, enum ram_client client, uint8_t *bitmap)
{
	pthread_mutex_lock(&block->ram->layout_lock);
	for (struct ram_listener *listener = block->ram->listeners; listener; listener = listener->next)
		if (listener->sync)
			listener->sync(listener->opaque, block);
	harvest(block->page_flags, block->size >> PAGE_SHIFT, client, bitmap);
	pthread_mutex_unlock(&block->ram->layout_lock);
}

int ram_discard(struct ram *ram, uint64_t gpa, uint64_t length)
{
	const struct ram_slot *slot = ram_find(ram, gpa);

	if (!slot || !range_inside(gpa - slot->gpa, length, slot->size) || (gpa | length) & (PAGE_SIZE - 1) ||
	    slot->block != &ram->main)
		return -EINVAL;
	if (fallocate(ram->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, slot->offset + (gpa - slot->gpa), length))
		return -errno;
	ram_written(ram, gpa, length);
	return 0;
}
