/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The firmware configuration device that guests' firmware and kernels read their tables from; facts are those of qemu's
 * docs/specs/fw_cfg: selector and data ports, DMA, the file directory. Writes go through DMA only.
 * Left out: the memory-mapped form. The items themselves are not migrated: the destination builds the same ones.
 */
#include "device/pc/fw_cfg.h"

#include "base/util.h"
#include "core/ram.h"
#include "device/pc/isa.h"

#include <endian.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEY_FILES = 0x20, KEY_INVALID = 0xffff };
enum { ID_TRADITIONAL = 1, ID_DMA = 2 };
enum { DMA_ERROR = 1, DMA_READ = 2, DMA_SKIP = 4, DMA_SELECT = 8, DMA_WRITE = 16 };
enum { FILE_MAX_BYTES = 1 << 30 };
#define DMA_SIGNATURE 0x51454d5520434647ull /* "QEMU CFG" */

struct item {
	uint16_t key;
	char *name; /* a file's, or NULL */
	uint8_t *bytes;
	size_t length;
	bool borrowed;
	bool has_callback;
	struct fw_cfg_callback callback;
};

struct fw_cfg {
	struct device device;
	pthread_mutex_t lock; /* recursive: select calls fw_cfg_update_file */
	struct item *items;
	size_t count;
	uint16_t selected;
	uint32_t offset;
	uint64_t dma_address; /* the high half, until the low one is written */
	struct log_limit limit;
	struct region regions[2];
};

/* One row of the directory, big-endian. */
struct directory_entry {
	uint32_t length;
	uint16_t key;
	uint16_t reserved;
	char name[FW_CFG_NAME_MAX + 1];
};

static struct item *find_key(struct fw_cfg *fw_cfg, uint16_t key)
{
	for (size_t i = 0; i < fw_cfg->count; i++)
		if (fw_cfg->items[i].key == key)
			return &fw_cfg->items[i];
	return NULL;
}

static struct item *find_name(struct fw_cfg *fw_cfg, const char *name)
{
	for (size_t i = 0; i < fw_cfg->count; i++)
		if (fw_cfg->items[i].name && !strcmp(fw_cfg->items[i].name, name))
			return &fw_cfg->items[i];
	return NULL;
}

/* --- contents --- */

static void set_bytes(struct item *item, const void *bytes, size_t length, bool borrowed)
{
	uint8_t *old = item->borrowed ? NULL : item->bytes;

	if (borrowed) {
		item->bytes = (uint8_t *)bytes;
	} else {
		item->bytes = xcalloc(1, length ? length : 1);
		if (length)
			memcpy(item->bytes, bytes, length);
	}
	item->length = length;
	item->borrowed = borrowed;
	free(old);
}

static struct item *new_item(struct fw_cfg *fw_cfg, uint16_t key)
{
	struct item *item;

	fw_cfg->items = xrealloc(fw_cfg->items, (fw_cfg->count + 1) * sizeof(*fw_cfg->items));
	item = &fw_cfg->items[fw_cfg->count++];
	*item = (struct item){.key = key};
	return item;
}

static void add(struct fw_cfg *fw_cfg, uint16_t key, const void *bytes, size_t length, bool borrowed)
{
	struct item *item;

	pthread_mutex_lock(&fw_cfg->lock);
	item = find_key(fw_cfg, key);
	set_bytes(item ? item : new_item(fw_cfg, key), bytes, length, borrowed);
	pthread_mutex_unlock(&fw_cfg->lock);
}

void fw_cfg_add_bytes(struct fw_cfg *fw_cfg, uint16_t key, const void *bytes, size_t length)
{
	add(fw_cfg, key, bytes, length, false);
}

void fw_cfg_add_borrowed(struct fw_cfg *fw_cfg, uint16_t key, const void *bytes, size_t length)
{
	add(fw_cfg, key, bytes, length, true);
}

void fw_cfg_add_string(struct fw_cfg *fw_cfg, uint16_t key, const char *text)
{
	add(fw_cfg, key, text, strlen(text) + 1, false);
}

void fw_cfg_add_u16(struct fw_cfg *fw_cfg, uint16_t key, uint16_t value)
{
	value = htole16(value);
	add(fw_cfg, key, &value, sizeof(value), false);
}

void fw_cfg_add_u32(struct fw_cfg *fw_cfg, uint16_t key, uint32_t value)
{
	value = htole32(value);
	add(fw_cfg, key, &value, sizeof(value), false);
}

void fw_cfg_add_u64(struct fw_cfg *fw_cfg, uint16_t key, uint64_t value)
{
	value = htole64(value);
	add(fw_cfg, key, &value, sizeof(value), false);
}

/* --- files --- */

static int by_name(const void *a, const void *b)
{
	const struct item *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

/* Files are listed by name and numbered in that order, so that keys do not depend on the order of creation (a guest
 * that remembers a key meets the same file after a migration). */
static void rebuild_directory(struct fw_cfg *fw_cfg)
{
	struct item **files = xcalloc(fw_cfg->count + 1, sizeof(*files));
	struct directory_entry *entries;
	uint32_t count = 0;
	uint8_t *bytes;
	size_t length;

	for (size_t i = 0; i < fw_cfg->count; i++)
		if (fw_cfg->items[i].name)
			files[count++] = &fw_cfg->items[i];
	qsort(files, count, sizeof(*files), by_name);
	length = 4 + count * sizeof(*entries);
	bytes = xcalloc(1, length);
	for (uint32_t i = 0; i < count; i++) {
		struct directory_entry entry = {.length = htobe32((uint32_t)files[i]->length)};

		files[i]->key = (uint16_t)(KEY_FILES + i);
		entry.key = htobe16(files[i]->key);
		memcpy(entry.name, files[i]->name, strlen(files[i]->name) + 1);
		memcpy(bytes + 4 + i * sizeof(entry), &entry, sizeof(entry));
	}
	free(files);
	memcpy(bytes, &(uint32_t){htobe32(count)}, 4);
	add(fw_cfg, FW_CFG_FILE_DIR, bytes, length, false);
	free(bytes);
}

static size_t count_files(const struct fw_cfg *fw_cfg)
{
	size_t count = 0;

	for (size_t i = 0; i < fw_cfg->count; i++)
		count += fw_cfg->items[i].name != NULL;
	return count;
}

int fw_cfg_add_callback(struct fw_cfg *fw_cfg, const char *name, const void *bytes, size_t length,
			const struct fw_cfg_callback *callback, struct error *err)
{
	struct item *item;
	int rc = 0;

	if (!*name || strlen(name) > FW_CFG_NAME_MAX)
		return error_set(err, EINVAL, "fw_cfg file name '%s' has not between 1 and %d characters", name,
				 FW_CFG_NAME_MAX);
	if (length > FILE_MAX_BYTES)
		return error_set(err, EFBIG, "fw_cfg file %s is larger than 1 GiB", name);
	pthread_mutex_lock(&fw_cfg->lock);
	item = find_name(fw_cfg, name);
	if (!item && count_files(fw_cfg) == FW_CFG_FILES_MAX) {
		rc = error_set(err, ENOSPC, "at most %d fw_cfg files", FW_CFG_FILES_MAX);
	} else {
		if (!item) {
			item = new_item(fw_cfg, KEY_INVALID);
			item->name = xstrdup(name);
		}
		set_bytes(item, bytes, length, false);
		item->has_callback = callback != NULL;
		if (callback)
			item->callback = *callback;
		rebuild_directory(fw_cfg);
	}
	pthread_mutex_unlock(&fw_cfg->lock);
	return rc;
}

int fw_cfg_add_file(struct fw_cfg *fw_cfg, const char *name, const void *bytes, size_t length, struct error *err)
{
	return fw_cfg_add_callback(fw_cfg, name, bytes, length, NULL, err);
}

int fw_cfg_update_file(struct fw_cfg *fw_cfg, const char *name, const void *bytes, size_t length)
{
	struct item *item;

	pthread_mutex_lock(&fw_cfg->lock);
	item = find_name(fw_cfg, name);
	if (item) {
		set_bytes(item, bytes, length, false);
		rebuild_directory(fw_cfg);
	}
	pthread_mutex_unlock(&fw_cfg->lock);
	return item ? 0 : -ENOENT;
}

const void *fw_cfg_file(struct fw_cfg *fw_cfg, const char *name, size_t *length)
{
	struct item *item;

	pthread_mutex_lock(&fw_cfg->lock);
	item = find_name(fw_cfg, name);
	if (item)
		*length = item->length;
	pthread_mutex_unlock(&fw_cfg->lock);
	return item ? item->bytes : NULL;
}

const char *fw_cfg_file_at(struct fw_cfg *fw_cfg, size_t index, size_t *length)
{
	const char *name = NULL;

	pthread_mutex_lock(&fw_cfg->lock);
	for (size_t i = 0; i < fw_cfg->count && !name; i++) {
		if (!fw_cfg->items[i].name || index--)
			continue;
		name = fw_cfg->items[i].name;
		*length = fw_cfg->items[i].length;
	}
	pthread_mutex_unlock(&fw_cfg->lock);
	return name;
}

static int read_host_file(const char *path, uint8_t **bytes, size_t *length, struct error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	ssize_t got;

	if (fd < 0)
		return error_set_errno(err, errno, "opening %s", path);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > FILE_MAX_BYTES) {
		close(fd);
		return error_set(err, EINVAL, "%s is not a regular file of at most 1 GiB", path);
	}
	*bytes = malloc((size_t)st.st_size + 1);
	*length = 0;
	while (*bytes && (got = read(fd, *bytes + *length, (size_t)st.st_size - *length)) > 0)
		*length += (size_t)got;
	close(fd);
	if (*bytes && *length == (size_t)st.st_size)
		return 0;
	free(*bytes);
	return error_set(err, EIO, "%s could not be read whole", path);
}

int fw_cfg_add_option(struct fw_cfg *fw_cfg, const char *name, struct options *options, struct error *err)
{
	static const char *const known[] = {"file", "string", NULL};
	const char *file = options_get(options, "file");
	const char *string = options_get(options, "string");
	uint8_t *bytes = NULL;
	size_t length = 0;
	int rc = options_check_used(options, "-fw_cfg", known, err);

	if (rc < 0)
		return rc;
	if (!file == !string)
		return error_set(err, EINVAL, "-fw_cfg %s needs one of file= and string=", name);
	if (strncmp(name, "opt/", 4))
		log_warn(fw_cfg->device.env->log,
		         "-fw_cfg name '%s' is not below opt/ and may collide with the machine's own", name);
	if (string)
		return fw_cfg_add_file(fw_cfg, name, string, strlen(string), err);
	rc = read_host_file(file, &bytes, &length, err);
	if (rc < 0)
		return error_prefix(err, "-fw_cfg %s", name);
	rc = fw_cfg_add_file(fw_cfg, name, bytes, length, err);
	free(bytes);
	return rc;
}

/* --- what the guest does --- */

static void select_key(struct fw_cfg *fw_cfg, uint16_t key)
{
	struct item *item = find_key(fw_cfg, key);

	fw_cfg->selected = key;
	fw_cfg->offset = 0;
	if (item && item->has_callback && item->callback.select)
		item->callback.select(item->callback.opaque);
}

/* The part of [offset, +length) that the item has. */
static size_t available(const struct item *item, uint32_t offset, uint32_t length)
{
	if (!item || offset >= item->length)
		return 0;
	return min_u64(length, item->length - offset);
}

static void move_on(struct fw_cfg *fw_cfg, uint32_t length)
{
	fw_cfg->offset = fw_cfg->offset > UINT32_MAX - length ? UINT32_MAX : fw_cfg->offset + length;
}

static uint8_t read_byte(struct fw_cfg *fw_cfg)
{
	const struct item *item = find_key(fw_cfg, fw_cfg->selected);
	uint8_t value = available(item, fw_cfg->offset, 1) ? item->bytes[fw_cfg->offset] : 0;

	move_on(fw_cfg, 1);
	return value;
}

/* Beyond its end an item reads as zeroes. */
static int dma_read(struct fw_cfg *fw_cfg, const struct item *item, uint64_t gpa, uint32_t length)
{
	struct ram *ram = fw_cfg->device.env->ram;
	size_t present = available(item, fw_cfg->offset, length);

	if (present && ram_write(ram, gpa, item->bytes + fw_cfg->offset, present) < 0)
		return -EFAULT;
	return present < length ? ram_fill(ram, gpa + present, 0, length - present) : 0;
}

static int dma_write(struct fw_cfg *fw_cfg, struct item *item, uint64_t gpa, uint32_t length)
{
	if (!item || !item->has_callback || !item->callback.written ||
	    !range_inside(fw_cfg->offset, length, item->length))
		return -EACCES;
	if (length && ram_read(fw_cfg->device.env->ram, gpa, item->bytes + fw_cfg->offset, length) < 0)
		return -EFAULT;
	item->callback.written(item->callback.opaque, fw_cfg->offset, length);
	return 0;
}

static int dma_transfer(struct fw_cfg *fw_cfg, uint32_t control, uint64_t gpa, uint32_t length)
{
	struct item *item;
	int rc = 0;

	if (control & DMA_SELECT)
		select_key(fw_cfg, (uint16_t)(control >> 16));
	item = find_key(fw_cfg, fw_cfg->selected);
	if (control & DMA_READ)
		rc = dma_read(fw_cfg, item, gpa, length);
	else if (control & DMA_WRITE)
		rc = dma_write(fw_cfg, item, gpa, length);
	else if (!(control & DMA_SKIP))
		return 0;
	if (rc == 0)
		move_on(fw_cfg, length);
	return rc;
}

/* The descriptor is read once, and answered by its control word: 0, or the error bit. */
static void dma_run(struct fw_cfg *fw_cfg, uint64_t gpa)
{
	struct ram *ram = fw_cfg->device.env->ram;
	struct {
		uint32_t control, length;
		uint64_t address;
	} descriptor;
	uint32_t answer;

	if (ram_read(ram, gpa, &descriptor, sizeof(descriptor)) < 0) {
		log_guest(fw_cfg->device.env->log, &fw_cfg->limit, "fw_cfg: DMA descriptor at 0x%llx is not in RAM",
			  (unsigned long long)gpa);
		return;
	}
	answer = dma_transfer(fw_cfg, be32toh(descriptor.control), be64toh(descriptor.address),
			      be32toh(descriptor.length)) < 0
			 ? htobe32(DMA_ERROR)
			 : 0;
	ram_write(ram, gpa, &answer, sizeof(answer));
}

static uint64_t port_read(void *opaque, uint64_t offset, unsigned size)
{
	struct fw_cfg *fw_cfg = opaque;
	uint64_t value = 0;

	pthread_mutex_lock(&fw_cfg->lock);
	if (offset == 1)
		value = read_byte(fw_cfg);
	pthread_mutex_unlock(&fw_cfg->lock);
	return value;
}

static void port_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct fw_cfg *fw_cfg = opaque;

	if (offset != 0 || size != 2)
		return; /* the data port ignores writes */
	pthread_mutex_lock(&fw_cfg->lock);
	select_key(fw_cfg, (uint16_t)value);
	pthread_mutex_unlock(&fw_cfg->lock);
}

static uint64_t dma_port_read(void *opaque, uint64_t offset, unsigned size)
{
	return htobe64(DMA_SIGNATURE) >> 8 * offset;
}

/* Big-endian halves; the low one starts the transfer. A whole 64-bit write comes in one piece. */
static void dma_port_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct fw_cfg *fw_cfg = opaque;

	pthread_mutex_lock(&fw_cfg->lock);
	if (size == 4 && offset == 0) {
		fw_cfg->dma_address = (uint64_t)be32toh((uint32_t)value) << 32;
	} else if ((size == 4 && offset == 4) || (size == 8 && offset == 0)) {
		uint64_t gpa = size == 8 ? be64toh(value) : fw_cfg->dma_address | be32toh((uint32_t)value);

		fw_cfg->dma_address = 0;
		dma_run(fw_cfg, gpa);
	}
	pthread_mutex_unlock(&fw_cfg->lock);
}

static const struct region_ops port_ops = {.read = port_read, .write = port_write, .min_width = 1, .max_width = 2};
static const struct region_ops dma_ops = {
	.read = dma_port_read, .write = dma_port_write, .min_width = 1, .max_width = 8};

/* --- life --- */

static void reset(struct device *device)
{
	struct fw_cfg *fw_cfg = (struct fw_cfg *)device;

	pthread_mutex_lock(&fw_cfg->lock);
	fw_cfg->selected = 0;
	fw_cfg->offset = 0;
	fw_cfg->dma_address = 0;
	pthread_mutex_unlock(&fw_cfg->lock);
}

static int init(struct device *device, struct error *err)
{
	struct fw_cfg *fw_cfg = (struct fw_cfg *)device;
	pthread_mutexattr_t attributes;

	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&fw_cfg->lock, &attributes);
	pthread_mutexattr_destroy(&attributes);
	fw_cfg->regions[0] = (struct region){"fw_cfg", &port_ops, fw_cfg, 0x510, 2, 0};
	fw_cfg->regions[1] = (struct region){"fw_cfg-dma", &dma_ops, fw_cfg, 0x514, 8, 0};
	if (isa_regions_add(device->env->io, fw_cfg->regions, 2, err) < 0)
		return -EBUSY;
	fw_cfg_add_bytes(fw_cfg, FW_CFG_SIGNATURE, "QEMU", 4);
	fw_cfg_add_u32(fw_cfg, FW_CFG_ID, ID_TRADITIONAL | ID_DMA);
	rebuild_directory(fw_cfg);
	return 0;
}

static void fini(struct device *device)
{
	struct fw_cfg *fw_cfg = (struct fw_cfg *)device;

	isa_regions_remove(device->env->io, fw_cfg->regions, 2);
	for (size_t i = 0; i < fw_cfg->count; i++) {
		if (!fw_cfg->items[i].borrowed)
			free(fw_cfg->items[i].bytes);
		free(fw_cfg->items[i].name);
	}
	free(fw_cfg->items);
}

/* No check: any selector, offset and address is one that a guest could have written. */
static const struct state_table state = {
	.name = "fw_cfg",
	.version = 1,
	.size = sizeof(struct fw_cfg),
	.fields =
		(const struct state_field[]){
			STATE_FIELD(STATE_U16, struct fw_cfg, selected),
			STATE_FIELD(STATE_U32, struct fw_cfg, offset),
			STATE_FIELD(STATE_U64, struct fw_cfg, dma_address),
			STATE_END,
		},
};

const struct device_class fw_cfg_class = {
	.name = "fw_cfg",
	.help = "firmware configuration",
	.bus = DEVICE_SYSTEM,
	.internal = true,
	.size = sizeof(struct fw_cfg),
	.state = &state,
	.init = init,
	.reset = reset,
	.fini = fini,
};

struct fw_cfg *fw_cfg_new(const struct device_env *env, struct error *err)
{
	struct fw_cfg *fw_cfg = (struct fw_cfg *)device_alloc(&fw_cfg_class, env);

	return device_realize(&fw_cfg->device, err) < 0 ? NULL : fw_cfg;
}
