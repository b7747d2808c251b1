/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * L2 tables and refcount blocks in memory: a hash by offset, a clock for eviction. Dirty tables and those that a flush
 * is writing stay; the cache then grows beyond its capacity until qcow2_relieve flushes.
 */
#include "backend/block/qcow2_internal.h"

#include <stdlib.h>

void qcow2_cache_init(struct qcow2_cache *cache, size_t capacity)
{
	*cache = (struct qcow2_cache){.capacity = capacity};
}

static void free_table(struct qcow2_table *table)
{
	free(table->data);
	free(table);
}

void qcow2_cache_clear(struct qcow2_cache *cache)
{
	for (size_t i = 0; i < cache->count; i++)
		free_table(cache->tables[i]);
	cache->count = cache->hand = cache->dirty = 0;
	cache->evictions++;
	if (cache->slots)
		memset(cache->slots, 0, cache->slot_count * sizeof(*cache->slots));
}

void qcow2_cache_free(struct qcow2_cache *cache)
{
	qcow2_cache_clear(cache);
	free(cache->tables);
	free(cache->slots);
	*cache = (struct qcow2_cache){0};
}

static size_t slot_of(const struct qcow2 *q, const struct qcow2_cache *cache, uint64_t offset)
{
	return ((offset >> q->cluster_bits) * 0x9e3779b97f4a7c15ull >> 20) & (cache->slot_count - 1);
}

/* The slot that holds offset, or the empty one where it would go. */
static size_t find_slot(const struct qcow2 *q, const struct qcow2_cache *cache, uint64_t offset)
{
	size_t slot = slot_of(q, cache, offset);

	while (cache->slots[slot] && cache->tables[cache->slots[slot] - 1]->offset != offset)
		slot = (slot + 1) & (cache->slot_count - 1);
	return slot;
}

static void rebuild_slots(const struct qcow2 *q, struct qcow2_cache *cache)
{
	size_t wanted = 64;

	while (wanted < cache->count * 2 + 2)
		wanted *= 2;
	if (wanted > cache->slot_count) {
		free(cache->slots);
		cache->slots = xcalloc(wanted, sizeof(*cache->slots));
		cache->slot_count = wanted;
	} else {
		memset(cache->slots, 0, cache->slot_count * sizeof(*cache->slots));
	}
	for (size_t i = 0; i < cache->count; i++)
		cache->slots[find_slot(q, cache, cache->tables[i]->offset)] = (uint32_t)i + 1;
}

struct qcow2_table *qcow2_cache_find(const struct qcow2 *q, struct qcow2_cache *cache, uint64_t offset)
{
	struct qcow2_table *table;
	size_t slot;

	if (!cache->slot_count)
		return NULL;
	slot = find_slot(q, cache, offset);
	if (!cache->slots[slot])
		return NULL;
	table = cache->tables[cache->slots[slot] - 1];
	table->used = true;
	return table;
}

/* Takes the table's entry out of the hash; the ones behind it move up so that searches still find them. */
static void unhash(const struct qcow2 *q, struct qcow2_cache *cache, uint64_t offset)
{
	size_t hole = find_slot(q, cache, offset), at = hole;

	for (;;) {
		size_t home;

		cache->slots[hole] = 0;
		do {
			at = (at + 1) & (cache->slot_count - 1);
			if (!cache->slots[at])
				return;
			home = slot_of(q, cache, cache->tables[cache->slots[at] - 1]->offset);
		} while (hole <= at ? hole < home && home <= at : hole < home || home <= at);
		cache->slots[hole] = cache->slots[at];
		hole = at;
	}
}

static void remove_at(struct qcow2 *q, struct qcow2_cache *cache, size_t index)
{
	struct qcow2_table *table = cache->tables[index], *last = cache->tables[cache->count - 1];

	unhash(q, cache, table->offset);
	if (last != table) {
		size_t slot = find_slot(q, cache, last->offset);

		cache->tables[index] = last;
		cache->slots[slot] = (uint32_t)index + 1;
	}
	cache->count--;
	cache->evictions++;
	free_table(table);
}

static void make_room(struct qcow2 *q, struct qcow2_cache *cache)
{
	for (size_t tries = 0; cache->count >= cache->capacity && tries < 2 * cache->count; tries++) {
		struct qcow2_table *table;

		if (cache->hand >= cache->count)
			cache->hand = 0;
		table = cache->tables[cache->hand];
		if (!table->used && !table->writing && table->dirty_from >= table->dirty_to) {
			remove_at(q, cache, cache->hand);
			return;
		}
		table->used = false;
		cache->hand++;
	}
}

struct qcow2_table *qcow2_cache_insert(struct qcow2 *q, struct qcow2_cache *cache, uint64_t offset, uint8_t *data)
{
	struct qcow2_table *table = xcalloc(1, sizeof(*table));

	make_room(q, cache);
	*table = (struct qcow2_table){.offset = offset, .data = data, .used = true};
	cache->tables = xrealloc(cache->tables, (cache->count + 1) * sizeof(*cache->tables));
	cache->tables[cache->count++] = table;
	if (cache->count * 2 + 2 > cache->slot_count)
		rebuild_slots(q, cache);
	else
		cache->slots[find_slot(q, cache, offset)] = (uint32_t)cache->count;
	return table;
}

int qcow2_cache_get(struct qcow2 *q, struct qcow2_cache *cache, uint64_t offset, bool drop_lock,
		    struct qcow2_table **table)
{
	uint8_t *data = NULL;
	uint64_t evictions;
	int result;

	*table = qcow2_cache_find(q, cache, offset);
	if (*table)
		return 0;
	data = malloc(q->cluster_bytes);
	if (!data)
		return -ENOMEM;
	do {
		evictions = cache->evictions;
		if (drop_lock)
			pthread_mutex_unlock(&q->lock);
		result = qcow2_file_read(q, offset, data, q->cluster_bytes);
		if (drop_lock)
			pthread_mutex_lock(&q->lock);
		*table = qcow2_cache_find(q, cache, offset);
		/* With an eviction meanwhile it may have been loaded, changed, written and forgotten: read again. */
	} while (!result && !*table && evictions != cache->evictions);
	if (result || *table) {
		free(data);
		return *table ? 0 : result;
	}
	*table = qcow2_cache_insert(q, cache, offset, data);
	return 0;
}

void qcow2_table_clean(struct qcow2_cache *cache, struct qcow2_table *table)
{
	if (table->dirty_from < table->dirty_to)
		cache->dirty--;
	table->dirty_from = table->dirty_to = 0;
}

void qcow2_table_dirty(struct qcow2_cache *cache, struct qcow2_table *table, uint32_t from, uint32_t to)
{
	if (table->dirty_from >= table->dirty_to) {
		cache->dirty++;
		table->dirty_from = from;
		table->dirty_to = to;
		return;
	}
	table->dirty_from = (uint32_t)min_u64(table->dirty_from, from);
	table->dirty_to = (uint32_t)max_u64(table->dirty_to, to);
}

void qcow2_cache_drop(struct qcow2 *q, struct qcow2_cache *cache, uint64_t offset)
{
	struct qcow2_table *table = qcow2_cache_find(q, cache, offset);

	if (!table)
		return;
	qcow2_table_clean(cache, table);
	if (table->writing) {
		table->used = false; /* the flush still holds it; clean, it goes with time */
		return;
	}
	for (size_t i = 0; i < cache->count; i++) {
		if (cache->tables[i] == table) {
			remove_at(q, cache, i);
			return;
		}
	}
}
