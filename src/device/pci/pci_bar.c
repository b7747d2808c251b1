/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Base address registers and the expansion ROM (PCI Local Bus 3.0, 6.2.5): from what a guest writes to regions of the
 * buses, and doorbells that move along.
 *
 * What a guest writes only takes effect through pci_map_update, which looks at all functions again. It runs without a
 * lock, because bus_add waits for readers: the thread that finds the request counter at zero does the work and repeats it
 * while others ask for more.
 */
#include "device/pci/pci_internal.h"

#include "base/util.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Fixed platform regions win over a BAR that a guest lays across them. */
#define PCI_BAR_PRIORITY (-1)
#define PCI_ROM_ENABLE   1u
#define PCI_ROM_MAX      (16 * MIB)
#define UNMAPPED         UINT64_MAX

/* --- BARs: from registers to bus regions --- */

static struct bus *bar_bus(const struct pci_device *pci, const struct pci_bar *bar)
{
	return bar->kind & PCI_BAR_IO ? pci->bus->env->io : pci->bus->env->memory;
}

/* Where BAR n is to answer now, or UNMAPPED. Zero and the top of the space are where sizing passes through. */
static uint64_t bar_wanted(const struct pci_device *pci, unsigned n)
{
	const struct pci_bar *bar = &pci->bars[n];
	uint16_t command = pci_get16(pci, PCI_COMMAND);
	uint64_t base = pci_get32(pci, PCI_BAR0 + 4 * n);
	uint64_t limit = bar->kind & PCI_BAR_IO ? 0xffff : 0xfffffffe;

	if (!(command & (bar->kind & PCI_BAR_IO ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY)))
		return UNMAPPED;
	if (bar->kind & PCI_BAR_MEM64) {
		base |= (uint64_t)pci_get32(pci, PCI_BAR0 + 4 * n + 4) << 32;
		limit = UINT64_MAX - 1;
	}
	base &= ~(bar->region.size - 1);
	if (base == 0 || base + bar->region.size - 1 < base || base + bar->region.size - 1 > limit)
		return UNMAPPED;
	return base;
}

static uint64_t rom_wanted(const struct pci_device *pci)
{
	uint32_t value = pci_get32(pci, PCI_ROM);
	uint64_t base = value & ~(uint32_t)(pci->rom.region.size - 1);

	if (!(value & PCI_ROM_ENABLE) || !(pci_get16(pci, PCI_COMMAND) & PCI_COMMAND_MEMORY) || base == 0 ||
	    base + pci->rom.region.size - 1 > 0xfffffffe)
		return UNMAPPED;
	return base;
}

static void doorbells_off(struct pci_device *pci, const struct pci_bar *bar)
{
	pthread_mutex_lock(&pci->bus->doorbell_lock);
	for (struct pci_doorbell *doorbell = pci->doorbells; doorbell; doorbell = doorbell->next) {
		if (&pci->bars[doorbell->bar] != bar || !doorbell->rung_by_bus)
			continue;
		bus_doorbell_remove(bar_bus(pci, bar), &doorbell->absolute);
		doorbell->rung_by_bus = false;
	}
	pthread_mutex_unlock(&pci->bus->doorbell_lock);
}

static void doorbells_on(struct pci_device *pci, const struct pci_bar *bar)
{
	pthread_mutex_lock(&pci->bus->doorbell_lock);
	for (struct pci_doorbell *doorbell = pci->doorbells; doorbell; doorbell = doorbell->next) {
		if (&pci->bars[doorbell->bar] != bar || doorbell->rung_by_bus || !bar->mapped)
			continue;
		doorbell->absolute = doorbell->relative;
		doorbell->absolute.offset += bar->region.base;
		bus_doorbell_add(bar_bus(pci, bar), &doorbell->absolute);
		doorbell->rung_by_bus = true;
	}
	pthread_mutex_unlock(&pci->bus->doorbell_lock);
}

static void bar_unmap(struct pci_device *pci, struct pci_bar *bar)
{
	if (!bar->mapped)
		return;
	doorbells_off(pci, bar);
	bar->mapped = false;
	ram_window_hide(&bar->window);
	bus_remove(bar_bus(pci, bar), &bar->region);
}

static void bar_map(struct pci_device *pci, struct pci_bar *bar, uint64_t base)
{
	if (bar->mapped && bar->region.base == base)
		return;
	bar_unmap(pci, bar);
	bar->region.base = base;
	/* Beyond what the machine's address bus reaches: nobody would hear it. */
	if (bus_add(bar_bus(pci, bar), &bar->region, NULL) < 0)
		return;
	bar->mapped = true;
	if (bar->window.block)
		ram_window_show(&bar->window, base, bar == &pci->rom);
	doorbells_on(pci, bar);
}

static void function_map(struct pci_device *pci)
{
	for (unsigned n = 0; n <= ARRAY_SIZE(pci->bars); n++) {
		struct pci_bar *bar = n < ARRAY_SIZE(pci->bars) ? &pci->bars[n] : &pci->rom;
		uint64_t wanted;

		if (!bar->present)
			continue;
		pthread_mutex_lock(&pci->bus->lock);
		wanted = bar == &pci->rom ? rom_wanted(pci) : bar_wanted(pci, n);
		pthread_mutex_unlock(&pci->bus->lock);
		if (wanted == UNMAPPED)
			bar_unmap(pci, bar);
		else
			bar_map(pci, bar, wanted);
	}
}

void pci_map_update(struct pci_bus *bus)
{
	unsigned seen;

	if (atomic_fetch_add(&bus->map_requests, 1) > 0)
		return;
	do {
		seen = atomic_load(&bus->map_requests);
		for (unsigned devfn = 0; devfn < 256; devfn++) {
			struct pci_device *pci = pci_bus_device(bus, devfn);

			if (pci)
				function_map(pci);
		}
	} while (atomic_fetch_sub(&bus->map_requests, seen) != seen);
}

void pci_unmap(struct pci_device *pci)
{
	for (unsigned n = 0; n < ARRAY_SIZE(pci->bars); n++)
		bar_unmap(pci, &pci->bars[n]);
	bar_unmap(pci, &pci->rom);
	while (pci->doorbells) {
		struct pci_doorbell *doorbell = pci->doorbells;

		pci->doorbells = doorbell->next;
		free(doorbell);
	}
}

void pci_doorbell_add(struct pci_device *pci, unsigned bar, const struct doorbell *relative)
{
	struct pci_doorbell *doorbell = xcalloc(1, sizeof(*doorbell));

	doorbell->bar = bar;
	doorbell->relative = *relative;
	pthread_mutex_lock(&pci->bus->doorbell_lock);
	doorbell->next = pci->doorbells;
	pci->doorbells = doorbell;
	pthread_mutex_unlock(&pci->bus->doorbell_lock);
	doorbells_on(pci, &pci->bars[bar]);
}

void pci_doorbell_remove(struct pci_device *pci, unsigned bar, const struct doorbell *relative)
{
	struct pci_doorbell *found = NULL;

	pthread_mutex_lock(&pci->bus->doorbell_lock);
	for (struct pci_doorbell **at = &pci->doorbells; *at; at = &(*at)->next) {
		if ((*at)->bar == bar && (*at)->relative.offset == relative->offset &&
		    (*at)->relative.event_fd == relative->event_fd) {
			found = *at;
			*at = found->next;
			break;
		}
	}
	if (found && found->rung_by_bus)
		bus_doorbell_remove(bar_bus(pci, &pci->bars[bar]), &found->absolute);
	pthread_mutex_unlock(&pci->bus->doorbell_lock);
	free(found);
}

/* --- declaring what a function has --- */

/* A BAR's callbacks stand behind these: a vCPU that looked a region up just before another one moved it would else
 * reach the device with an offset outside of it. */
static uint64_t bar_read(void *opaque, uint64_t offset, unsigned size)
{
	const struct pci_bar *bar = opaque;

	return range_inside(offset, size, bar->region.size) ? bar->ops->read(bar->opaque, offset, size) : UINT64_MAX;
}

static void bar_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	const struct pci_bar *bar = opaque;

	if (range_inside(offset, size, bar->region.size))
		bar->ops->write(bar->opaque, offset, value, size);
}

static void bar_init(struct pci_bar *bar, uint8_t kind, const char *name, const struct region_ops *ops, void *opaque,
                     uint64_t size)
{
	bar->kind = kind;
	bar->ops = ops;
	bar->opaque = opaque;
	bar->guarded_ops = (struct region_ops){
	        .read = bar_read, .write = bar_write, .min_width = ops->min_width, .max_width = ops->max_width};
	bar->region = (struct region){
	        .name = name, .ops = &bar->guarded_ops, .opaque = bar, .size = size, .priority = PCI_BAR_PRIORITY};
	bar->present = true;
}

int pci_bar_add(struct pci_device *pci, unsigned n, uint8_t kind, const char *name, const struct region_ops *ops,
                void *opaque, uint64_t size, struct error *err)
{
	uint64_t least = kind & PCI_BAR_IO ? 4 : 16;
	uint64_t most = kind & PCI_BAR_IO ? 256 : kind & PCI_BAR_MEM64 ? 1ull << 62 : 1ull << 31;
	unsigned width = kind & PCI_BAR_MEM64 ? 2 : 1;
	uint64_t mask = ~(size - 1);

	if (n + width > ARRAY_SIZE(pci->bars) || !is_power_of_two(size) || size < least || size > most)
		return error_set(err, EINVAL, "BAR %u of %s cannot have 0x%llx bytes", n, pci->device.class->name,
		                 (unsigned long long)size);
	for (unsigned i = 0; i < 6; i++)
		if (pci->bars[i].present && i < n + width && n < i + (pci->bars[i].kind & PCI_BAR_MEM64 ? 2 : 1))
			return error_set(err, EBUSY, "BAR %u of %s is used twice", n, pci->device.class->name);
	bar_init(&pci->bars[n], kind, name, ops, opaque, size);
	pci->config[PCI_BAR0 + 4 * n] = kind;
	store_le32(pci->write_mask + PCI_BAR0 + 4 * n, (uint32_t)mask & (kind & PCI_BAR_IO ? ~3u : ~15u));
	if (width == 2)
		store_le32(pci->write_mask + PCI_BAR0 + 4 * n + 4, (uint32_t)(mask >> 32));
	return 0;
}

/* The way of what reaches a memory BAR not by its window: accesses of odd places, and of all while there is no window. */
static uint64_t memory_read(void *opaque, uint64_t offset, unsigned size)
{
	const struct ram_block *block = opaque;
	uint64_t value = UINT64_MAX;

	if (range_inside(offset, size, block->size))
		memcpy(&value, block->hva + offset, size);
	return value;
}

static void memory_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct ram_block *block = opaque;

	if (!range_inside(offset, size, block->size))
		return;
	memcpy(block->hva + offset, &value, size);
	ram_block_written(block, offset, size);
}

static const struct region_ops memory_ops = {.read = memory_read, .write = memory_write};

int pci_bar_add_memory(struct pci_device *pci, unsigned n, uint8_t kind, struct ram_block *block, struct error *err)
{
	int rc = pci_bar_add(pci, n, kind, block->name, &memory_ops, block, block->size, err);

	if (rc == 0)
		pci->bars[n].window = (struct ram_window){.block = block, .size = block->size};
	return rc;
}

static void rom_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
}

static const struct region_ops rom_ops = {.read = memory_read, .write = rom_write};

int pci_rom_add(struct pci_device *pci, const void *data, size_t bytes, struct error *err)
{
	struct ram_block *block;
	uint64_t size = PAGE_SIZE;
	char *name;

	if (bytes == 0 || bytes > PCI_ROM_MAX)
		return error_set(err, EINVAL, "an expansion ROM of %zu bytes; 1 byte to 16 MiB are possible", bytes);
	while (size < bytes)
		size *= 2;
	name = xasprintf("%s.rom", pci->device.class->name);
	block = ram_block_new(pci->bus->env->ram, name, size, err);
	free(name);
	if (!block)
		return -ENOMEM;
	memset(block->hva + bytes, 0xff, size - bytes);
	memcpy(block->hva, data, bytes);
	bar_init(&pci->rom, PCI_BAR_MEM32, block->name, &rom_ops, block, size);
	pci->rom.window = (struct ram_window){.block = block, .size = size};
	store_le32(pci->write_mask + PCI_ROM, (uint32_t)~(size - 1) | PCI_ROM_ENABLE);
	return 0;
}

/* Firmware runs a ROM only when the ids in its PCI data structure (PCI firmware specification 3.0, 5.1.2) are the
 * function's; one ROM serves several models. */
void pci_rom_patch_ids(struct pci_device *pci)
{
	static const uint8_t ids[4] = {PCI_VENDOR, PCI_VENDOR + 1, PCI_DEVICE, PCI_DEVICE + 1};
	uint8_t *rom;
	size_t at;

	if (!pci->rom.present)
		return;
	rom = pci->rom.window.block->hva;
	at = load_le16(rom + 0x18);
	if (rom[0] != 0x55 || rom[1] != 0xaa || at + 8 > pci->rom.window.size || memcmp(rom + at, "PCIR", 4))
		return;
	for (unsigned i = 0; i < 4; i++) {
		rom[6] += rom[at + 4 + i] - pci->config[ids[i]]; /* keeps the sum of all bytes at 0 */
		rom[at + 4 + i] = pci->config[ids[i]];
	}
}

static int romfile_read(struct pci_device *pci, const char *path, struct error *err)
{
	uint8_t *data = NULL;
	struct stat st;
	int rc, fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) < 0) {
		rc = error_set_errno(err, errno, "romfile=%s", path);
	} else if (!S_ISREG(st.st_mode) || st.st_size == 0 || (uint64_t)st.st_size > PCI_ROM_MAX) {
		rc = error_set(err, EINVAL, "romfile=%s: not a file of 1 byte to 16 MiB", path);
	} else {
		data = malloc((size_t)st.st_size);
		if (!data)
			rc = error_set_errno(err, ENOMEM, "romfile=%s", path);
		else if (read(fd, data, (size_t)st.st_size) != st.st_size)
			rc = error_set(err, EIO, "romfile=%s: short read", path);
		else
			rc = pci_rom_add(pci, data, (size_t)st.st_size, err);
	}
	if (fd >= 0)
		close(fd);
	free(data);
	return rc;
}

static bool romfile_is_default(const struct pci_device *pci)
{
	const struct property *property = pci->device.class->properties;

	while (property && property->name && strcmp(property->name, "romfile"))
		property++;
	return property && property->name && property->fallback && !strcmp(property->fallback, pci->romfile);
}

/* The file of a device's own default matters to firmware alone, and its package need not be installed. */
int pci_romfile_load(struct pci_device *pci, struct error *err)
{
	const struct device_env *env = pci->bus->env;
	bool optional = romfile_is_default(pci);
	struct error missing = {0};
	char *path;
	int rc;

	if (optional && !env->firmware)
		return 0;
	path = env->find_rom ? env->find_rom(env->find_rom_opaque, pci->romfile, &missing) : xstrdup(pci->romfile);
	if (!path && optional) {
		log_warn(env->log, "%s: option %s", pci->device.class->name, missing.msg);
		return 0;
	}
	if (!path)
		return error_set(err, ENOENT, "romfile=%s: %s", pci->romfile, missing.msg);
	rc = romfile_read(pci, path, err);
	free(path);
	return rc;
}
