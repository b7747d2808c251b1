/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Internal snapshots: a table of copies of the L1 table. What several tables refer to has a reference count above one
 * and no COPIED bit; writing to it copies it first.
 */
#include "backend/block/qcow2_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ENTRY_HEAD = 40, MAX_EXTRA = 1024, MAX_TABLE = 64 << 20 };

static void free_snapshot(struct qcow2_snapshot *s)
{
	free(s->id);
	free(s->name);
	free(s->extra);
}

void qcow2_snapshots_free(struct qcow2 *q)
{
	for (uint32_t i = 0; q->snapshots && i < q->header.snapshot_count; i++)
		free_snapshot(&q->snapshots[i]);
	free(q->snapshots);
	q->snapshots = NULL;
}

const struct qcow2_snapshot *qcow2_snapshots(const struct block *block, size_t *count)
{
	const struct qcow2 *q = block->private_data;

	*count = q->header.snapshot_count;
	return q->snapshots;
}

/* --- reading --- */

static int read_text(struct qcow2 *q, uint64_t offset, uint16_t length, char **text)
{
	*text = xcalloc(1, length + 1u);
	return length ? qcow2_file_read(q, offset, *text, length) : 0;
}

/* One entry at *offset, which moves to the next. */
static int read_entry(struct qcow2 *q, uint64_t *offset, struct qcow2_snapshot *s, struct error *err)
{
	uint8_t head[ENTRY_HEAD];
	uint16_t id_length, name_length;
	uint64_t at = *offset;
	int result = qcow2_file_read(q, at, head, sizeof(head));

	if (result)
		return error_set_errno(err, -result, "Could not read the snapshot table");
	s->l1_offset = load_be64(head);
	s->l1_size = load_be32(head + 8);
	id_length = load_be16(head + 12);
	name_length = load_be16(head + 14);
	s->date_s = load_be32(head + 16);
	s->date_ns = load_be32(head + 20);
	s->vm_clock_ns = load_be64(head + 24);
	s->vm_state_bytes = load_be32(head + 32);
	s->extra_size = load_be32(head + 36);
	s->disk_bytes = q->header.size;
	s->icount = UINT64_MAX;
	if (s->extra_size > MAX_EXTRA)
		return error_set(err, EINVAL, "Too much extra metadata in snapshot table entry");
	at += ENTRY_HEAD;
	if (!range_inside(at, (uint64_t)s->extra_size + id_length + name_length, q->file_end))
		return error_set(err, EINVAL, "The snapshot table goes beyond the end of the image file");
	s->extra = xcalloc(1, s->extra_size + 1);
	if ((result = qcow2_file_read(q, at, s->extra, s->extra_size)) ||
	    (result = read_text(q, at + s->extra_size, id_length, &s->id)) ||
	    (result = read_text(q, at + s->extra_size + id_length, name_length, &s->name)))
		return error_set_errno(err, -result, "Could not read the snapshot table");
	if (s->extra_size >= 8)
		s->vm_state_bytes = load_be64(s->extra);
	if (s->extra_size >= 16)
		s->disk_bytes = load_be64(s->extra + 8);
	if (s->extra_size >= 24)
		s->icount = load_be64(s->extra + 16);
	*offset = align_up(at + s->extra_size + id_length + name_length, 8);
	return 0;
}

int qcow2_snapshots_read(struct qcow2 *q, struct error *err)
{
	const uint32_t count = q->header.snapshot_count;
	uint64_t offset = q->header.snapshots_offset;

	if (!count)
		return 0;
	q->snapshots = xcalloc(count, sizeof(*q->snapshots)); /* at most QCOW2_MAX_SNAPSHOTS, see the header's checks */
	for (uint32_t i = 0; i < count; i++) {
		int result = read_entry(q, &offset, &q->snapshots[i], err);

		if (result)
			return result;
		if (offset - q->header.snapshots_offset > MAX_TABLE)
			return error_set(err, EFBIG, "Snapshot table is too big");
	}
	return 0;
}
