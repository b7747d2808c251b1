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

enum qcow2_kind qcow2_kind_of(const struct qcow2 *q, uint64_t entry)
{
	if (entry & QCOW2_COMPRESSED)
		return QCOW2_PACKED;
	if (q->header.version >= 3 && entry & QCOW2_ZERO)
		return entry & QCOW2_OFFSET_MASK ? QCOW2_ZERO_ALLOCATED : QCOW2_ZERO_PLAIN;
	return entry & QCOW2_OFFSET_MASK ? QCOW2_NORMAL : QCOW2_UNALLOCATED;
}

void qcow2_packed_place(const struct qcow2 *q, uint64_t entry, uint64_t *offset, uint32_t *bytes)
{
	const unsigned offset_bits = 62 - (q->cluster_bits - 8);

	*offset = entry & ((1ull << offset_bits) - 1);
	*bytes = (uint32_t)(((entry & (QCOW2_COMPRESSED - 1)) >> offset_bits) + 1) * 512 - (uint32_t)(*offset & 511);
}

/* An L2 entry that no image may have. */
static bool entry_is_bad(const struct qcow2 *q, uint64_t entry)
{
	if (entry & QCOW2_COMPRESSED)
		return false;
	return (entry & QCOW2_OFFSET_MASK & (q->cluster_bytes - 1)) != 0;
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

/* Whether `entry` goes on where the mapping ends, `n` clusters from its first. */
static bool continues(const struct qcow2 *q, const struct qcow2_mapping *mapping, uint64_t entry, uint64_t n)
{
	if (qcow2_kind_of(q, entry) != mapping->kind || entry_is_bad(q, entry))
		return false;
	switch (mapping->kind) {
	case QCOW2_UNALLOCATED:
	case QCOW2_ZERO_PLAIN:
		return true;
	case QCOW2_PACKED:
		return false;
	default:
		return (entry & QCOW2_OFFSET_MASK) == (mapping->entry & QCOW2_OFFSET_MASK) + (n << q->cluster_bits) &&
		       !(entry & QCOW2_COPIED) == !mapping->copied;
	}
}

int qcow2_lookup(struct qcow2 *q, uint64_t offset, uint64_t length, bool cached_only, struct qcow2_mapping *mapping)
{
	const uint64_t cluster = offset >> q->cluster_bits, within = offset & (q->cluster_bytes - 1);
	const uint32_t index = (uint32_t)(cluster & (q->l2_entries - 1));
	const uint64_t wanted = min_u64(qcow2_clusters(q, within + length), q->l2_entries - index);
	struct qcow2_table *table;
	uint64_t n = 1;
	int result = get_l2(q, cluster >> q->l2_bits, cached_only, &table);

	if (result)
		return result;
	*mapping = (struct qcow2_mapping){.kind = QCOW2_UNALLOCATED};
	if (!table) {
		mapping->bytes = min_u64(length, ((q->l2_entries - (uint64_t)index) << q->cluster_bits) - within);
		return 0;
	}
	mapping->entry = load_be64(table->data + index * 8ull);
	mapping->kind = qcow2_kind_of(q, mapping->entry);
	mapping->copied = mapping->entry & QCOW2_COPIED && mapping->kind != QCOW2_PACKED;
	if (entry_is_bad(q, mapping->entry))
		return qcow2_set_corrupt(q, "the data of guest offset %#llx lie at %#llx, which cannot be",
					 (unsigned long long)offset,
					 (unsigned long long)(mapping->entry & QCOW2_OFFSET_MASK));
	if (mapping->kind == QCOW2_NORMAL || mapping->kind == QCOW2_ZERO_ALLOCATED)
		mapping->host = (mapping->entry & QCOW2_OFFSET_MASK) + within;
	while (n < wanted && continues(q, mapping, load_be64(table->data + (index + n) * 8), n))
		n++;
	mapping->bytes = min_u64(length, (n << q->cluster_bits) - within);
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
		qcow2_free_later(q, q->l1[l1_index] & QCOW2_OFFSET_MASK, q->cluster_bytes, false);
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

void qcow2_free_entry(struct qcow2 *q, uint64_t entry, bool discard)
{
	uint64_t offset;
	uint32_t bytes;

	switch (qcow2_kind_of(q, entry)) {
	case QCOW2_NORMAL:
	case QCOW2_ZERO_ALLOCATED:
		qcow2_free_later(q, entry & QCOW2_OFFSET_MASK, q->cluster_bytes, discard);
		break;
	case QCOW2_PACKED:
		q->compressed_at = 0; /* its cluster may go */
		qcow2_packed_place(q, entry, &offset, &bytes);
		bytes = (uint32_t)(align_up(offset + bytes, q->cluster_bytes) - align_down(offset, q->cluster_bytes));
		qcow2_free_later(q, align_down(offset, q->cluster_bytes), bytes, false);
		break;
	default:
		break;
	}
}
