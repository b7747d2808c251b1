/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From guest offsets to places in the file: L1 and L2 tables, and what their entries mean (qcow2.txt, "Cluster
 * mapping"). */
#include "backend/block/qcow2_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

int qcow2_set_corrupt(struct qcow2 *q, const char *fmt, ...)
{
	struct log *log = block_log(q->block);
	char text[200];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (!q->corrupt && log)
		log_warn(log, "qcow2: '%s' is corrupt: %s; further writes to it fail", q->block->filename, text);
	q->corrupt = true;
	if (!q->block->read_only && q->header.version >= 3 && !(q->header.incompatible & QCOW2_CORRUPT)) {
		q->header.incompatible |= QCOW2_CORRUPT;
		qcow2_header_write_fields(q);
	}
	return -EIO;
}

struct qcow2_entry qcow2_entry_load(const struct qcow2 *q, const uint8_t *table, uint64_t index)
{
	const uint8_t *at = table + index * q->entry_bytes;

	return (struct qcow2_entry){load_be64(at), qcow2_is_extended(q) ? load_be64(at + 8) : 0};
}

void qcow2_entry_store(const struct qcow2 *q, uint8_t *table, uint64_t index, struct qcow2_entry entry)
{
	uint8_t *at = table + index * q->entry_bytes;

	store_be64(at, entry.word);
	if (qcow2_is_extended(q))
		store_be64(at + 8, entry.bitmap);
}

void qcow2_entries_dirty(struct qcow2 *q, struct qcow2_table *table, uint64_t index, uint64_t count)
{
	qcow2_table_dirty(&q->l2, table, (uint32_t)index * q->entry_bytes, (uint32_t)(index + count) * q->entry_bytes);
}

uint32_t qcow2_subcluster_mask(const struct qcow2 *q, uint64_t from, uint64_t to)
{
	const unsigned first = (unsigned)(from >> q->subcluster_bits), end = (unsigned)(to >> q->subcluster_bits);

	return (uint32_t)((1ull << end) - (1ull << first));
}

bool qcow2_has_place(const struct qcow2 *q, uint64_t word)
{
	/* In an external data file 0 is a place like any other. */
	return !(word & QCOW2_COMPRESSED) && word & (QCOW2_OFFSET_MASK | (qcow2_is_external(q) ? QCOW2_COPIED : 0));
}

enum qcow2_kind qcow2_kind_of(const struct qcow2 *q, struct qcow2_entry entry, unsigned subcluster)
{
	const bool placed = qcow2_has_place(q, entry.word), extended = qcow2_is_extended(q);

	if (entry.word & QCOW2_COMPRESSED)
		return QCOW2_PACKED;
	if (extended ? entry.bitmap >> (32 + subcluster) & 1 : q->header.version >= 3 && entry.word & QCOW2_ZERO)
		return placed ? QCOW2_ZERO_ALLOCATED : QCOW2_ZERO_PLAIN;
	if (extended && !(entry.bitmap >> subcluster & 1))
		return placed ? QCOW2_UNFILLED : QCOW2_UNALLOCATED;
	return placed ? QCOW2_NORMAL : QCOW2_UNALLOCATED;
}

void qcow2_packed_place(const struct qcow2 *q, uint64_t word, uint64_t *offset, uint32_t *bytes)
{
	const unsigned offset_bits = 62 - (q->cluster_bits - 8);

	*offset = word & ((1ull << offset_bits) - 1);
	*bytes = (uint32_t)(((word & (QCOW2_COMPRESSED - 1)) >> offset_bits) + 1) * 512 - (uint32_t)(*offset & 511);
}

/* An L2 entry that no image may have: what is allocated has a place and is not zero at the same time. */
static bool entry_is_bad(const struct qcow2 *q, struct qcow2_entry entry)
{
	const uint32_t allocated = (uint32_t)entry.bitmap, zero = (uint32_t)(entry.bitmap >> 32);

	if (entry.word & QCOW2_COMPRESSED)
		return qcow2_is_external(q);
	if (allocated & zero || (allocated && !qcow2_has_place(q, entry.word)))
		return true;
	return (entry.word & QCOW2_OFFSET_MASK & (q->cluster_bytes - 1)) != 0;
}

static int l2_offset(struct qcow2 *q, uint64_t l1_index, uint64_t *offset)
{
	*offset = l1_index < q->header.l1_size ? q->l1[l1_index] & QCOW2_OFFSET_MASK : 0;
	if (!*offset)
		return 0;
	if (*offset & (q->cluster_bytes - 1) || *offset < q->cluster_bytes ||
	    !range_inside(*offset, q->cluster_bytes, align_up(q->file_end, q->cluster_bytes)))
		return qcow2_set_corrupt(q, "L2 table %llu lies at %#llx, which cannot be",
					 (unsigned long long)l1_index, (unsigned long long)*offset);
	return 0;
}

/* The L2 table for an index; NULL with 0: there is none. */
static int get_l2(struct qcow2 *q, uint64_t l1_index, bool cached_only, struct qcow2_table **table)
{
	uint64_t offset, again;
	int result;

	*table = NULL;
	do {
		result = l2_offset(q, l1_index, &offset);
		if (result || !offset)
			return result;
		if (cached_only) {
			*table = qcow2_cache_find(q, &q->l2, offset);
			return *table ? 0 : -EAGAIN;
		}
		result = qcow2_cache_get(q, &q->l2, offset, true, table);
		if (result)
			return result;
		again = q->l1[l1_index] & QCOW2_OFFSET_MASK;
	} while (again != offset); /* it moved while the lock was not held */
	return 0;
}

/* Whether the next cluster can go on where the mapping ends, `n` clusters from its first. */
static bool continues(const struct qcow2 *q, const struct qcow2_mapping *mapping, struct qcow2_entry next, uint64_t n)
{
	if (entry_is_bad(q, next))
		return false;
	switch (mapping->kind) {
	case QCOW2_UNALLOCATED:
	case QCOW2_ZERO_PLAIN:
		return true;
	case QCOW2_PACKED:
		return false;
	default:
		return (next.word & QCOW2_OFFSET_MASK) ==
			       (mapping->entry.word & QCOW2_OFFSET_MASK) + (n << q->cluster_bits) &&
		       !(next.word & QCOW2_COPIED) == !mapping->copied;
	}
}

/* How many subclusters from the mapping's first are like it, at most `wanted` and within the table. */
static uint64_t count_alike(const struct qcow2 *q, const struct qcow2_mapping *mapping, const uint8_t *table,
			    uint64_t index, unsigned subcluster, uint64_t wanted)
{
	struct qcow2_entry entry = mapping->entry;
	uint64_t n = 1;

	for (; n < wanted; n++) {
		const uint64_t cluster = (subcluster + n) >> (q->cluster_bits - q->subcluster_bits);
		const unsigned within = (unsigned)(subcluster + n) & (q->subclusters - 1);

		if (!within) {
			entry = qcow2_entry_load(q, table, index + cluster);
			if (!continues(q, mapping, entry, cluster))
				break;
		}
		if (qcow2_kind_of(q, entry, within) != mapping->kind)
			break;
	}
	return n;
}

int qcow2_lookup(struct qcow2 *q, uint64_t offset, uint64_t length, bool cached_only, struct qcow2_mapping *mapping)
{
	const uint64_t cluster = offset >> q->cluster_bits, within = offset & (q->cluster_bytes - 1);
	const uint32_t index = (uint32_t)(cluster & (q->l2_entries - 1));
	const uint64_t room = ((q->l2_entries - (uint64_t)index) << q->cluster_bits) - within;
	const uint64_t in_subcluster = offset & (q->subcluster_bytes - 1);
	const unsigned subcluster = (unsigned)(within >> q->subcluster_bits);
	struct qcow2_table *table;
	uint64_t alike;
	int result = get_l2(q, cluster >> q->l2_bits, cached_only, &table);

	if (result)
		return result;
	length = min_u64(length, room);
	*mapping = (struct qcow2_mapping){.kind = QCOW2_UNALLOCATED, .bytes = length};
	if (!table)
		return 0;
	mapping->entry = qcow2_entry_load(q, table->data, index);
	mapping->kind = qcow2_kind_of(q, mapping->entry, subcluster);
	mapping->copied = mapping->entry.word & QCOW2_COPIED && mapping->kind != QCOW2_PACKED;
	if (entry_is_bad(q, mapping->entry))
		return qcow2_set_corrupt(q, "the data of guest offset %#llx lie at %#llx, which cannot be",
					 (unsigned long long)offset,
					 (unsigned long long)(mapping->entry.word & QCOW2_OFFSET_MASK));
	if (qcow2_has_place(q, mapping->entry.word))
		mapping->host = (mapping->entry.word & QCOW2_OFFSET_MASK) + within;
	if (qcow2_is_external(q) && qcow2_has_place(q, mapping->entry.word) && mapping->host != offset)
		return qcow2_set_corrupt(q, "the data of guest offset %#llx lie at %#llx of the external data file",
					 (unsigned long long)offset, (unsigned long long)mapping->host);
	alike = count_alike(q, mapping, table->data, index, subcluster,
			    (in_subcluster + length + q->subcluster_bytes - 1) >> q->subcluster_bits);
	mapping->bytes = min_u64(length, (alike << q->subcluster_bits) - in_subcluster);
	return 0;
}

static void set_l1(struct qcow2 *q, uint64_t l1_index, uint64_t offset)
{
	const uint32_t from = (uint32_t)l1_index;

	q->l1[l1_index] = offset | QCOW2_COPIED;
	if (q->l1_dirty_from >= q->l1_dirty_to) {
		q->l1_dirty_from = from;
		q->l1_dirty_to = from + 1;
		return;
	}
	q->l1_dirty_from = (uint32_t)min_u64(q->l1_dirty_from, from);
	q->l1_dirty_to = (uint32_t)max_u64(q->l1_dirty_to, from + 1);
}

/* A table of its own where there is none or where it is shared with a snapshot. Does not let go of the lock. */
static int make_l2(struct qcow2 *q, uint64_t l1_index, const struct qcow2_table *old, struct qcow2_table **table)
{
	uint64_t offset, count = 1;
	uint8_t *data = calloc(1, q->cluster_bytes);
	int result;

	if (!data)
		return -ENOMEM;
	if (old)
		memcpy(data, old->data, q->cluster_bytes);
	result = qcow2_allocate(q, &count, false, &offset);
	if (result) {
		free(data);
		return result;
	}
	qcow2_take_fresh(q, offset, 1);
	if (old)
		qcow2_free_later(q, q->l1[l1_index] & QCOW2_OFFSET_MASK, q->cluster_bytes, QCOW2_FREED_OTHERWISE);
	qcow2_cache_drop(q, &q->l2, offset); /* what was there in an earlier life */
	*table = qcow2_cache_insert(q, &q->l2, offset, data);
	(*table)->is_new = true;
	qcow2_table_dirty(&q->l2, *table, 0, q->cluster_bytes);
	set_l1(q, l1_index, offset);
	return 0;
}

int qcow2_l2_for_write(struct qcow2 *q, uint64_t offset, struct qcow2_table **table, uint32_t *index)
{
	const uint64_t cluster = offset >> q->cluster_bits, l1_index = cluster >> q->l2_bits;
	struct qcow2_table *old;
	int result = get_l2(q, l1_index, false, &old);

	*index = (uint32_t)(cluster & (q->l2_entries - 1));
	if (result)
		return result;
	if (l1_index >= q->header.l1_size)
		return -EINVAL;
	if (old && q->l1[l1_index] & QCOW2_COPIED) {
		*table = old;
		return 0;
	}
	return make_l2(q, l1_index, old, table);
}

void qcow2_free_entry(struct qcow2 *q, uint64_t word, enum qcow2_freed why)
{
	uint64_t offset;
	uint32_t bytes;

	if (qcow2_is_external(q))
		return; /* nothing counts what lies there */
	if (qcow2_has_place(q, word)) {
		qcow2_free_later(q, word & QCOW2_OFFSET_MASK, q->cluster_bytes, why);
	} else if (word & QCOW2_COMPRESSED) {
		q->compressed_at = 0; /* its cluster may go */
		qcow2_packed_place(q, word, &offset, &bytes);
		bytes = (uint32_t)(align_up(offset + bytes, q->cluster_bytes) - align_down(offset, q->cluster_bytes));
		qcow2_free_later(q, align_down(offset, q->cluster_bytes), bytes, QCOW2_FREED_OTHERWISE);
	}
}
