/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest RAM: memfd-backed slots of guest-physical memory, with per-page flags that say who wants to know of writes.
 *
 * A page's flag byte holds one bit per client. A set bit means "a write to this page has nothing more to tell this
 * client". An engine may let a guest write to a page without telling anybody only while all bits of the page are set;
 * otherwise the write goes through ram_written, which sets the bits and tells the code client. Devices write through
 * ram_write or tell ram_written after they wrote by hva.
 */
#ifndef XUNI_CORE_RAM_H
#define XUNI_CORE_RAM_H

#include "base/error.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_SHIFT 12
#define PAGE_SIZE 4096ull

enum ram_client {
	RAM_CODE = 1 << 0,    /* clear: an engine holds decoded or translated code of this page */
	RAM_MIGRATE = 1 << 1, /* clear: not sent or not dirty since the last harvest */
	RAM_DISPLAY = 1 << 2,
	RAM_ALL = RAM_CODE | RAM_MIGRATE | RAM_DISPLAY,
};

struct ram_slot {
	uint64_t gpa;
	uint64_t size;      /* bytes, whole pages */
	uint8_t *hva;
	uint64_t fd_offset; /* where in the memfd this slot lies */
	bool read_only;     /* guest writes are dropped (ROM) */
	_Atomic uint8_t *page_flags; /* one byte a page, bits of enum ram_client */
	_Atomic uint8_t tracked;     /* clients that track all writes to it now */
	_Atomic uint16_t *code_pages; /* for each aligned 2 MiB of gpa: pages whose RAM_CODE is clear (never fewer) */
};

struct ram_config {
	uint64_t size;     /* bytes in all */
	const char *path;  /* a file, or a directory for a nameless one; NULL: memfd */
	bool huge_pages;   /* MFD_HUGETLB with hugetlb = true, else madvise */
	bool hugetlb;
	uint64_t hugetlb_size; /* 0: default */
	bool prealloc;
	bool share;        /* MAP_SHARED of path; a memfd is always mapped shared */
	bool merge;        /* MADV_MERGEABLE */
	bool dump;
};

struct ram;

/* Reserves the backing; no slot yet. The size is checked against what the host has: the message names both. */
struct ram *ram_new(const struct ram_config *config, struct error *err);
void ram_free(struct ram *ram);

/* Maps [fd_offset, +size) of the backing at gpa; slots do not overlap. Before vCPUs run. */
int ram_map(struct ram *ram, uint64_t gpa, uint64_t size, uint64_t fd_offset, bool read_only, struct error *err);
size_t ram_slots(const struct ram *ram, const struct ram_slot **slots);
int ram_fd(const struct ram *ram);
uint64_t ram_size(const struct ram *ram);

/* The slot that holds gpa, or NULL. */
const struct ram_slot *ram_find(const struct ram *ram, uint64_t gpa);
/* Host address of [gpa, gpa + length) when one slot holds all of it, else NULL. Caller tells ram_written after writes. */
void *ram_hva(const struct ram *ram, uint64_t gpa, uint64_t length);

/* Copies; may cross slots; -EFAULT when any byte is not RAM (nothing is promised about the rest). Any thread.
 * ram_write also writes read-only slots (it is the VMM that loads ROMs). */
int ram_read(const struct ram *ram, uint64_t gpa, void *to, size_t length);
int ram_write(struct ram *ram, uint64_t gpa, const void *from, size_t length);
int ram_fill(struct ram *ram, uint64_t gpa, uint8_t byte, size_t length);

/* Says that [gpa, +length) was, or is about to be, written: sets all bits, calls the code client for pages whose
 * RAM_CODE bit was clear. Any thread. */
void ram_written(struct ram *ram, uint64_t gpa, uint64_t length);

/* The code client: told, in the writing thread and before the write becomes visible to the next instruction of that
 * thread, that pages [first, last] (guest page numbers) change. One per machine; set by the engine. */
struct ram_code_client {
	void (*written)(void *opaque, uint64_t first_page, uint64_t last_page);
	void *opaque;
};
void ram_set_code_client(struct ram *ram, const struct ram_code_client *client);
/* Told of every ram_written, whatever the flags, in the writing thread. One per machine, set while nothing writes; NULL:
 * nobody. */
void ram_set_observer(struct ram *ram, void (*written)(void *opaque, uint64_t gpa, uint64_t length), void *opaque);
/* Marks a page as holding code; returns false when it is not RAM. */
bool ram_watch_code(struct ram *ram, uint64_t page);

/* Dirty tracking for RAM_MIGRATE and RAM_DISPLAY: start clears the bits (callers flush the engines' TLBs after, with
 * engine dirty_start), harvest copies and clears. bitmap: one bit a page of the slot, LSB first. */
void ram_track(struct ram *ram, enum ram_client client, bool on);
/* Whether a page of the aligned 2 MiB at gpa holds code. */
static inline bool ram_code_near(const struct ram_slot *slot, uint64_t gpa)
{
	return atomic_load_explicit(&slot->code_pages[(gpa >> 21) - (slot->gpa >> 21)], memory_order_acquire);
}
static inline bool ram_tracked(const struct ram_slot *slot)
{
	return atomic_load_explicit(&slot->tracked, memory_order_acquire);
}
void ram_harvest(struct ram *ram, enum ram_client client, const struct ram_slot *slot, uint8_t *bitmap);

/* Gives the pages back to the host (balloon, free-page reporting); they read as zeroes afterwards. */
int ram_discard(struct ram *ram, uint64_t gpa, uint64_t length);

#endif
