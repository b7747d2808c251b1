/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Check: what refers to which cluster of the file, counted over all tables. Texts follow qemu's. */
#include "backend/block/qcow2_bitmap.h"
#include "backend/block/qcow2_check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void qcow2_check_say(struct qcow2_counting *c, const char *fmt, ...)
{
	char line[256];
	va_list args;

	if (!c->check->report)
		return;
	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	c->check->report(c->check->opaque, line);
}

static void count_range(struct qcow2_counting *c, uint64_t offset, uint64_t bytes)
{
	const uint64_t first = offset >> c->q->cluster_bits;
	uint64_t last;

	if (!bytes)
		return;
	if (!range_inside(offset, bytes, c->clusters << c->q->cluster_bits)) {
		qcow2_check_say(c,
				"ERROR: counting reference for region exceeding the end of the file by one cluster or "
				"more: offset "
				"0x%llx size 0x%llx",
				(unsigned long long)offset, (unsigned long long)bytes);
		c->check->corruptions++;
		return;
	}
	last = (offset + bytes - 1) >> c->q->cluster_bits;
	for (uint64_t i = first; i <= last; i++)
		if (c->references[i] < UINT32_MAX)
			c->references[i]++;
}

static void bad_entry(struct qcow2_counting *c, const char *fmt, uint64_t word) __attribute__((format(printf, 2, 0)));

static void bad_entry(struct qcow2_counting *c, const char *fmt, uint64_t word)
{
	qcow2_check_say(c, fmt, (unsigned long long)word);
	c->check->corruptions++;
}

static void count_packed(struct qcow2_counting *c, struct qcow2_entry entry, bool active)
{
	struct qcow2 *q = c->q;
	uint64_t offset;
	uint32_t bytes;

	if (entry.word & QCOW2_COPIED)
		bad_entry(c, "ERROR: coffset=0x%llx: copied flag must never be set for compressed clusters",
			  entry.word & (QCOW2_COMPRESSED - 1));
	if (entry.bitmap)
		bad_entry(c,
			  "ERROR compressed cluster with non-zero subcluster allocation bitmap, entry=0x%llx; L2 entry "
			  "corrupted.",
			  entry.word);
	qcow2_packed_place(q, entry.word, &offset, &bytes);
	/* The last sector is counted whole, the file may end inside of it. */
	count_range(c, offset, offset + bytes > q->file_end && offset < q->file_end ? q->file_end - offset : bytes);
	if (!active)
		return;
	c->check->compressed_clusters++;
	c->check->allocated_clusters++;
	c->check->fragmented_clusters++;
}

static void count_entry(struct qcow2_counting *c, struct qcow2_entry entry, bool active)
{
	struct qcow2 *q = c->q;
	const uint64_t offset = entry.word & QCOW2_OFFSET_MASK;
	const uint32_t allocated = (uint32_t)entry.bitmap;

	if (entry.word & QCOW2_COMPRESSED) {
		count_packed(c, entry, active);
		return;
	}
	if (entry.word & QCOW2_L2_RESERVED)
		bad_entry(c, "ERROR found l2 entry with reserved bits set: %llx", entry.word);
	if (allocated & entry.bitmap >> 32 || (allocated && !qcow2_has_place(q, entry.word)))
		bad_entry(c, "ERROR l2_entry=0x%llx: invalid subcluster allocation bitmap; L2 entry corrupted.",
			  entry.word);
	if (!qcow2_has_place(q, entry.word))
		return;
	/* What a wrong place touches counts as used: a repair must not give away what could still be saved by hand. */
	if (!qcow2_is_external(q) && offset & (q->cluster_bytes - 1))
		bad_entry(c, "ERROR offset=%llx: Data cluster is not properly aligned; L2 entry corrupted.", offset);
	if (!qcow2_is_external(q)) /* else nothing counts what lies there */
		count_range(c, offset, q->cluster_bytes);
	if (!active)
		return;
	c->check->allocated_clusters++;
	if (c->next && c->next != offset)
		c->check->fragmented_clusters++;
	c->next = offset + q->cluster_bytes;
}

static int count_l2(struct qcow2_counting *c, uint64_t offset, uint8_t *table, bool active)
{
	struct qcow2 *q = c->q;
	int result = qcow2_file_read(q, offset, table, q->cluster_bytes);

	if (result) {
		qcow2_check_say(c, "ERROR: I/O error in check_refcounts_l2");
		c->check->check_errors++;
		return 0;
	}
	for (uint32_t i = 0; i < q->l2_entries; i++)
		count_entry(c, qcow2_entry_load(q, table, i), active);
	return 0;
}

static int count_l1(struct qcow2_counting *c, uint64_t offset, const uint64_t *l1, uint32_t entries, bool active)
{
	struct qcow2 *q = c->q;
	uint8_t *table = malloc(q->cluster_bytes);

	if (!table)
		return error_set(c->err, ENOMEM, "no memory for a table");
	count_range(c, offset, entries * 8ull);
	for (uint32_t i = 0; i < entries; i++) {
		const uint64_t l2 = l1[i] & QCOW2_OFFSET_MASK;

		if (l1[i] & QCOW2_L1_RESERVED)
			bad_entry(c, "ERROR found L1 entry with reserved bits set: %llx", l1[i]);
		if (!l2)
			continue;
		if (l2 & (q->cluster_bytes - 1)) {
			qcow2_check_say(c, "ERROR l2_offset=%llx: Table is not cluster aligned; L1 entry corrupted",
					(unsigned long long)l2);
			c->check->corruptions++;
			count_range(c, l2, q->cluster_bytes);
			continue;
		}
		count_range(c, l2, q->cluster_bytes);
		/* The second L1 entry for one table cannot be right, and following it could take for ever. */
		if (active && l2 >> q->cluster_bits < c->clusters && c->references[l2 >> q->cluster_bits] > 1) {
			qcow2_check_say(c, "ERROR l2_offset=%llx: several references to one L2 table",
					(unsigned long long)l2);
			c->check->corruptions++;
			continue;
		}
		count_l2(c, l2, table, active);
	}
	free(table);
	return 0;
}

static int count_snapshots(struct qcow2_counting *c)
{
	struct qcow2 *q = c->q;
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < q->header.snapshot_count; i++) {
		const struct qcow2_snapshot *s = &q->snapshots[i];
		uint64_t *l1;
		int result;

		bytes = align_up(bytes, 8) + 40 + s->extra_size + strlen(s->id) + strlen(s->name);
		if (s->l1_offset & (q->cluster_bytes - 1) || s->l1_size > QCOW2_MAX_L1_BYTES / 8 ||
		    !range_inside(s->l1_offset, s->l1_size * 8ull, q->file_end)) {
			qcow2_check_say(
				c,
				"ERROR snapshot %s (%s) l1_offset=%#llx: L1 table is not cluster aligned or too large; "
				"snapshot "
				"table entry corrupted",
				s->id, s->name, (unsigned long long)s->l1_offset);
			c->check->corruptions++;
			continue;
		}
		l1 = malloc(max_u64(8, s->l1_size * 8ull));
		if (!l1)
			return error_set(c->err, ENOMEM, "no memory for an L1 table");
		result = qcow2_file_read(q, s->l1_offset, l1, s->l1_size * 8ull);
		for (uint32_t k = 0; k < s->l1_size; k++)
			l1[k] = load_be64(&l1[k]);
		if (result)
			c->check->check_errors++;
		else
			result = count_l1(c, s->l1_offset, l1, s->l1_size, false);
		free(l1);
		if (result)
			return result;
	}
	count_range(c, q->header.snapshots_offset, bytes);
	return 0;
}

/* The directory of bitmaps, their tables, and what these refer to. */
static void count_bitmaps(struct qcow2_counting *c)
{
	struct qcow2 *q = c->q;

	count_range(c, q->bitmap_directory, q->bitmap_directory_bytes);
	for (uint32_t i = 0; i < q->bitmap_count; i++) {
		const struct qcow2_bitmap *bitmap = &q->bitmaps[i];

		count_range(c, bitmap->table_offset, bitmap->table_entries * 8ull);
		for (uint64_t k = 0; k < bitmap->table_entries; k++) {
			uint8_t entry[8];

			if (!range_inside(bitmap->table_offset, bitmap->table_entries * 8ull, q->file_end) ||
			    qcow2_file_read(q, bitmap->table_offset + k * 8, entry, 8))
				break;
			if (load_be64(entry) & QCOW2_OFFSET_MASK)
				count_range(c, load_be64(entry) & QCOW2_OFFSET_MASK, q->cluster_bytes);
		}
	}
}

static void count_refcount_structures(struct qcow2_counting *c)
{
	struct qcow2 *q = c->q;

	count_range(c, q->header.reftable_offset, (uint64_t)q->header.reftable_clusters << q->cluster_bits);
	for (uint32_t i = 0; i < q->reftable_entries; i++) {
		const uint64_t offset = q->reftable[i], cluster = offset >> q->cluster_bits;

		if (!offset)
			continue;
		if (offset & (q->cluster_bytes - 1)) {
			qcow2_check_say(
				c, "ERROR refcount block %u is not cluster aligned; refcount table entry corrupted", i);
		} else if (cluster >= c->clusters) {
			qcow2_check_say(c, "ERROR refcount block %u is outside image", i);
		} else {
			if (c->references[cluster]++ == 0)
				continue;
			qcow2_check_say(c, "ERROR refcount block %u refcount=%u", i, c->references[cluster]);
		}
		c->check->corruptions++;
		c->broken_table = true;
	}
}

int qcow2_count_all(struct qcow2_counting *c, bool structures)
{
	struct qcow2 *q = c->q;
	int result;

	memset(c->references, 0, c->clusters * sizeof(*c->references));
	count_range(c, 0, q->cluster_bytes);
	result = count_l1(c, q->header.l1_offset, q->l1, q->header.l1_size, structures);
	if (!result)
		result = count_snapshots(c);
	if (result)
		return result;
	count_bitmaps(c);
	count_range(c, q->crypto_offset, q->crypto_bytes);
	if (structures)
		count_refcount_structures(c);
	return 0;
}
