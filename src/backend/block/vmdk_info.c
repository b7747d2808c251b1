/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What `info` and `check` say of VMDK images. */
#include "backend/block/vmdk_internal.h"

#include <jansson.h>
#include <stdio.h>
#include <sys/stat.h>

static bool all_alike(const struct vmdk *v)
{
	for (size_t i = 1; i < v->extent_count; i++) {
		const struct vmdk_extent *a = v->extents[0], *b = v->extents[i];

		if (a->flat != b->flat || a->compressed != b->compressed ||
		    (!a->flat && a->sparse.block_bytes != b->sparse.block_bytes))
			return false;
	}
	return v->extent_count > 0;
}

uint32_t vmdk_grain_bytes(const struct vmdk *v)
{
	return all_alike(v) && !v->extents[0]->flat ? (uint32_t)v->extents[0]->sparse.block_bytes : 0;
}

void vmdk_info(const struct block *block, struct block_info *info)
{
	const struct vmdk *v = block->private_data;
	struct stat status;

	info->cluster_bytes = vmdk_grain_bytes(v);
	info->backing = v->descriptor.parent;
	info->backing_format = v->descriptor.parent ? "vmdk" : NULL;
	for (size_t i = 0; i < v->extent_count; i++)
		if (v->extents[i]->own_file && (!i || v->extents[i]->file != v->extents[i - 1]->file) &&
		    stat(v->extents[i]->file->filename, &status) == 0)
			info->further_bytes += (uint64_t)status.st_blocks * 512;
	info->only_compressed = all_alike(v) && v->extents[0]->compressed;
}

static json_t *extent_json(const struct vmdk_extent *e)
{
	json_t *row = json_object();

	if (e->compressed)
		json_object_set_new(row, "compressed", json_true());
	json_object_set_new(row, "virtual-size", json_integer((json_int_t)e->length));
	json_object_set_new(row, "filename", json_stringn_nocheck(e->file->filename, strlen(e->file->filename)));
	if (!e->flat)
		json_object_set_new(row, "cluster-size", json_integer((json_int_t)e->sparse.block_bytes));
	json_object_set_new(row, "format", json_string(e->type));
	return row;
}

json_t *vmdk_specific_info(const struct block *block)
{
	const struct vmdk *v = block->private_data;
	json_t *extents = json_array();

	for (size_t i = 0; i < v->extent_count; i++)
		json_array_append_new(extents, extent_json(v->extents[i]));
	return json_pack("{s:I,s:I,s:s,s:o}", "cid", (json_int_t)v->descriptor.cid, "parent-cid",
			 (json_int_t)v->descriptor.parent_cid, "create-type", v->descriptor.create_type, "extents",
			 extents);
}

/* The first grain of the run that begins at or behind the end of the file; UINT64_MAX: none. */
static uint64_t behind_end(const struct vmdk_extent *e, uint64_t within, const struct sparse_run *run)
{
	const uint64_t grain = e->sparse.block_bytes, end = e->file->length;
	uint64_t skip;

	if ((run->entry.kind != SPARSE_DATA && run->entry.kind != SPARSE_PACKED) || run->entry.host + run->bytes <= end)
		return UINT64_MAX;
	skip = run->entry.host >= end ? 0 : align_up(end - run->entry.host, grain);
	return skip < run->bytes ? within + skip : UINT64_MAX;
}

static int check_extent(struct vmdk_extent *e, struct block_check *check, struct error *err)
{
	struct sparse_run run;
	char text[128];

	for (uint64_t within = 0; within < e->length; within += run.bytes) {
		int result = sparse_look_up(&e->sparse, within, e->length - within, &run);
		const uint64_t bad = result ? within : behind_end(e, within, &run);

		if (bad == UINT64_MAX)
			continue;
		if (result)
			snprintf(text, sizeof(text), "ERROR: could not get cluster_offset for sector %llu",
				 (unsigned long long)(e->start + bad) / BLOCK_SECTOR);
		else
			snprintf(text, sizeof(text), "ERROR: cluster offset for sector %llu points after EOF",
				 (unsigned long long)(e->start + bad) / BLOCK_SECTOR);
		if (check->report)
			check->report(check->opaque, text);
		check->corruptions++;
		return error_set(err, EINVAL, "Invalid argument");
	}
	return 0;
}

int vmdk_check(struct block *block, struct block_check *check, bool repair_leaks, bool repair_all, struct error *err)
{
	struct vmdk *v = block->private_data;
	int result = repair_leaks || repair_all ? -ENOTSUP : 0;

	for (size_t i = 0; i < v->extent_count && !result; i++)
		if (!v->extents[i]->flat)
			result = check_extent(v->extents[i], check, err);
	return result;
}
