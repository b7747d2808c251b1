/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The board "pc" and its firmware: a ROM or flash chips below 4 GiB, and all that firmware looks up: fw_cfg files, the
 * boot order in CMOS (where SeaBIOS takes over from Bochs: 0x3d and 0x38), option ROMs that have no BAR.
 */
#include "base/util.h"
#include "config/domain.h"
#include "device/pc/acpi_pm.h"
#include "device/pc/cfi_flash.h"
#include "device/pc/fw_cfg.h"
#include "device/pc/mc146818.h"
#include "device/pci/pci.h"
#include "machine/acpi/acpi.h"
#include "machine/boot/boot.h"
#include "machine/boot/firmware.h"
#include "machine/firmware_config.h"
#include "machine/pc.h"

#include <stdlib.h>

#define FLASH_CHIPS 2
enum { CMOS_BOOT_THIRD = 0x38, CMOS_BOOT_FIRST = 0x3d };
#define DEFAULT_BOOT_ORDER "cad"

/* --- where it is --- */

/* The node or drive of flash chip `unit`, or NULL. */
static const char *flash_drive(const struct domain_config *config, unsigned unit)
{
	static const char *const keys[FLASH_CHIPS] = {"pflash0", "pflash1"};

	for (size_t i = 0; i < config->drive_count; i++)
		if (config->drives[i].interface == DRIVE_PFLASH && config->drives[i].unit == (int)unit)
			return config->drives[i].id;
	return options_get((struct options *)&config->board_options, keys[unit]);
}

/* OVMF's builds with secure boot end in a loop without a word. */
static void warn_of_smm(struct machine *machine)
{
	const struct domain_config *config = machine->config;

	for (size_t i = 0; i < config->drive_count; i++) {
		const struct drive_config *drive = &config->drives[i];

		if (drive->interface == DRIVE_PFLASH && drive->unit == 0 && drive->file && firmware_needs_smm(drive->file))
			log_warn(machine->log,
				 "firmware '%s' needs system management mode, which this machine does not have, and will not "
				 "start; OVMF_CODE_4M.fd does without",
				 drive->file);
	}
}

/* Chip 0, the firmware, ends at 4 GiB; chip 1, its variables, lies below. */
static int build_flash(struct machine *machine, struct board_state *board, struct error *err)
{
	uint64_t end = 4 * GIB;
	int ret = 0;

	warn_of_smm(machine);
	for (unsigned unit = 0; !ret && unit < FLASH_CHIPS; unit++) {
		const char *drive = flash_drive(machine->config, unit);
		struct device *flash;

		if (!drive)
			break;
		flash = device_alloc(&cfi_flash_class, &machine->env);
		flash->id = xasprintf("system.flash%u", unit);
		cfi_flash_set_end(flash, end);
		ret = device_set_property(flash, "drive", drive, err);
		ret = ret ? ret : device_realize(flash, err);
		if (ret)
			return ret;
		machine_add_device(machine, flash);
		end = cfi_flash_base(flash);
		if (unit == 0) {
			board->firmware = cfi_flash_block(flash);
			board->firmware_gpa = end;
		}
	}
	return ret;
}

static int build_rom(struct machine *machine, struct board_state *board, struct error *err)
{
	const struct domain_config *config = machine->config;

	board->firmware_path =
		firmware_find(config->firmware_dirs, config->bios ? config->bios : FIRMWARE_DEFAULT, err);
	if (board->firmware_path)
		board->firmware = firmware_load(machine->ram, board->firmware_path, err);
	if (!board->firmware)
		return config->bios ? -EINVAL : error_prefix(err, "no -kernel given"); /* -bios, or -machine firmware= */
	board->firmware_high = (struct ram_window){.block = board->firmware, .size = board->firmware->size};
	board->firmware_gpa = 4 * GIB - board->firmware->size;
	ram_window_show(&board->firmware_high, board->firmware_gpa, true);
	return 0;
}

int pc_firmware_build(struct machine *machine, struct error *err)
{
	struct board_state *board = machine->private_data->board_state;

	if (flash_drive(machine->config, 0))
		return build_flash(machine, board, err);
	return build_rom(machine, board, err);
}

void pc_firmware_free(struct board_state *board)
{
	boot_handover_free(board->handover);
	free(board->firmware_path);
}

/* --- boot order --- */

/* Up to three places: 1 floppy, 2 disk, 3 CD-ROM, 4 network. */
int pc_set_boot_order(struct machine *machine, const char *letters, struct error *err)
{
	struct mc146818 *rtc = machine->private_data->board_state->rtc;
	uint8_t places[3] = {0};

	for (size_t i = 0; letters[i]; i++) {
		static const char *const kinds[] = {"ab", "c", "d", "n"};

		if (letters[i] < 'a' || letters[i] > 'p')
			return error_set(err, EINVAL, "Invalid boot device '%c'", letters[i]);
		if (memchr(letters, letters[i], i))
			return error_set(err, EINVAL, "Boot device '%c' was given twice", letters[i]);
		if (i == ARRAY_SIZE(places))
			return error_set(err, EINVAL, "Too many boot devices for PC");
		for (uint8_t kind = 0; kind < ARRAY_SIZE(kinds); kind++)
			if (strchr(kinds[kind], letters[i]))
				places[i] = (uint8_t)(kind + 1);
		if (!places[i])
			return error_set(err, EINVAL, "Invalid boot device for PC");
	}
	mc146818_set_cmos(rtc, CMOS_BOOT_FIRST, (uint8_t)(places[1] << 4 | places[0]));
	mc146818_set_cmos(rtc, CMOS_BOOT_THIRD, (uint8_t)(places[2] << 4));
	return 0;
}

/* At power-on as the command line says; at the first reset the first time is over. */
static int place_boot_order(struct machine *machine, struct board_state *board, struct error *err)
{
	const struct domain_config *config = machine->config;
	const char *order = config->boot_order ? config->boot_order : DEFAULT_BOOT_ORDER;
	bool first = !board->booted_once;

	board->booted_once = true;
	if (first)
		return pc_set_boot_order(machine, config->boot_once ? config->boot_once : order, err);
	return config->boot_once ? pc_set_boot_order(machine, order, err) : 0;
}

/* --- option ROMs that have no BAR --- */

static int add_rom_file(struct machine *machine, struct board_state *board, const char *directory, const char *name,
			struct error *err)
{
	char *path = firmware_find(machine->config->firmware_dirs, name, err), *file;
	uint8_t *bytes;
	size_t length;
	int ret;

	if (!path)
		return -ENOENT;
	bytes = firmware_read(path, &length, err);
	ret = bytes ? 0 : -err->code;
	file = xasprintf("%s/%s", directory, strrchr(path, '/') ? strrchr(path, '/') + 1 : path);
	if (!ret)
		ret = fw_cfg_add_file(board->fw_cfg, file, bytes, length, err);
	free(file);
	free(bytes);
	free(path);
	return ret;
}

/* -option-rom, and romfile= of functions with rombar=0. */
static int add_roms(struct machine *machine, struct board_state *board, struct error *err)
{
	const struct domain_config *config = machine->config;
	int ret = 0;

	for (size_t i = 0; !ret && i < config->option_roms.count; i++)
		ret = add_rom_file(machine, board, "genroms", config->option_roms.items[i].type, err);
	if (ret)
		return error_prefix(err, "-option-rom");
	for (unsigned devfn = 0; !ret && devfn < 256; devfn++) {
		struct pci_device *pci = pci_bus_device(machine->env.pci_bus, devfn);

		if (!pci || pci->rombar || !pci->romfile || !*pci->romfile)
			continue;
		ret = add_rom_file(machine, board, pci_config_read(pci, 0x0a, 2) == 0x0300 ? "vgaroms" : "genroms",
				   pci->romfile, err);
		if (ret)
			return error_prefix(err, "romfile=%s", pci->romfile);
	}
	return ret;
}

/* --- a kernel that firmware starts --- */

/* Under SeaBIOS an option ROM starts it (firmware_config_boot puts it before all disks); OVMF looks for the items by itself. */
static void add_part(struct fw_cfg *fw_cfg, const struct boot_part *part, uint16_t gpa_key, uint16_t size_key, uint16_t data_key)
{
	fw_cfg_add_u32(fw_cfg, gpa_key, (uint32_t)part->gpa);
	fw_cfg_add_u32(fw_cfg, size_key, (uint32_t)part->size);
	if (part->bytes)
		fw_cfg_add_borrowed(fw_cfg, data_key, part->bytes, part->size);
}

static int add_kernel(struct machine *machine, struct board_state *board, struct error *err)
{
	const struct domain_config *config = machine->config;
	const struct boot_source source = {config->kernel, config->initrd, config->append};
	struct fw_cfg *fw_cfg = board->fw_cfg;
	struct boot_handover *handover = boot_handover_new(&source, pc_ram_below_4g(machine), err);

	board->handover = handover;
	if (!handover)
		return -err->code;
	add_part(fw_cfg, &handover->setup, FW_CFG_SETUP_ADDR, FW_CFG_SETUP_SIZE, FW_CFG_SETUP_DATA);
	add_part(fw_cfg, &handover->kernel, FW_CFG_KERNEL_ADDR, FW_CFG_KERNEL_SIZE, FW_CFG_KERNEL_DATA);
	if (handover->initrd.bytes)
		add_part(fw_cfg, &handover->initrd, FW_CFG_INITRD_ADDR, FW_CFG_INITRD_SIZE, FW_CFG_INITRD_DATA);
	fw_cfg_add_u32(fw_cfg, FW_CFG_CMDLINE_ADDR, (uint32_t)handover->cmdline_gpa);
	fw_cfg_add_u32(fw_cfg, FW_CFG_CMDLINE_SIZE, (uint32_t)strlen(handover->cmdline) + 1);
	fw_cfg_add_string(fw_cfg, FW_CFG_CMDLINE_DATA, handover->cmdline);
	return add_rom_file(machine, board, "genroms", FIRMWARE_KERNEL_ROM, err);
}

/* --- what it is told --- */

/* Firmware reads the tables when it has placed what they speak of. */
static void tables_selected(void *opaque)
{
	struct machine *machine = opaque;
	struct board_state *board = machine->private_data->board_state;
	struct acpi_tables tables;

	pc_build_acpi(machine, board, 0, &tables);
	firmware_config_update_acpi(board->fw_cfg, &tables);
	acpi_tables_free(&tables);
}

static int add_tables(struct machine *machine, struct board_state *board, struct error *err)
{
	const uint64_t low = pc_ram_below_4g(machine);
	const struct firmware_memory memory = {low, machine->config->ram_bytes - low};
	const struct fw_cfg_callback selected = {.select = tables_selected, .opaque = machine};
	struct acpi_tables tables;
	int ret;

	pc_build_acpi(machine, board, 0, &tables);
	ret = firmware_config_add_acpi(board->fw_cfg, &tables, &selected, err);
	acpi_tables_free(&tables);
	return ret ? ret : firmware_config_add(board->fw_cfg, machine->config, &memory, err);
}

int pc_firmware_describe(struct machine *machine, struct error *err)
{
	struct board_state *board = machine->private_data->board_state;
	bool first = !board->booted_once;
	int ret = place_boot_order(machine, board, err);

	fw_cfg_add_u16(board->fw_cfg, FW_CFG_BOOT_MENU, machine->config->boot_menu);
	fw_cfg_add_u32(board->fw_cfg, FW_CFG_ARCH_LOCAL + 2, 1); /* the 8254's interrupt is the IOAPIC's pin 2 */
	if (!ret)
		ret = add_tables(machine, board, err);
	if (!ret && first)
		ret = add_roms(machine, board, err);
	if (!ret && first && machine->config->kernel)
		ret = add_kernel(machine, board, err);
	return ret ? ret : firmware_config_boot(machine, board->fw_cfg, err);
}

/* --- what the monitor shows --- */

bool pc_rom_at(struct machine *machine, size_t index, struct rom_info *rom)
{
	const struct board_state *board = machine->private_data->board_state;
	size_t seen = 0;

	if (board->firmware && index == seen++) {
		const char *name = board->firmware_path ? board->firmware_path : board->firmware->name;

		*rom = (struct rom_info){.gpa = board->firmware_gpa,
					 .bytes = board->firmware->size,
					 .name = strrchr(name, '/') ? strrchr(name, '/') + 1 : name};
		return true;
	}
	for (unsigned devfn = 0; devfn < 256; devfn++) {
		const struct pci_device *pci = pci_bus_device(machine->env.pci_bus, devfn);

		if (!pci || !pci->rom.present || index != seen++)
			continue;
		*rom = (struct rom_info){.gpa = pci->rom.mapped ? pci->rom.region.base : 0,
					 .bytes = pci->rom.region.size,
					 .name = pci->romfile,
					 .devfn = devfn};
		return true;
	}
	for (size_t i = 0; (rom->file = fw_cfg_file_at(board->fw_cfg, i, &rom->bytes)); i++) {
		if (index != seen++)
			continue;
		rom->name = rom->file;
		return true;
	}
	return false;
}
