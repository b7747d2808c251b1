/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What ram.c and ram_window.c share. */
#ifndef XUNI_CORE_RAM_INTERNAL_H
#define XUNI_CORE_RAM_INTERNAL_H

#include "core/ram.h"

#include <pthread.h>

#define RAM_MAX_SLOTS 64
/* Slots that were taken away and cannot be freed before the next reset. */
#define RAM_MAX_GONE 1024

struct ram {
	int fd;
	bool shared; /* as MAP_SHARED */
	uint64_t map_size;
	struct ram_block main; /* the head of all blocks */
	_Atomic(struct ram_slot *) slots[RAM_MAX_SLOTS];
	_Atomic size_t slot_count; /* numbers that were ever used */
	struct ram_code_client code_client;
	_Atomic unsigned telling; /* threads between ending the watch of a page and having told the client */
	void (*observer)(void *opaque, uint64_t gpa, uint64_t length);
	void *observer_opaque;
	pthread_mutex_t layout_lock; /* changes of slots, blocks; what is below; outer to engines' locks */
	struct ram_slot *gone;
	size_t gone_count;
	struct ram_listener *listeners;
	struct ram_window *waiting;
};

/* --- ram_window.c; the layout's lock held, or nobody else about --- */
struct ram_slot *ram_slot_new(struct ram_block *block, uint64_t offset, uint64_t size, uint64_t gpa, bool read_only);
void ram_slot_free(struct ram_slot *slot);
/* Aligned 2 MiB that a slot touches. */
size_t ram_slot_runs(const struct ram_slot *slot);
/* Whether a slot other than number `but` has a part of [gpa, +size). */
bool ram_slot_taken(const struct ram *ram, uint64_t gpa, uint64_t size, size_t but);
/* A free number, or SIZE_MAX. */
size_t ram_slot_number(struct ram *ram);

#endif
