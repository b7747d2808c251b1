/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * New VMDK images: the file or files of the extents, and the descriptor that names them. A sparse extent is laid out as
 * header, descriptor (20 sectors), redundant directory and tables, directory and tables, grains.
 */
#include "backend/block/vmdk_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

const struct block_create_option vmdk_create_options[] = {
	{"size", BLOCK_OPTION_SIZE, "Virtual disk size", NULL},
	{"adapter_type", BLOCK_OPTION_STRING,
	 "Virtual adapter type, can be one of ide (default), lsilogic, buslogic or legacyESX", NULL},
	{"backing_file", BLOCK_OPTION_STRING, "File name of a base image", NULL},
	{"backing_fmt", BLOCK_OPTION_STRING, "Must be 'vmdk' if present", NULL},
	{"compat6", BLOCK_OPTION_BOOL, "VMDK version 6 image", "off"},
	{"hwversion", BLOCK_OPTION_STRING, "VMDK hardware version", "undefined"},
	{"toolsversion", BLOCK_OPTION_STRING, "VMware guest tools version", NULL},
	{"subformat", BLOCK_OPTION_STRING,
	 "VMDK flat extent format, can be one of {monolithicSparse (default) | monolithicFlat | twoGbMaxExtentSparse | "
	 "twoGbMaxExtentFlat | streamOptimized} ",
	 NULL},
	{"zeroed_grain", BLOCK_OPTION_BOOL, "Enable efficient zero writes using the zeroed-grain GTE feature", NULL},
	{NULL},
};

#define SPLIT_BYTES   (2 * GIB)
#define GRAIN_SECTORS 128
#define TABLE_ENTRIES 512
#define TABLE_SECTORS (TABLE_ENTRIES * 4 / BLOCK_SECTOR)

struct wanted {
	const struct block_create *create;
	const char *subformat, *adapter, *hardware, *tools;
	bool flat, split, compressed, zero_grain;
	unsigned heads;
	uint32_t parent_cid;
};

static const char *const subformats[] = {"monolithicSparse",   "monolithicFlat",  "twoGbMaxExtentSparse",
					 "twoGbMaxExtentFlat", "streamOptimized", NULL};
enum { SPARSE, FLAT, SPLIT_SPARSE, SPLIT_FLAT, STREAM };
static const char *const adapters[] = {"ide", "buslogic", "lsilogic", "legacyESX", NULL};

static int choose(const struct block_create *create, const char *name, const char *const *choices, unsigned *choice,
		  struct error *err)
{
	const char *text = block_create_text(create, name);

	*choice = 0;
	while (text && choices[*choice] && strcmp(choices[*choice], text) != 0)
		++*choice;
	return choices[*choice] ? 0 : error_set(err, EINVAL, "invalid parameter value: %.100s", text);
}

/* A quote or a line's end would add lines of its own to the descriptor. */
static int check_words(const struct wanted *w, struct error *err)
{
	const char *const words[] = {w->create->filename, w->create->backing, w->hardware, w->tools};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (words[i] && strpbrk(words[i], "\"\r\n"))
			return error_set(err, EINVAL,
					 "a VMDK descriptor cannot hold quotes and line ends, as in '%.100s'",
					 words[i]);
	return 0;
}

static int decode(const struct block_create *create, struct wanted *w, struct error *err)
{
	unsigned subformat, adapter;
	int result;

	if (create->backing_format && strcmp(create->backing_format, "vmdk") != 0)
		return error_set(err, EINVAL, "backing_file must be a vmdk image");
	if ((result = choose(create, "adapter_type", adapters, &adapter, err)) ||
	    (result = choose(create, "subformat", subformats, &subformat, err)))
		return result;
	*w = (struct wanted){
		.create = create,
		.subformat = subformats[subformat],
		.adapter = adapters[adapter],
		.hardware = block_create_text(create, "hwversion"),
		.tools = block_create_text(create, "toolsversion"),
		.flat = subformat == FLAT || subformat == SPLIT_FLAT,
		.split = subformat == SPLIT_SPARSE || subformat == SPLIT_FLAT,
		.compressed = subformat == STREAM,
		.zero_grain = block_create_bool(create, "zeroed_grain"),
		/* VMware's own programs count so. */
		.heads = adapter ? 255 : 16,
		.parent_cid = VMDK_NO_PARENT,
	};
	if (!strcmp(w->hardware, "undefined"))
		w->hardware = NULL;
	if (block_create_bool(create, "compat6")) {
		if (w->hardware)
			return error_set(err, EINVAL, "compat6 cannot be enabled with hwversion set");
		w->hardware = "6";
	}
	if (w->flat && create->backing)
		return error_set(err, ENOTSUP, "Flat image can't have backing file");
	if (w->flat && w->zero_grain)
		return error_set(err, ENOTSUP, "Flat image can't enable zeroed grain");
	if (create->length > INT64_MAX / 2)
		return error_set(err, EFBIG, "The image size is too large for file format 'vmdk'");
	w->hardware = w->hardware ? w->hardware : "4";
	w->tools = w->tools ? w->tools : "2147483647";
	return check_words(w, err);
}

/* The CID of the parent, which must be there now. */
static int read_parent(struct wanted *w, struct error *err)
{
	const struct block_open how = {.read_only = true, .force_share = true, .no_backing = true};
	const char *backing = w->create->backing, *folder_end = strrchr(w->create->filename, '/');
	struct block *parent;
	char *path;

	if (!backing)
		return 0;
	if (backing[0] == '/' || !folder_end)
		path = xstrdup(backing);
	else
		path = xasprintf("%.*s/%s", (int)(folder_end - w->create->filename), w->create->filename, backing);
	parent = block_open_file(w->create->graph, path, NULL, &how, err);
	free(path);
	if (!parent)
		return -EIO;
	if (parent->driver != &block_vmdk_driver)
		error_set(err, EINVAL, "Invalid backing file format: %s. Must be vmdk", parent->driver->name);
	else
		w->parent_cid = ((const struct vmdk *)parent->private_data)->descriptor.cid;
	block_unref(parent);
	return w->parent_cid == VMDK_NO_PARENT ? -EINVAL : 0;
}

/* --- extents --- */

struct layout {
	uint64_t tables, directory_sectors, redundant, directory, first_grain; /* sectors but for the first */
};

static void plan(uint64_t sectors, struct layout *layout)
{
	const uint64_t span = (uint64_t)GRAIN_SECTORS * TABLE_ENTRIES;

	layout->tables = sectors / span + !!(sectors % span);
	layout->directory_sectors = align_up(layout->tables * 4, BLOCK_SECTOR) / BLOCK_SECTOR;
	layout->redundant = 1 + VMDK_DESCRIPTOR_SECTORS;
	layout->directory = layout->redundant + layout->directory_sectors + layout->tables * TABLE_SECTORS;
	layout->first_grain =
		align_up(layout->directory + layout->directory_sectors + layout->tables * TABLE_SECTORS, GRAIN_SECTORS);
}

static int write_header(struct block *file, const struct wanted *w, uint64_t sectors, const struct layout *layout)
{
	static const uint8_t line_ends[] = {'\n', ' ', '\r', '\n'}; /* broken by a transfer as text */
	uint8_t header[BLOCK_SECTOR] = {0};

	memcpy(header, VMDK_MAGIC_HOSTED, 4);
	store_le32(header + 4, w->compressed ? 3 : w->zero_grain ? 2 : 1);
	store_le32(header + 8, 1 | VMDK_REDUNDANT | (w->compressed ? VMDK_COMPRESSED | VMDK_MARKERS : 0) |
				       (w->zero_grain ? VMDK_ZERO_GRAIN : 0));
	store_le64(header + 12, sectors);
	store_le64(header + 20, GRAIN_SECTORS);
	store_le64(header + 28, 1);
	store_le64(header + 36, VMDK_DESCRIPTOR_SECTORS);
	store_le32(header + 44, TABLE_ENTRIES);
	store_le64(header + 48, layout->redundant);
	store_le64(header + 56, layout->directory);
	store_le64(header + 64, layout->first_grain);
	memcpy(header + 73, line_ends, sizeof(line_ends));
	store_le16(header + 77, w->compressed);
	return image_file_write(file, 0, header, sizeof(header));
}

/* The tables behind it are holes: no grain is there. */
static int write_directory(struct block *file, const struct layout *layout, uint64_t at)
{
	const uint64_t bytes = layout->directory_sectors * BLOCK_SECTOR;
	uint8_t *directory = calloc(1, max_u64(bytes, 1));
	int result;

	if (!directory)
		return -ENOMEM;
	for (uint64_t i = 0; i < layout->tables; i++)
		store_le32(directory + i * 4, (uint32_t)(at + layout->directory_sectors + i * TABLE_SECTORS));
	result = image_file_write(file, at * BLOCK_SECTOR, directory, bytes);
	free(directory);
	return result;
}

static struct block *make_extent(const struct wanted *w, const char *filename, uint64_t bytes, struct error *err)
{
	const uint64_t sectors = bytes / BLOCK_SECTOR;
	struct layout layout;
	struct block *file;
	int result;

	if (w->flat)
		return block_create_file(w->create, filename, bytes, err);
	plan(sectors, &layout);
	if (layout.first_grain > UINT32_MAX) {
		error_set(err, EFBIG, "The image size is too large for file format 'vmdk'");
		return NULL;
	}
	file = block_create_file(w->create, filename, layout.first_grain * BLOCK_SECTOR, err);
	if (!file)
		return NULL;
	if ((result = write_header(file, w, sectors, &layout)) ||
	    (result = write_directory(file, &layout, layout.redundant)) ||
	    (result = write_directory(file, &layout, layout.directory))) {
		error_set_errno(err, -result, "Could not write '%s'", filename ? filename : w->create->filename);
		block_unref(file);
		return NULL;
	}
	return file;
}

/* --- the descriptor --- */

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* "disk.vmdk" -> "disk-s001.vmdk", "disk-f001.vmdk" or "disk-flat.vmdk". */
static char *extent_name(const struct wanted *w, unsigned number)
{
	const char *name = w->create->filename, *dot = strrchr(base_name(name), '.');
	const int stem = (int)(dot ? (size_t)(dot - name) : strlen(name));

	if (!w->split)
		return xasprintf("%.*s-flat%s", stem, name, dot ? dot : "");
	return xasprintf("%.*s-%c%03u%s", stem, name, w->flat ? 'f' : 's', number, dot ? dot : "");
}

static char *append(char *text, char *more)
{
	char *both = xasprintf("%s%s", text, more);

	free(text);
	free(more);
	return both;
}

static char *extent_line(const struct wanted *w, const char *filename, uint64_t bytes)
{
	return xasprintf("RW %llu %s \"%s\"%s\n", (unsigned long long)bytes / BLOCK_SECTOR, w->flat ? "FLAT" : "SPARSE",
			 base_name(filename), w->flat ? " 0" : "");
}

/* Makes the extents that are files of their own, and their lines. */
static int make_extents(const struct wanted *w, char **lines, struct error *err)
{
	const uint64_t step = w->split ? SPLIT_BYTES : w->create->length;
	unsigned number = 1;

	for (uint64_t at = 0, part; at < w->create->length; at += part, number++) {
		char *name = extent_name(w, number);
		struct block *file;

		part = min_u64(step, w->create->length - at);
		file = make_extent(w, name, part, err);
		if (file)
			*lines = append(*lines, extent_line(w, name, part));
		block_unref(file);
		free(name);
		if (!file)
			return -EIO;
	}
	return 0;
}

static char *descriptor_text(const struct wanted *w, const char *lines)
{
	uint32_t cid = 0;
	char *parent = w->create->backing ? xasprintf("parentFileNameHint=\"%s\"", w->create->backing) : xstrdup("");
	char *text;

	/* Eight digits, so that it can change in its place. */
	while (cid < 1u << 28 || cid == VMDK_NO_PARENT)
		if (getrandom(&cid, sizeof(cid), 0) != sizeof(cid))
			cid = 0x20201020;
	text = xasprintf("# Disk DescriptorFile\nversion=1\nCID=%08x\nparentCID=%08x\ncreateType=\"%s\"\n%s\n"
			 "# Extent description\n%s\n# The Disk Data Base\n#DDB\n\n"
			 "ddb.virtualHWVersion = \"%s\"\nddb.geometry.cylinders = \"%llu\"\n"
			 "ddb.geometry.heads = \"%u\"\nddb.geometry.sectors = \"63\"\n"
			 "ddb.adapterType = \"%s\"\nddb.toolsVersion = \"%s\"\n",
			 cid, w->parent_cid, w->subformat, parent, lines, w->hardware,
			 (unsigned long long)(w->create->length / (63ull * w->heads * BLOCK_SECTOR)), w->heads,
			 w->adapter, w->tools);
	free(parent);
	return text;
}

static int write_descriptor(const struct wanted *w, struct block *file, const char *lines, struct error *err)
{
	const bool inside = !w->flat && !w->split;
	char *text = descriptor_text(w, lines);
	const size_t length = strlen(text);
	int result;

	if (length > (inside ? VMDK_DESCRIPTOR_SECTORS * BLOCK_SECTOR : VMDK_MAX_DESCRIPTOR_BYTES)) {
		result = error_set(err, EFBIG, "the descriptor of '%s' would be longer than an image can hold",
				   w->create->filename);
	} else {
		result = image_file_write(file, inside ? BLOCK_SECTOR : 0, text, length);
		if (result)
			error_set_errno(err, -result, "Could not write description");
	}
	free(text);
	return result;
}

int vmdk_create_image(const struct block_create *create, struct error *err)
{
	char *lines = xstrdup("");
	struct block *file = NULL;
	struct wanted w;
	int result = decode(create, &w, err);

	if (!result)
		result = read_parent(&w, err);
	if (!result) {
		file = w.flat || w.split ? block_create_file(create, NULL, 0, err)
					 : make_extent(&w, NULL, create->length, err);
		result = file ? 0 : -EIO;
	}
	if (!result && (w.flat || w.split))
		result = make_extents(&w, &lines, err);
	else if (!result)
		lines = append(lines, extent_line(&w, create->filename, create->length));
	if (!result)
		result = write_descriptor(&w, file, lines, err);
	block_unref(file);
	free(lines);
	return result;
}
