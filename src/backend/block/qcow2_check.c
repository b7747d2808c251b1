/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Check and repair: every reference to every cluster of the file is counted and compared with the reference counts that
 * the image holds. Repairs counts and COPIED bits; where the refcount table itself is broken, a new one is written
 * behind the end. Texts follow qemu's. Contents of guest data and tables with impossible places are left alone.
 */
#include "backend/block/qcow2_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_CLUSTERS (1ull << 30)

struct counting {
	struct qcow2 *q;
	struct block_check *check;
	uint32_t *references;
	uint64_t clusters;   /* of the file */
	uint64_t next;       /* where the next cluster would lie without fragmentation */
	bool broken_table;   /* refcount structures are not what they should be */
	bool fix, fix_leaks; /* fix: corruptions */
	struct error *err;
};

static void say(struct counting *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void say(struct counting *c, const char *fmt, ...)
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

/* --- counting --- */

static void count_range(struct counting *c, uint64_t offset, uint64_t bytes)
{
	const uint64_t first = offset >> c->q->cluster_bits;
	uint64_t last;

	if (!bytes)
		return;
	if (!range_inside(offset, bytes, c->clusters << c->q->cluster_bits)) {
		say(c,
		    "ERROR: counting reference for region exceeding the end of the file by one cluster or more: offset "
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

static void count_entry(struct counting *c, uint64_t entry, bool active)
{
	struct qcow2 *q = c->q;
	uint64_t offset = entry & QCOW2_OFFSET_MASK;
	uint32_t bytes = q->cluster_bytes;

	switch (qcow2_kind_of(q, entry)) {
	case QCOW2_PACKED:
		if (entry & QCOW2_COPIED) {
			say(c, "ERROR: coffset=0x%llx: copied flag must never be set for compressed clusters",
			    (unsigned long long)(entry & (QCOW2_COMPRESSED - 1)));
			c->check->corruptions++;
		}
		qcow2_packed_place(q, entry, &offset, &bytes);
		/* The last sector is counted whole, the file may end inside of it. */
		count_range(c, offset,
			    offset + bytes > q->file_end && offset < q->file_end ? q->file_end - offset : bytes);
		if (active) {
			c->check->compressed_clusters++;
			c->check->allocated_clusters++;
			c->check->fragmented_clusters++;
		}
		break;
	case QCOW2_NORMAL:
	case QCOW2_ZERO_ALLOCATED:
		if (offset & (q->cluster_bytes - 1)) {
			say(c, "ERROR offset=%llx: Cluster is not properly aligned; L2 entry corrupted.",
			    (unsigned long long)offset);
			c->check->corruptions++;
			break;
		}
		count_range(c, offset, q->cluster_bytes);
		if (active) {
			c->check->allocated_clusters++;
			if (c->next && c->next != offset)
				c->check->fragmented_clusters++;
			c->next = offset + q->cluster_bytes;
		}
		break;
	default:
		break;
	}
}

static int count_l2(struct counting *c, uint64_t offset, uint8_t *table, bool active)
{
	struct qcow2 *q = c->q;
	int result = qcow2_file_read(q, offset, table, q->cluster_bytes);

	if (result) {
		say(c, "ERROR: I/O error in check_refcounts_l2");
		c->check->check_errors++;
		return 0;
	}
	for (uint32_t i = 0; i < q->l2_entries; i++)
		count_entry(c, load_be64(table + i * 8ull), active);
	return 0;
}

static int count_l1(struct counting *c, uint64_t offset, const uint64_t *l1, uint32_t entries, bool active)
{
	struct qcow2 *q = c->q;
	uint8_t *table = malloc(q->cluster_bytes);

	if (!table)
		return error_set(c->err, ENOMEM, "no memory for a table");
	count_range(c, offset, entries * 8ull);
	for (uint32_t i = 0; i < entries; i++) {
		const uint64_t l2 = l1[i] & QCOW2_OFFSET_MASK;

		if (!l2)
			continue;
		if (l2 & (q->cluster_bytes - 1)) {
			say(c, "ERROR l2_offset=%llx: Table is not cluster aligned; L1 entry corrupted",
			    (unsigned long long)l2);
			c->check->corruptions++;
			continue;
		}
		count_range(c, l2, q->cluster_bytes);
		/* The second L1 entry for one table cannot be right, and following it could take for ever. */
		if (active && l2 >> q->cluster_bits < c->clusters && c->references[l2 >> q->cluster_bits] > 1) {
			say(c, "ERROR l2_offset=%llx: several references to one L2 table", (unsigned long long)l2);
			c->check->corruptions++;
			continue;
		}
		count_l2(c, l2, table, active);
	}
	free(table);
	return 0;
}

static int count_snapshots(struct counting *c)
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
			say(c,
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

/* Bitmap directory and tables (qcow2.txt, "Bitmaps"): entries of 24 bytes and more; tables of offsets. */
static void count_bitmaps(struct counting *c)
{
	struct qcow2 *q = c->q;
	const uint8_t *ext = NULL;
	uint64_t offset, size;
	uint8_t *directory;

	for (uint32_t at = 0; at + 8 <= q->extensions_length;
	     at += 8 + (uint32_t)align_up(load_be32(q->extensions + at + 4), 8))
		if (load_be32(q->extensions + at) == QCOW2_EXT_BITMAPS && load_be32(q->extensions + at + 4) >= 24)
			ext = q->extensions + at + 8;
	if (!ext || !(q->header.autoclear & QCOW2_BITMAPS))
		return;
	size = load_be64(ext + 8);
	offset = load_be64(ext + 16);
	if (size > 64 * MIB || !range_inside(offset, size, q->file_end) || !(directory = malloc(size + 1))) {
		c->check->corruptions++;
		return;
	}
	count_range(c, offset, size);
	if (qcow2_file_read(q, offset, directory, size))
		size = 0;
	for (uint64_t at = 0; at + 24 <= size;) {
		const uint64_t table = load_be64(directory + at), entries = load_be32(directory + at + 8);

		count_range(c, table, entries * 8);
		for (uint64_t i = 0; i < entries; i++) {
			uint8_t entry[8];

			if (!range_inside(table, entries * 8, q->file_end) ||
			    qcow2_file_read(q, table + i * 8, entry, 8))
				break;
			if (load_be64(entry) & QCOW2_OFFSET_MASK)
				count_range(c, load_be64(entry) & QCOW2_OFFSET_MASK, q->cluster_bytes);
		}
		at += align_up(24 + (uint64_t)load_be16(directory + at + 18) + load_be32(directory + at + 20), 8);
	}
	free(directory);
}

static void count_refcount_structures(struct counting *c)
{
	struct qcow2 *q = c->q;

	count_range(c, q->header.reftable_offset, (uint64_t)q->header.reftable_clusters << q->cluster_bits);
	for (uint32_t i = 0; i < q->reftable_entries; i++) {
		const uint64_t offset = q->reftable[i], cluster = offset >> q->cluster_bits;

		if (!offset)
			continue;
		if (offset & (q->cluster_bytes - 1)) {
			say(c, "ERROR refcount block %u is not cluster aligned; refcount table entry corrupted", i);
		} else if (cluster >= c->clusters) {
			say(c, "ERROR refcount block %u is outside image", i);
		} else {
			if (c->references[cluster]++ == 0)
				continue;
			say(c, "ERROR refcount block %u refcount=%u", i, c->references[cluster]);
		}
		c->check->corruptions++;
		c->broken_table = true;
	}
}

/* --- comparing --- */

/* The count on disk, without the checks that would mark the image; 0 where there is no valid block. */
static int stored_count(struct counting *c, uint64_t cluster, uint64_t *value)
{
	struct qcow2 *q = c->q;
	const uint64_t index = cluster >> q->block_bits;
	const uint64_t offset = index < q->reftable_entries ? q->reftable[index] : 0;

	*value = 0;
	if (!offset || offset & (q->cluster_bytes - 1) || offset >> q->cluster_bits >= c->clusters)
		return 0;
	return qcow2_refcount_get(q, cluster, value);
}

static void compare_one(struct counting *c, uint64_t cluster, uint64_t stored)
{
	const uint64_t wanted = c->references[cluster];
	const bool leak = stored > wanted, fix = leak ? c->fix_leaks : c->fix;
	const bool has_block =
		cluster >> c->q->block_bits < c->q->reftable_entries && c->q->reftable[cluster >> c->q->block_bits];

	if (!has_block)
		c->broken_table = true;
	say(c, "%s cluster %llu refcount=%llu reference=%llu",
	    fix    ? "Repairing"
	    : leak ? "Leaked"
		   : "ERROR",
	    (unsigned long long)cluster, (unsigned long long)stored, (unsigned long long)wanted);
	if (fix && has_block && !c->broken_table && qcow2_refcount_set(c->q, cluster, wanted) == 0) {
		leak ? c->check->leaks_fixed++ : c->check->corruptions_fixed++;
		return;
	}
	leak ? c->check->leaks++ : c->check->corruptions++;
}

static void compare(struct counting *c)
{
	uint64_t highest = 0;

	for (uint64_t i = 0; i < c->clusters; i++) {
		uint64_t stored;

		if (stored_count(c, i, &stored)) {
			say(c, "Can't get refcount for cluster %llu", (unsigned long long)i);
			c->check->check_errors++;
			continue;
		}
		if (stored || c->references[i])
			highest = i;
		if (stored != c->references[i])
			compare_one(c, i, stored);
	}
	c->check->image_end_offset = (highest + 1) << c->q->cluster_bits;
}

/* --- COPIED bits of the active tables --- */

/*
 * COPIED says that the count is exactly one. Set where several tables refer to the cluster, a write would change it for
 * all of them: a corruption. Any other difference costs a copy or a cluster, no data, and is counted like a leak; a
 * snapshot that was being made or deleted when power went leaves such.
 */
static bool wrong_copied(struct counting *c, const char *what, uint64_t entry)
{
	const uint64_t cluster = (entry & QCOW2_OFFSET_MASK) >> c->q->cluster_bits;
	const bool copied = entry & QCOW2_COPIED;
	bool harmful, fix;
	uint64_t stored;

	if (cluster >= c->clusters || stored_count(c, cluster, &stored) || !stored || copied == (stored == 1))
		return false;
	harmful = copied && c->references[cluster] > 1;
	fix = harmful ? c->fix : c->fix_leaks;
	say(c, "%s OFLAG_COPIED %s: entry=%llx refcount=%llu", fix ? "Repairing" : "ERROR", what,
	    (unsigned long long)entry, (unsigned long long)stored);
	if (harmful)
		fix ? c->check->corruptions_fixed++ : c->check->corruptions++;
	else
		fix ? c->check->leaks_fixed++ : c->check->leaks++;
	return fix;
}

static void check_copied_l2(struct counting *c, uint64_t offset, uint8_t *table)
{
	struct qcow2 *q = c->q;
	bool changed = false;

	if (qcow2_file_read(q, offset, table, q->cluster_bytes))
		return;
	for (uint32_t i = 0; i < q->l2_entries; i++) {
		const uint64_t entry = load_be64(table + i * 8ull);
		const enum qcow2_kind kind = qcow2_kind_of(q, entry);

		if ((kind != QCOW2_NORMAL && kind != QCOW2_ZERO_ALLOCATED) || !wrong_copied(c, "data cluster", entry))
			continue;
		store_be64(table + i * 8ull, entry ^ QCOW2_COPIED);
		changed = true;
	}
	if (changed && qcow2_file_write(q, offset, table, q->cluster_bytes))
		c->check->check_errors++;
}

static void check_copied(struct counting *c)
{
	struct qcow2 *q = c->q;
	uint8_t *table = malloc(q->cluster_bytes), entry[8];

	for (uint32_t i = 0; table && i < q->header.l1_size; i++) {
		const uint64_t l2 = q->l1[i] & QCOW2_OFFSET_MASK;

		if (!l2 || l2 & (q->cluster_bytes - 1) || l2 >> q->cluster_bits >= c->clusters)
			continue;
		check_copied_l2(c, l2, table);
		if (!wrong_copied(c, "L2 cluster", q->l1[i]))
			continue;
		q->l1[i] ^= QCOW2_COPIED;
		store_be64(entry, q->l1[i]);
		if (qcow2_file_write(q, q->header.l1_offset + i * 8ull, entry, 8))
			c->check->check_errors++;
	}
	free(table);
}

/* --- a new refcount table --- */

/* Behind the end of the file, from the references counted without the old structures. */
static int rebuild(struct counting *c)
{
	struct qcow2 *q = c->q;
	const uint64_t per_block = 1ull << q->block_bits, start = c->clusters;
	uint64_t blocks = 1, table_clusters = 1, total;
	uint8_t *table, *block;
	int result = 0;

	for (;;) {
		total = start + table_clusters + blocks;
		if (blocks * per_block >= total && table_clusters << q->cluster_bits >= blocks * 8)
			break;
		blocks = max_u64(blocks, (total + per_block - 1) / per_block);
		table_clusters = qcow2_clusters(q, blocks * 8);
	}
	if (table_clusters << q->cluster_bits > QCOW2_MAX_TABLE_BYTES)
		return -EFBIG;
	table = calloc(table_clusters, q->cluster_bytes);
	block = malloc(q->cluster_bytes);
	if (!table || !block)
		result = -ENOMEM;
	for (uint64_t b = 0; b < blocks && !result; b++) {
		const uint64_t at = (start + table_clusters + b) << q->cluster_bits;

		memset(block, 0, q->cluster_bytes);
		for (uint64_t i = 0; i < per_block && b * per_block + i < total; i++) {
			const uint64_t cluster = b * per_block + i;

			qcow2_refcount_store(q, block, i, cluster < start ? c->references[cluster] : 1);
		}
		store_be64(table + b * 8, at);
		result = qcow2_file_write(q, at, block, q->cluster_bytes);
	}
	if (!result)
		result = qcow2_file_write(q, start << q->cluster_bits, table, table_clusters << q->cluster_bits);
	if (!result)
		result = qcow2_file_sync(q);
	if (!result) {
		q->header.reftable_offset = start << q->cluster_bits;
		q->header.reftable_clusters = (uint32_t)table_clusters;
		q->reftable_entries = (uint32_t)((table_clusters << q->cluster_bits) / 8);
		q->reftable = xrealloc(q->reftable, q->reftable_entries * 8ull);
		for (uint32_t i = 0; i < q->reftable_entries; i++)
			q->reftable[i] = load_be64(table + i * 8ull);
		result = qcow2_header_write_fields(q);
		q->file_end = max_u64(q->file_end, total << q->cluster_bits);
		q->fresh_from = max_u64(q->fresh_from, total);
		qcow2_cache_clear(&q->refcounts);
	}
	free(table);
	free(block);
	return result;
}

/* --- the whole --- */

static int count_all(struct counting *c, bool structures)
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
	if (structures)
		count_refcount_structures(c);
	return 0;
}

/* Then counts again: what still is wrong was not in the refcounts. */
static int rebuild_and_recount(struct counting *c)
{
	struct block_check *const check = c->check;
	struct block_check again = {0};
	int result;

	say(c, "Rebuilding refcount structure");
	c->check = &again;
	c->broken_table = true; /* nothing is fixed one by one meanwhile */
	result = count_all(c, false);
	if (!result && (result = rebuild(c)) < 0)
		error_set_errno(c->err, -result, "Could not rebuild the refcount structure");
	if (!result) {
		again = (struct block_check){0};
		free(c->references);
		c->clusters = qcow2_clusters(c->q, c->q->file_end);
		c->references = calloc(c->clusters, sizeof(*c->references));
		c->broken_table = false;
		result = c->references ? count_all(c, true) : error_set(c->err, ENOMEM, "no memory for the check");
		if (!result)
			compare(c);
	}
	c->check = check;
	if (result)
		return result;
	check->corruptions_fixed += check->corruptions - min_u64(check->corruptions, again.corruptions);
	check->leaks_fixed += check->leaks - min_u64(check->leaks, again.leaks);
	check->corruptions = again.corruptions;
	check->leaks = again.leaks;
	check->image_end_offset = again.image_end_offset;
	return 0;
}

static int finish(struct counting *c)
{
	struct qcow2 *q = c->q;
	int result = qcow2_flush(q->block);

	qcow2_cache_clear(&q->l2); /* COPIED bits were changed in the file */
	if (result || c->check->corruptions || c->check->check_errors)
		return result;
	if (q->header.version >= 3 && q->header.incompatible & (QCOW2_DIRTY | QCOW2_CORRUPT)) {
		q->header.incompatible &= ~(uint64_t)(QCOW2_DIRTY | QCOW2_CORRUPT);
		q->corrupt = false;
		result = qcow2_header_write_fields(q);
		if (!result)
			result = qcow2_file_sync(q);
	}
	return result;
}

int qcow2_check(struct block *block, struct block_check *check, bool repair_leaks, bool repair_all, struct error *err)
{
	struct qcow2 *q = block->private_data;
	struct counting c = {.q = q, .check = check, .fix = repair_all, .fix_leaks = repair_leaks, .err = err};
	int result = 0;

	if ((repair_leaks || repair_all) && block->read_only)
		return error_set(err, EACCES, "the image is open read-only");
	if (!block->read_only && (result = qcow2_flush(block)))
		return error_set_errno(err, -result, "Could not write the image");
	c.clusters = qcow2_clusters(q, q->file_end);
	if (c.clusters > MAX_CLUSTERS)
		return error_set(err, EFBIG, "the image file has too many clusters to check (%llu)",
				 (unsigned long long)c.clusters);
	c.references = calloc(max_u64(c.clusters, 1), sizeof(*c.references));
	if (!c.references)
		return error_set(err, ENOMEM, "no memory to check %llu clusters", (unsigned long long)c.clusters);
	check->total_clusters = qcow2_clusters(q, q->header.size);
	/* Repairs of an image that is marked corrupt have to write. */
	q->corrupt &= !repair_all;
	result = count_all(&c, true);
	if (!result)
		compare(&c);
	if (!result && c.broken_table && repair_all)
		result = rebuild_and_recount(&c);
	if (!result)
		check_copied(&c);
	free(c.references);
	if (result || !(repair_leaks || repair_all))
		return result;
	result = finish(&c);
	return result ? error_set_errno(err, -result, "Could not write the repaired image") : 0;
}
