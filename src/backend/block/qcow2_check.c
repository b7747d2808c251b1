/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Check and repair: every reference to every cluster of the file is counted (qcow2_check_count.c) and compared with the
 * reference counts that the image holds. Repairs counts and COPIED bits; where the refcount table itself is broken, a
 * new one is written behind the end. Contents of guest data and tables with impossible places are left alone.
 */
#include "backend/block/qcow2_check.h"

#include <stdio.h>
#include <stdlib.h>

#define MAX_CLUSTERS (1ull << 30)

/* --- comparing --- */

/* The count on disk, without the checks that would mark the image; 0 where there is no valid block. */
static int stored_count(struct qcow2_counting *c, uint64_t cluster, uint64_t *value)
{
	struct qcow2 *q = c->q;
	const uint64_t index = cluster >> q->block_bits;
	const uint64_t offset = index < q->reftable_entries ? q->reftable[index] : 0;

	*value = 0;
	if (!offset || offset & (q->cluster_bytes - 1) || offset >> q->cluster_bits >= c->clusters)
		return 0;
	return qcow2_refcount_get(q, cluster, value);
}

static void compare_one(struct qcow2_counting *c, uint64_t cluster, uint64_t stored)
{
	const uint64_t wanted = c->references[cluster];
	const bool leak = stored > wanted, fix = leak ? c->fix_leaks : c->fix;
	const bool has_block =
		cluster >> c->q->block_bits < c->q->reftable_entries && c->q->reftable[cluster >> c->q->block_bits];

	if (!has_block)
		c->broken_table = true;
	qcow2_check_say(c, "%s cluster %llu refcount=%llu reference=%llu",
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

static void compare(struct qcow2_counting *c)
{
	uint64_t highest = 0;

	for (uint64_t i = 0; i < c->clusters; i++) {
		uint64_t stored;

		if (stored_count(c, i, &stored)) {
			qcow2_check_say(c, "Can't get refcount for cluster %llu", (unsigned long long)i);
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

/* As qemu, repairs say first all that is wrong, and then what is done about it. */
static void compare_and_repair(struct qcow2_counting *c)
{
	struct qcow2_counting look = *c;
	struct block_check seen = *c->check;

	if (c->fix || c->fix_leaks) {
		look.check = &seen;
		look.fix = look.fix_leaks = false;
		compare(&look);
	}
	c->broken_table |= look.broken_table;
	if (c->broken_table && c->fix)
		*c->check = seen; /* a new table it will be */
	else
		compare(c);
}

/* --- COPIED bits of the active tables --- */

/*
 * COPIED says that the count is exactly one. Set where several tables refer to the cluster, a write would change it for
 * all of them: a corruption. Any other difference costs a copy or a cluster, no data, and is counted like a leak; a
 * snapshot that was being made or deleted when power went leaves such.
 */
static bool wrong_copied(struct qcow2_counting *c, const char *what, uint64_t entry)
{
	const uint64_t cluster = (entry & QCOW2_OFFSET_MASK) >> c->q->cluster_bits;
	const bool copied = entry & QCOW2_COPIED;
	bool harmful, fix;
	uint64_t stored;

	if (cluster >= c->clusters || stored_count(c, cluster, &stored) || copied == (stored == 1))
		return false;
	harmful = copied && (c->references[cluster] > 1 || !stored);
	/* Where the count is what is wrong, the bit is right. */
	fix = !stored ? false : harmful ? c->fix : c->fix_leaks;
	qcow2_check_say(c, "%s OFLAG_COPIED %s%llx refcount=%llu", fix ? "Repairing" : "ERROR", what,
			(unsigned long long)entry, (unsigned long long)stored);
	if (harmful)
		fix ? c->check->corruptions_fixed++ : c->check->corruptions++;
	else
		fix ? c->check->leaks_fixed++ : c->check->leaks++;
	return fix;
}

static void check_copied_l2(struct qcow2_counting *c, uint64_t offset, uint8_t *table)
{
	struct qcow2 *q = c->q;
	bool changed = false;

	if (qcow2_is_external(q))
		return; /* there are no counts of data, the bit only says that there is a place */
	if (qcow2_file_read(q, offset, table, q->cluster_bytes))
		return;
	for (uint32_t i = 0; i < q->l2_entries; i++) {
		struct qcow2_entry entry = qcow2_entry_load(q, table, i);

		if (!qcow2_has_place(q, entry.word) || !wrong_copied(c, "data cluster: l2_entry=", entry.word))
			continue;
		entry.word ^= QCOW2_COPIED;
		qcow2_entry_store(q, table, i, entry);
		changed = true;
	}
	if (changed && qcow2_file_write(q, offset, table, q->cluster_bytes))
		c->check->check_errors++;
}

static void check_copied(struct qcow2_counting *c)
{
	struct qcow2 *q = c->q;
	uint8_t *table = malloc(q->cluster_bytes), entry[8];
	char what[64];

	for (uint32_t i = 0; table && i < q->header.l1_size; i++) {
		const uint64_t l2 = q->l1[i] & QCOW2_OFFSET_MASK;

		if (!l2 || l2 & (q->cluster_bytes - 1) || l2 >> q->cluster_bits >= c->clusters)
			continue;
		snprintf(what, sizeof(what), "L2 cluster: l1_index=%u l1_entry=", i);
		if (wrong_copied(c, what, q->l1[i])) {
			q->l1[i] ^= QCOW2_COPIED;
			store_be64(entry, q->l1[i]);
			if (qcow2_file_write(q, q->header.l1_offset + i * 8ull, entry, 8))
				c->check->check_errors++;
		}
		check_copied_l2(c, l2, table);
	}
	free(table);
}

/* --- a new refcount table --- */

/* Behind the end of the file, from the references counted without the old structures. */
static int rebuild(struct qcow2_counting *c)
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

/* Then counts again: what still is wrong was not in the refcounts. */
static int rebuild_and_recount(struct qcow2_counting *c)
{
	struct block_check *const check = c->check;
	struct block_check again = {0};
	int result;

	qcow2_check_say(c, "Rebuilding refcount structure");
	c->check = &again;
	c->broken_table = true; /* nothing is fixed one by one meanwhile */
	result = qcow2_count_all(c, false);
	if (!result && (result = rebuild(c)) < 0)
		error_set_errno(c->err, -result, "Could not rebuild the refcount structure");
	if (!result) {
		again = (struct block_check){0};
		free(c->references);
		c->clusters = qcow2_clusters(c->q, c->q->file_end);
		c->references = calloc(c->clusters, sizeof(*c->references));
		c->broken_table = false;
		result =
			c->references ? qcow2_count_all(c, true) : error_set(c->err, ENOMEM, "no memory for the check");
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

static int finish(struct qcow2_counting *c)
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
	struct qcow2_counting c = {.q = q, .check = check, .fix = repair_all, .fix_leaks = repair_leaks, .err = err};
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
	result = qcow2_count_all(&c, true);
	if (!result)
		compare_and_repair(&c);
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

/* --- another width of reference counts --- */

static int rebuild_with(struct qcow2_counting *c, unsigned bits)
{
	struct qcow2 *q = c->q;
	const struct qcow2_header old = q->header;
	const uint32_t old_bits = q->refcount_bits, old_block_bits = q->block_bits;
	int result;

	for (uint64_t i = 0; i < c->clusters; i++)
		if (bits < 32 && c->references[i] >> bits)
			return error_set(
				c->err, EINVAL,
				"Cannot decrease refcount entry width to %u bits: Cluster at offset %#llx has a "
				"refcount of %u",
				bits, (unsigned long long)i << q->cluster_bits, c->references[i]);
	q->refcount_bits = bits;
	q->header.refcount_order = (uint32_t)__builtin_ctz(bits);
	q->block_bits = q->cluster_bits + 3 - q->header.refcount_order;
	result = rebuild(c);
	if (!result)
		result = qcow2_file_sync(q);
	if (!result)
		return 0;
	q->header = old;
	q->refcount_bits = old_bits;
	q->block_bits = old_block_bits;
	return error_set_errno(c->err, -result, "Could not write the new reference counts");
}

int qcow2_change_refcount_bits(struct block *block, unsigned bits, struct error *err)
{
	struct qcow2 *q = block->private_data;
	struct block_check check = {0};
	struct qcow2_counting c = {.q = q, .check = &check, .err = err, .clusters = qcow2_clusters(q, q->file_end)};
	int result;

	if (c.clusters > MAX_CLUSTERS)
		return error_set(err, EFBIG, "the image file has too many clusters (%llu)",
				 (unsigned long long)c.clusters);
	c.references = calloc(max_u64(c.clusters, 1), sizeof(*c.references));
	if (!c.references)
		return error_set(err, ENOMEM, "no memory to count %llu clusters", (unsigned long long)c.clusters);
	result = qcow2_count_all(&c, false);
	if (!result && (check.corruptions || check.check_errors))
		result = error_set(err, EINVAL, "the image has errors; 'check -r all' comes first");
	if (!result)
		result = rebuild_with(&c, bits);
	free(c.references);
	return result;
}
