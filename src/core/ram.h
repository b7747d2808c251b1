/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest memory: blocks of host memory (main RAM in a memfd; ROMs, video memory and flash in blocks of their own), and the
 * slots at which the guest sees parts of them. A slot is fixed (main RAM) or what a window shows now; windows open, close
 * and move while vCPUs run. Per-page flags of a block say who wants to know of writes.
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

struct ram;

struct ram_block {
	char *name; /* as in `info mtree` */
	struct ram *ram;
	uint8_t *hva;
	uint64_t size;               /* bytes, whole pages */
	_Atomic uint8_t *page_flags; /* one byte a page, bits of enum ram_client */
	_Atomic uint8_t tracked;     /* clients that track all writes to it now */
	struct ram_block *next;
};

/* Does not change after it is published: who still holds one that was taken away reads and writes the same memory. */
struct ram_slot {
	uint64_t gpa;
	uint64_t size; /* bytes, whole pages */
	uint8_t *hva;
	struct ram_block *block;
	uint64_t offset; /* in the block; of main RAM also in the memfd */
	bool read_only;  /* guest writes go to the bus (flash), where nobody may hear them (ROM) */
	_Atomic uint8_t *page_flags; /* of the first page */
	_Atomic uint16_t *code_pages; /* for each aligned 2 MiB of gpa: pages whose RAM_CODE is clear (never fewer) */
	bool fixed;
	struct ram_window *window; /* under the layout's lock: the one that shows it */
	struct ram_slot *next; /* of those taken away */
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

/* Reserves the backing; no slot yet. The size is checked against what the host has: the message names both. */
struct ram *ram_new(const struct ram_config *config, struct error *err);
void ram_free(struct ram *ram);

/* A fixed slot: [offset, +size) of main RAM at gpa; slots do not overlap. Before vCPUs run. */
int ram_map(struct ram *ram, uint64_t gpa, uint64_t size, uint64_t offset, bool read_only, struct error *err);
/* Slots by number: from 0 to below the count; NULL where there is none now. A number is one slot's as long as it is there. */
size_t ram_slot_count(const struct ram *ram);
const struct ram_slot *ram_slot_at(const struct ram *ram, size_t number);
int ram_fd(const struct ram *ram);
/* Main RAM may be mapped once more from the descriptor. */
bool ram_is_shared(const struct ram *ram);
uint64_t ram_size(const struct ram *ram);

/* Memory beside main RAM, zeroed. Freed with the ram, or by ram_block_free (its windows are hidden by then; the vCPUs
 * stand still). Any thread. */
struct ram_block *ram_block_new(struct ram *ram, const char *name, uint64_t bytes, struct error *err);
void ram_block_free(struct ram_block *block);
/* Main RAM. */
struct ram_block *ram_main(struct ram *ram);
/* All blocks, one behind the other: the one after block, NULL for the first one, which is main RAM. Main loop thread. */
const struct ram_block *ram_block_next(const struct ram *ram, const struct ram_block *block);
/* As ram_written, for who knows a block and not where the guest sees it. */
void ram_block_written(struct ram_block *block, uint64_t offset, uint64_t length);

/*
 * A window onto [offset, +size) of a block. show opens it at gpa or moves it there, hide closes it; idempotent, any
 * thread, also a vCPU's in a region callback: that vCPU sees the change at once, the others soon. show returns false, and
 * the window is closed, when gpa is taken (it opens when the place is left) or too many places were shown since the last
 * ram_forget_slots: then the guest has to reach the memory through a region of the bus, as it does for writes where
 * read_only is set. A window that yields leaves its place to one that does not, and comes back when that is gone.
 */
struct ram_window {
	struct ram_block *block;
	uint64_t offset, size; /* whole pages */
	bool yields;
	const struct ram_slot *shown; /* NULL: closed */
	size_t number;
	/* Waits for its place. */
	bool waits, wanted_read_only;
	uint64_t wanted_gpa;
	struct ram_window *next;
};
bool ram_window_show(struct ram_window *window, uint64_t gpa, bool read_only);
void ram_window_hide(struct ram_window *window);
/* Part of a machine's reset: the vCPUs stand still, devices are at rest. */
void ram_forget_slots(struct ram *ram);

/* Who has to know of the layout and of who tracks writes: engines. Called in the thread that changes it, which holds the
 * layout's lock; after the change. */
struct ram_listener {
	/* A slot was replaced; NULL: there was, or is, none of that number. */
	void (*changed)(void *opaque, size_t number, const struct ram_slot *before, const struct ram_slot *now);
	/* block->tracked changed: later writes must be told. */
	void (*tracked)(void *opaque, struct ram_block *block);
	/* Writes known to the engine alone are to be told by ram_written now. */
	void (*sync)(void *opaque, struct ram_block *block);
	void *opaque;
	struct ram_listener *next;
};
void ram_listen(struct ram *ram, struct ram_listener *listener);
void ram_unlisten(struct ram *ram, struct ram_listener *listener);

/* The slot that holds gpa, or NULL. */
const struct ram_slot *ram_find(const struct ram *ram, uint64_t gpa);
/* Host address of [gpa, gpa + length) when one slot holds all of it, else NULL. Caller tells ram_written after writes. */
void *ram_hva(const struct ram *ram, uint64_t gpa, uint64_t length);

/* Copies; may cross slots; -EFAULT when any byte is not RAM (nothing is promised about the rest). Any thread.
 * What is written to read-only slots is dropped: devices cannot change a ROM either. */
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
/* Whether the client knows of every page whose RAM_CODE was set before this call: until then a page that looks unwatched may
 * hold code that its user still trusts. ram_written returns only then. */
bool ram_code_told(const struct ram *ram);
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
	return atomic_load_explicit(&slot->block->tracked, memory_order_acquire);
}
void ram_harvest(struct ram *ram, enum ram_client client, const struct ram_slot *slot, uint8_t *bitmap);
/* The same for one block (video memory), engines included: track makes them tell of later writes, harvest asks them for
 * what they know. bitmap: one bit a page of the block. Any thread. */
void ram_block_track(struct ram_block *block, enum ram_client client, bool on);
void ram_block_harvest(struct ram_block *block, enum ram_client client, uint8_t *bitmap);

/* Gives the pages back to the host (balloon, free-page reporting); they read as zeroes afterwards. */
int ram_discard(struct ram *ram, uint64_t gpa, uint64_t length);

#endif
