/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The tables of a sparse disk in memory: a hash by offset, a clock for eviction, and the flush. Dirty tables and those
 * that a flush is writing stay; a write that finds too many flushes first.
 */
#include "backend/block/sparse.h"

#include <stdlib.h>

enum { CACHE_BYTES = 8 << 20 };

void sparse_init(struct sparse *s)
{
	pthread_mutex_init(&s->lock, NULL);
	pthread_mutex_init(&s->flush_lock, NULL);
	pthread_cond_init(&s->landed, NULL);
}

void sparse_free(struct sparse *s)
{
	for (size_t i = 0; i < ARRAY_SIZE(s->buckets); i++) {
		for (struct sparse_table *table = s->buckets[i], *next; table; table = next) {
			next = table->next;
			free(table->data);
			free(table);
		}
	}
	pthread_mutex_destroy(&s->lock);
	pthread_mutex_destroy(&s->flush_lock);
	pthread_cond_destroy(&s->landed);
}

static struct sparse_table **bucket_of(struct sparse *s, uint64_t offset)
{
	return &s->buckets[(offset >> 9) * 0x9e3779b97f4a7c15ull >> 55];
}

static struct sparse_table *find(struct sparse *s, uint64_t offset)
{
	for (struct sparse_table *table = *bucket_of(s, offset); table; table = table->next) {
		if (table->offset == offset) {
			table->used = true;
			return table;
		}
	}
	return NULL;
}

static bool is_table_dirty(const struct sparse_table *table)
{
	return table->dirty_from < table->dirty_to;
}

/* Goes through one bucket and takes out what was not used since the last time. */
static void sweep(struct sparse *s, struct sparse_table **link)
{
	while (*link) {
		struct sparse_table *table = *link;

		if (table->used || table->writing || is_table_dirty(table)) {
			table->used = false;
			link = &table->next;
			continue;
		}
		*link = table->next;
		s->tables--;
		s->evictions++;
		free(table->data);
		free(table);
	}
}

static void make_room(struct sparse *s)
{
	for (size_t tries = 0; s->tables * s->table_bytes >= CACHE_BYTES && tries < 2 * ARRAY_SIZE(s->buckets);
	     tries++) {
		sweep(s, &s->buckets[s->hand]);
		s->hand = (s->hand + 1) % ARRAY_SIZE(s->buckets);
	}
}

static struct sparse_table *insert(struct sparse *s, uint64_t offset, uint8_t *data)
{
	struct sparse_table *table = xcalloc(1, sizeof(*table)), **bucket;

	make_room(s);
	bucket = bucket_of(s, offset);
	*table = (struct sparse_table){.next = *bucket, .offset = offset, .data = data, .used = true};
	*bucket = table;
	s->tables++;
	return table;
}

int sparse_table_get(struct sparse *s, uint64_t offset, bool cached_only, struct sparse_table **table)
{
	uint8_t *data;
	uint64_t evictions;
	int result;

	*table = find(s, offset);
	if (*table)
		return 0;
	if (cached_only)
		return -EAGAIN;
	data = malloc(s->table_bytes);
	if (!data)
		return -ENOMEM;
	do {
		evictions = s->evictions;
		pthread_mutex_unlock(&s->lock);
		result = image_file_read(s->file, offset, data, s->table_bytes);
		pthread_mutex_lock(&s->lock);
		*table = find(s, offset);
		/* With an eviction meanwhile it may have been loaded, changed, written and forgotten: read again. */
	} while (!result && !*table && evictions != s->evictions);
	if (result || *table) {
		free(data);
		return *table ? 0 : result;
	}
	*table = insert(s, offset, data);
	return 0;
}

static void mark(struct sparse *s, struct sparse_table *table, uint32_t from, uint32_t to)
{
	if (!is_table_dirty(table)) {
		s->dirty++;
		table->dirty_from = from;
		table->dirty_to = to;
		return;
	}
	table->dirty_from = (uint32_t)min_u64(table->dirty_from, from);
	table->dirty_to = (uint32_t)max_u64(table->dirty_to, to);
}

void sparse_table_dirty(struct sparse *s, struct sparse_table *table, uint32_t slot)
{
	mark(s, table, slot * s->entry_bytes, (slot + 1) * s->entry_bytes);
}

/* --- flush --- */

/* Whole units, so that nothing has to be read before it is written. */
static void take_piece(struct sparse *s, struct sparse_table *table, struct sparse_piece *piece)
{
	const uint32_t from = (uint32_t)align_down(table->dirty_from, s->write_unit);
	const uint32_t to = (uint32_t)min_u64(align_up(table->dirty_to, s->write_unit), s->table_bytes);

	*piece = (struct sparse_piece){.table = table, .offset = table->offset + from, .length = to - from};
	piece->data = xcalloc(1, piece->length);
	memcpy(piece->data, table->data + from, piece->length);
	table->dirty_from = table->dirty_to = 0;
	table->writing = true;
	s->dirty--;
}

static struct sparse_piece *collect(struct sparse *s, size_t *count)
{
	struct sparse_piece *pieces = s->dirty ? xcalloc(s->dirty, sizeof(*pieces)) : NULL;

	*count = 0;
	for (size_t i = 0; i < ARRAY_SIZE(s->buckets) && s->dirty; i++)
		for (struct sparse_table *table = s->buckets[i]; table; table = table->next)
			if (is_table_dirty(table))
				take_piece(s, table, &pieces[(*count)++]);
	return pieces;
}

static int by_offset(const void *a, const void *b)
{
	const struct sparse_piece *x = a, *y = b;

	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* After a failure everything is dirty again, as if the flush had not begun. */
static void release(struct sparse *s, struct sparse_piece *pieces, size_t count, bool failed)
{
	for (size_t i = 0; i < count; i++) {
		struct sparse_table *table = pieces[i].table;
		const uint32_t from = (uint32_t)(pieces[i].offset - table->offset);

		table->writing = false;
		if (failed)
			mark(s, table, from, from + pieces[i].length);
		free(pieces[i].data);
	}
	free(pieces);
}

int sparse_flush(struct sparse *s)
{
	struct sparse_piece *pieces;
	size_t count;
	int result;

	pthread_mutex_lock(&s->flush_lock);
	pthread_mutex_lock(&s->lock);
	pieces = collect(s, &count);
	s->flushing = true;
	s->flush_end = s->file->length;
	pthread_mutex_unlock(&s->lock);
	result = block_flush(s->file);
	if (!result && count) {
		qsort(pieces, count, sizeof(*pieces), by_offset);
		result = s->ops->write_tables(s, pieces, count);
	}
	pthread_mutex_lock(&s->lock);
	release(s, pieces, count, result != 0);
	s->flushing = false;
	pthread_mutex_unlock(&s->lock);
	pthread_mutex_unlock(&s->flush_lock);
	return result;
}

bool sparse_is_dirty(struct sparse *s)
{
	bool dirty;

	pthread_mutex_lock(&s->lock);
	dirty = s->dirty != 0;
	pthread_mutex_unlock(&s->lock);
	return dirty;
}
