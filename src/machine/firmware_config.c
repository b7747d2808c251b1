/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The fw_cfg files that SeaBIOS and OVMF read, with the names and forms that qemu gives them (qemu docs/specs/fw_cfg,
 * docs/bootindex; SeaBIOS docs/Runtime_config). Left out: NUMA, TPM.
 */
#include "machine/firmware_config.h"

#include "base/util.h"
#include "config/domain.h"
#include "device/pc/debug_ports.h"
#include "device/pc/fw_cfg.h"
#include "device/pc/vmgenid.h"
#include "machine/acpi/loader.h"
#include "machine/boot/firmware.h"
#include "machine/machine.h"
#include "machine/smbios/smbios.h"

#include <stdlib.h>

enum { E820_RAM = 1, E820_ENTRY_BYTES = 20 };
enum { SMBIOS_ANCHOR_BYTES = 31, SMBIOS_TABLES_OFFSET = 32 };

int firmware_config_add_acpi(struct fw_cfg *fw_cfg, const struct acpi_tables *acpi,
			     const struct fw_cfg_callback *selected, struct error *err)
{
	static const char *const names[] = {ACPI_TABLES_FILE, ACPI_RSDP_FILE, ACPI_LOADER_FILE};
	int ret = 0;

	for (size_t i = 0; i < ARRAY_SIZE(names) && !ret; i++)
		ret = fw_cfg_add_callback(fw_cfg, names[i], "", 0, selected, err);
	if (!ret)
		firmware_config_update_acpi(fw_cfg, acpi);
	return ret;
}

void firmware_config_update_acpi(struct fw_cfg *fw_cfg, const struct acpi_tables *acpi)
{
	size_t length;
	uint8_t *script = acpi_loader_script(acpi, &length);

	fw_cfg_update_file(fw_cfg, ACPI_TABLES_FILE, acpi->bytes, acpi->rsdp);
	fw_cfg_update_file(fw_cfg, ACPI_RSDP_FILE, acpi->bytes + acpi->rsdp, acpi->length - acpi->rsdp);
	fw_cfg_update_file(fw_cfg, ACPI_LOADER_FILE, script, length);
	free(script);
}

static int add_smbios(struct fw_cfg *fw_cfg, const struct domain_config *config, struct error *err)
{
	size_t length;
	uint8_t *tables = smbios_build(config, 0, &length, err);
	int ret;

	if (!tables)
		return -err->code;
	ret = fw_cfg_add_file(fw_cfg, "etc/smbios/smbios-anchor", tables, SMBIOS_ANCHOR_BYTES, err);
	if (!ret)
		ret = fw_cfg_add_file(fw_cfg, "etc/smbios/smbios-tables", tables + SMBIOS_TABLES_OFFSET,
				      length - SMBIOS_TABLES_OFFSET, err);
	free(tables);
	return ret;
}

static void put_e820(uint8_t *at, uint64_t gpa, uint64_t bytes)
{
	store_le64(at, gpa);
	store_le64(at + 8, bytes);
	store_le32(at + 16, E820_RAM);
}

int firmware_config_add(struct fw_cfg *fw_cfg, const struct domain_config *config, const struct firmware_memory *memory,
			struct error *err)
{
	/* Bit 7: S3 and S4 exist, which they do not; 1, 2, 0: the sleep types of S3, S4 and S5. */
	static const uint8_t system_states[6] = {0x80, 0, 0, 1, 2, 0x80};
	uint8_t e820[2 * E820_ENTRY_BYTES];
	int ret;

	put_e820(e820, 0, memory->below_4g);
	put_e820(e820 + E820_ENTRY_BYTES, 4 * GIB, memory->above_4g);
	ret = fw_cfg_add_file(fw_cfg, "etc/e820", e820, memory->above_4g ? sizeof(e820) : E820_ENTRY_BYTES, err);
	if (!ret)
		ret = fw_cfg_add_file(fw_cfg, "etc/system-states", system_states, sizeof(system_states), err);
	if (!ret)
		ret = add_smbios(fw_cfg, config, err);
	return ret;
}

/* --- boot order --- */

struct boot_entry {
	int32_t bootindex;
	char *path;
};

struct boot_entries {
	struct boot_entry *items;
	size_t count;
};

static void add_entry(struct boot_entries *entries, int32_t bootindex, char *path)
{
	entries->items = xrealloc(entries->items, (entries->count + 1) * sizeof(*entries->items));
	entries->items[entries->count++] = (struct boot_entry){bootindex, path};
}

static int by_bootindex(const void *a, const void *b)
{
	const struct boot_entry *x = a, *y = b;

	return x->bootindex < y->bootindex ? -1 : x->bootindex > y->bootindex;
}

static void collect(const struct machine *machine, struct boot_entries *entries)
{
	const struct config_list *roms = &machine->config->option_roms;

	for (const struct device *device = machine->devices; device; device = device->next) {
		const struct device_bus_ops *ops = device->env->bus_ops[device->class->bus];
		char *place;

		if (device->bootindex < 0 || !device->boot_name)
			continue;
		place = ops && ops->boot_path ? ops->boot_path(device) : xstrdup("");
		add_entry(entries, device->bootindex, xasprintf("%s%s", place, device->boot_name));
		free(place);
	}
	if (machine->config->kernel)
		add_entry(entries, 0, xstrdup("/rom@genroms/" FIRMWARE_KERNEL_ROM));
	for (size_t i = 0; i < roms->count; i++) {
		const char *name = strrchr(roms->items[i].type, '/');
		uint64_t bootindex = UINT64_MAX;

		options_u64((struct options *)&roms->items[i].options, "bootindex", &bootindex, INT32_MAX, NULL);
		if (bootindex <= INT32_MAX)
			add_entry(entries, (int32_t)bootindex,
				  xasprintf("/rom@genroms/%s", name ? name + 1 : roms->items[i].type));
	}
}

/* "PATH\nPATH"; NULL: nothing has a bootindex. */
static char *boot_list(const struct machine *machine, struct error *err)
{
	struct boot_entries entries = {0};
	char *list = NULL;

	collect(machine, &entries);
	if (entries.count)
		qsort(entries.items, entries.count, sizeof(*entries.items), by_bootindex);
	for (size_t i = 0; i < entries.count; i++) {
		char *longer = xasprintf("%s%s%s", list ? list : "", list ? "\n" : "", entries.items[i].path);

		if (i && entries.items[i].bootindex == entries.items[i - 1].bootindex)
			error_set(err, EBUSY, "The bootindex %d has already been used",
				  (int)entries.items[i].bootindex);
		free(list);
		list = longer;
	}
	for (size_t i = 0; i < entries.count; i++)
		free(entries.items[i].path);
	free(entries.items);
	return list;
}

static int add_u16_file(struct fw_cfg *fw_cfg, const char *name, uint16_t value, struct error *err)
{
	uint8_t bytes[2];

	store_le16(bytes, value);
	return fw_cfg_add_file(fw_cfg, name, bytes, sizeof(bytes), err);
}

/* The picture goes by a name that tells its kind. SeaBIOS shows it with the boot menu's message, when the menu is on. */
static int add_splash(struct fw_cfg *fw_cfg, const struct domain_config *config, struct error *err)
{
	enum { BMP_DEPTH = 28, LEAST_BYTES = 30, DEPTH = 24 };
	char *path = firmware_find(config->firmware_dirs, config->boot_splash, err);
	uint8_t *bytes = NULL;
	size_t length = 0;
	int ret = path ? 0 : -ENOENT;

	if (!ret)
		bytes = firmware_read(path, &length, err);
	free(path);
	if (!bytes && ret)
		return error_set(err, ENOENT, "-boot splash: there is no file '%s', neither here nor where -L looks", config->boot_splash);
	if (!bytes)
		return error_prefix(err, "-boot splash");
	if (length >= LEAST_BYTES && load_le16(bytes) == 0xd8ff)
		ret = fw_cfg_add_file(fw_cfg, "bootsplash.jpg", bytes, length, err);
	else if (length >= LEAST_BYTES && load_le16(bytes) == 0x4d42 && load_le16(bytes + BMP_DEPTH) == DEPTH)
		ret = fw_cfg_add_file(fw_cfg, "bootsplash.bmp", bytes, length, err);
	else
		ret = error_set(err, EINVAL, "-boot splash: '%s' is not a JPEG or a BMP of 24 bits a pixel",
				config->boot_splash);
	free(bytes);
	return ret;
}

int firmware_config_boot(struct machine *machine, struct fw_cfg *fw_cfg, struct error *err)
{
	const struct domain_config *config = machine->config;
	struct error own = {0};
	uint8_t fail_wait[4];
	char *list = boot_list(machine, &own);
	int ret;

	if (own.code) {
		free(list);
		*err = own;
		return -own.code;
	}
	if (list && config->boot_strict) {
		char *longer = xasprintf("%s\nHALT", list);

		free(list);
		list = longer;
	}
	for (struct device *device = machine->devices; device; device = device->next) {
		if (pvpanic_port(device))
			add_u16_file(fw_cfg, "etc/pvpanic-port", pvpanic_port(device), NULL);
		if (vmgenid_of(device) && vmgenid_add_files(vmgenid_of(device), fw_cfg, err))
			return -err->code;
	}
	ret = fw_cfg_add_file(fw_cfg, "bootorder", list ? list : "", list ? strlen(list) + 1 : 0, err);
	free(list);
	store_le32(fail_wait, (uint32_t)config->boot_fail_wait_ms);
	if (!ret)
		ret = fw_cfg_add_file(fw_cfg, "etc/boot-fail-wait", fail_wait, sizeof(fail_wait), err);
	if (!ret && config->boot_menu_wait_ms >= 0)
		ret = add_u16_file(fw_cfg, "etc/boot-menu-wait", (uint16_t)config->boot_menu_wait_ms, err);
	if (!ret && config->boot_splash && config->firmware)
		ret = add_splash(fw_cfg, config, err);
	return ret;
}
