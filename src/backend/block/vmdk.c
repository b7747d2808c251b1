/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The vmdk driver (VMware Virtual Disk Format 5.0): opening an image with its extents and its parent, requests cut at
 * the borders of extents, and the driver's table. Read and written: monolithicSparse, monolithicFlat,
 * twoGbMaxExtentSparse, twoGbMaxExtentFlat, vmfs, vmfsSparse; streamOptimized where nothing was written before; read
 * only: seSparse. Left out: custom and device types, extents that are not RW.
 *
 * Extents are named by the image. They are opened as regular files, with paths relative to the descriptor's folder or
 * absolute as qemu takes them; devices and other protocols are refused, and the content is never probed.
 */
#include "backend/block/vmdk_internal.h"

#include <stdlib.h>

static int vmdk_probe(const uint8_t *head, size_t length, const char *filename)
{
	if (length >= 4 && (!memcmp(head, VMDK_MAGIC_HOSTED, 4) || !memcmp(head, VMDK_MAGIC_COWD, 4)))
		return 100;
	return vmdk_descriptor_probe(head, length) ? 100 : 0;
}

/* --- opening --- */

static struct vmdk_extent *add_extent(struct vmdk *v, struct block *file, const char *type)
{
	struct vmdk_extent *e = xcalloc(1, sizeof(*e));

	v->extents = xrealloc(v->extents, (v->extent_count + 1) * sizeof(struct vmdk_extent *));
	v->extents[v->extent_count++] = e;
	e->file = file;
	e->own_file = file != v->block->file;
	strcpy(e->type, type);
	e->start = v->block->length;
	return e;
}

static int end_extent(struct vmdk *v, const struct vmdk_extent *e, struct error *err)
{
	if (e->length > INT64_MAX - v->block->length)
		return error_set(err, EFBIG, "the extents of '%s' are larger than any disk", v->block->filename);
	v->block->length += e->length;
	return 0;
}

static int read_descriptor(struct vmdk *v, uint64_t offset, uint64_t bytes, bool with_extents, struct error *err)
{
	char *text = malloc(bytes);
	int result = text ? image_file_read(v->block->file, offset, text, bytes) : -ENOMEM;

	v->descriptor_offset = offset;
	if (result) {
		free(text);
		return error_set_errno(err, -result, "Could not read the descriptor of '%s'", v->block->filename);
	}
	return vmdk_descriptor_parse(&v->descriptor, text, (uint32_t)bytes, with_extents, err);
}

/* Descriptor and extent in one file. */
static int open_monolithic(struct vmdk *v, const uint8_t *header, struct error *err)
{
	const bool hosted = !memcmp(header, VMDK_MAGIC_HOSTED, 4);
	const uint64_t sector = hosted ? load_le64(header + 28) : 0;
	struct vmdk_extent *e;
	int result = read_descriptor(v, sector && sector < v->block->file->length / 512 ? sector * 512 : 512,
				     VMDK_DESCRIPTOR_SECTORS * BLOCK_SECTOR, false, err);

	if (result)
		return result;
	e = add_extent(v, v->block->file, "");
	result = vmdk_extent_open(v, e, true, err);
	if (!result)
		result = end_extent(v, e, err);
	free(v->descriptor.create_type);
	v->descriptor.create_type = xstrdup(e->compressed ? "streamOptimized" : hosted ? "monolithicSparse" : "");
	return result;
}

static struct block *open_extent_file(struct vmdk *v, const char *name, const struct block_open *how, struct error *err)
{
	const char *folder_end = strrchr(v->block->filename, '/');
	struct block_open child_how = *how;
	struct options options = {0};
	struct block *file;
	char *path;

	if (name[0] == '/' || !folder_end)
		path = xstrdup(name);
	else
		path = xasprintf("%.*s/%s", (int)(folder_end - v->block->filename), v->block->filename, name);
	child_how.discard = true;
	child_how.probed = false;
	child_how.read_only = v->block->read_only;
	options_add(&options, "filename", path);
	file = block_open_node(v->block->graph, &block_file_driver, NULL, NULL, &options, &child_how, err);
	options_free(&options);
	free(path);
	return file;
}

/* Flat extents may be parts of one file. */
static struct block *shared_file(const struct vmdk *v, const struct vmdk_line *line)
{
	for (const struct vmdk_line *before = v->descriptor.lines; before < line; before++)
		if (!strcmp(before->name, line->name))
			return v->extents[before - v->descriptor.lines]->file;
	return NULL;
}

static int open_line(struct vmdk *v, const struct vmdk_line *line, const struct block_open *how, struct error *err)
{
	const bool flat = !strcmp(line->type, "FLAT") || !strcmp(line->type, "VMFS");
	struct vmdk_extent *e;
	struct block *file, *claimed = NULL;
	int result = 0;

	if (!flat && strcmp(line->type, "SPARSE") && strcmp(line->type, "VMFSSPARSE") && strcmp(line->type, "SESPARSE"))
		return error_set(err, ENOTSUP, "Unsupported extent type '%s'", line->type);
	file = shared_file(v, line);
	if (file && !flat)
		return error_set(err, EINVAL, "extent '%s' is there twice", line->name);
	if (file)
		block_ref(file);
	else
		file = claimed = open_extent_file(v, line->name, how, err);
	if (!file)
		return err && err->code ? -err->code : -EIO;
	e = add_extent(v, file, line->type);
	if (claimed && (result = block_claim(claimed, !v->block->read_only, err)))
		return result;
	e->claimed = claimed;
	if (flat) {
		e->flat = true;
		e->length = line->sectors * BLOCK_SECTOR;
		e->flat_offset = line->offset * BLOCK_SECTOR;
		if (e->flat_offset > INT64_MAX - e->length)
			return error_set(err, EFBIG, "Invalid offset of extent '%s'", line->name);
	} else if (!strcmp(line->type, "SESPARSE")) {
		result = vmdk_sesparse_open(v, e, err);
	} else {
		result = vmdk_extent_open(v, e, false, err);
	}
	return result ? result : end_extent(v, e, err);
}

static int open_described(struct vmdk *v, uint64_t offset, const struct block_open *how, struct error *err)
{
	static const char *const known[] = {"monolithicFlat",     "vmfs",     "vmfsSparse", "twoGbMaxExtentSparse",
					    "twoGbMaxExtentFlat", "seSparse", NULL};
	const uint64_t behind = v->block->file->length - min_u64(offset, v->block->file->length);
	int result = read_descriptor(v, offset, min_u64(behind, VMDK_MAX_DESCRIPTOR_BYTES), true, err);
	size_t i = 0;

	if (result)
		return result;
	while (known[i] && strcmp(known[i], v->descriptor.create_type) != 0)
		i++;
	if (!known[i])
		return error_set(err, ENOTSUP, "Unsupported image type '%.100s'", v->descriptor.create_type);
	if (v->descriptor.line_count > VMDK_MAX_EXTENTS)
		return error_set(err, EFBIG, "'%s' has more than %u extents", v->block->filename, VMDK_MAX_EXTENTS);
	for (i = 0; i < v->descriptor.line_count && !result; i++)
		result = open_line(v, &v->descriptor.lines[i], how, err);
	return result;
}

static int open_extents(struct vmdk *v, const struct block_open *how, struct error *err)
{
	uint8_t header[BLOCK_SECTOR] = {0};
	struct block *file = v->block->file;
	uint64_t descriptor;
	int result;

	if (file->length < 4)
		return error_set(err, EINVAL, "File is too small, not a valid image");
	result = image_file_read(file, 0, header, sizeof(header));
	if (result)
		return error_set_errno(err, -result, "Could not read header from file '%s'", file->filename);
	if (memcmp(header, VMDK_MAGIC_HOSTED, 4) != 0 && memcmp(header, VMDK_MAGIC_COWD, 4) != 0)
		return open_described(v, 0, how, err);
	descriptor = vmdk_extent_descriptor_only(header);
	return descriptor ? open_described(v, descriptor, how, err) : open_monolithic(v, header, err);
}

/* The parent must be as it was when this image was put over it, else its content does not fit. */
static bool parent_matches(const struct vmdk *v)
{
	const struct block *backing = v->block->backing;

	return !backing || (backing->driver == &block_vmdk_driver &&
			    ((const struct vmdk *)backing->private_data)->descriptor.cid == v->descriptor.parent_cid);
}

static void destroy(struct vmdk *v)
{
	for (size_t i = 0; i < v->extent_count; i++)
		vmdk_extent_close(v->extents[i], !v->block->read_only);
	free(v->extents);
	vmdk_descriptor_free(&v->descriptor);
	pthread_mutex_destroy(&v->lock);
}

static int vmdk_open(struct block *block, struct options *options, const struct block_open *how, struct error *err)
{
	struct vmdk *v = block->private_data;
	int result;

	v->block = block;
	pthread_mutex_init(&v->lock, NULL);
	block->length = 0;
	result = open_extents(v, how, err);
	if (!result)
		result = block_backing_open(block, v->descriptor.parent, "vmdk", options, how, err);
	if (result) {
		destroy(v);
		return result;
	}
	if (!parent_matches(v)) {
		if (how->log)
			log_warn(how->log,
				 "'%s' was made over another state of its parent (CID); what lies in the parent cannot "
				 "be read",
				 block->filename);
		for (size_t i = 0; i < v->extent_count; i++)
			v->extents[i]->sparse.backing_error = -EINVAL;
	}
	block->optimal_bytes = vmdk_grain_bytes(v);
	return 0;
}

static void vmdk_close(struct block *block)
{
	struct vmdk *v = block->private_data;
	int result = 0;

	for (size_t i = 0; i < v->extent_count && !result; i++)
		if (!v->extents[i]->flat && sparse_is_dirty(&v->extents[i]->sparse))
			result = sparse_flush(&v->extents[i]->sparse);
	if (result && block_log(block))
		log_warn(block_log(block), "vmdk: '%s' could not be written when it was closed: %s", block->filename,
			 strerror(-result));
	destroy(v);
}

static const char *const vmdk_options[] = {"backing", "backing.*", NULL};

const struct block_driver block_vmdk_driver = {
	.name = "vmdk",
	.size = sizeof(struct vmdk),
	.known = vmdk_options,
	.own_metadata = true,
	.probe = vmdk_probe,
	.open = vmdk_open,
	.close = vmdk_close,
	.pread = vmdk_pread,
	.pwrite = vmdk_pwrite,
	.flush = vmdk_flush,
	.discard = vmdk_discard,
	.write_zeroes = vmdk_write_zeroes,
	.extent = vmdk_extent_status,
	.create_options = vmdk_create_options,
	.create = vmdk_create_image,
	.info = vmdk_info,
	.specific_info = vmdk_specific_info,
	.check = vmdk_check,
	.write_compressed = vmdk_write_compressed,
	.data_node = vmdk_data_node,
	.map = vmdk_map,
};
