/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Board "pc": i440FX host bridge, PIIX3 south bridge and what a PC has soldered on. Interrupts: the software engines get
 * the 8259 pair, IOAPIC and local APICs of device/pc; an engine with an irqchip of its own (KVM) keeps those in the kernel.
 *
 * Firmware (-bios, SeaBIOS when there is no -kernel) is a ROM that ends at 4 GiB; its last 128 KiB are also seen below
 * 1 MiB until the PAM registers say otherwise. Without firmware the board leaves behind what firmware would have: RAM in
 * place of ROMs, PCI interrupt routing (PIRQA..D on 10 10 11 11, level-triggered), ACPI tables at 0xe0000 and SMBIOS at
 * 0xf0000, local APICs in virtual wire mode.
 */
#include "base/util.h"
#include "config/domain.h"
#include "core/bus.h"
#include "core/engine.h"
#include "core/ram.h"
#include "cpu/x86/features.h"
#include "device/display/display_devices.h"
#include "device/net/net_devices.h"
#include "device/pc/acpi_pm.h"
#include "device/pc/debug_ports.h"
#include "device/pc/fw_cfg.h"
#include "device/pc/hpet.h"
#include "device/pc/i8042.h"
#include "device/pc/i8237.h"
#include "device/pc/i8254.h"
#include "device/pc/i8259.h"
#include "device/pc/ioapic.h"
#include "device/pc/isa.h"
#include "device/pc/lapic.h"
#include "device/pc/mc146818.h"
#include "device/pc/vmgenid.h"
#include "device/pci/pci.h"
#include "device/storage/storage.h"
#include "device/virtio/virtio.h"
#include "machine/acpi/acpi.h"
#include "machine/internal.h"
#include "machine/pc.h"
#include "machine/smbios/smbios.h"

#include <stdio.h>
#include <stdlib.h>

#define LOW_RAM_BYTES     0xa0000ull
#define ACPI_GPA          0xe0000ull
#define SMBIOS_GPA        0xf0000ull
#define VMGENID_GPA       (SMBIOS_GPA - VMGENID_PAGE_BYTES)
#define MAX_LOW_RAM_BYTES 0xe0000000ull /* 3.5 GiB: RAM beyond goes above 4 GiB */
#define PCI32_FIRST       0xe0000000ull
#define PCI32_LAST        0xfebfffffull
#define CMOS_CPUS         0x5f /* SeaBIOS: CPUs but the first */

uint64_t pc_ram_below_4g(const struct machine *machine)
{
	return min_u64(machine->config->ram_bytes, MAX_LOW_RAM_BYTES);
}

/* --- memory --- */

static int map_one(struct machine *machine, uint64_t gpa, uint64_t size, uint64_t fd_offset, struct error *err)
{
	return size ? ram_map(machine->ram, gpa, size, fd_offset, false, err) : 0;
}

static int pc_map_ram(struct machine *machine, struct error *err)
{
	uint64_t low = pc_ram_below_4g(machine);
	int ret;

	if (low < 2 * MIB)
		return error_set(err, EINVAL, "-m: a PC needs at least 2 MiB of RAM");
	ret = map_one(machine, 0, LOW_RAM_BYTES, 0, err);
	if (!ret)
		ret = map_one(machine, MIB, low - MIB, MIB, err);
	if (!ret)
		ret = map_one(machine, 4 * GIB, machine->config->ram_bytes - low, low, err);
	return ret;
}

/* --- interrupt controllers --- */

/* An ISA line reaches the 8259 pair and the IOAPIC; line 0 is on the IOAPIC's pin 2. */
static void software_isa_line(void *opaque, unsigned line, bool level)
{
	struct board_state *board = opaque;

	irq_set(&board->pic_lines[line], level);
	irq_set(&board->ioapic_lines[line], level);
}

static void kernel_isa_line(void *opaque, unsigned line, bool level)
{
	struct engine *engine = opaque;

	engine->ops->irqchip->set_line(engine, line, level);
}

static int build_software_irqchip(struct machine *machine, struct board_state *board, struct error *err)
{
	struct lapic_config config = {.phys_bits = 40, .x2apic = true, .tsc_deadline = true};
	struct x86_features features;

	x86_features_from(&features, &machine->private_data->cpuid);
	config.x2apic = features.x2apic;
	config.tsc_deadline = features.tsc_deadline;
	board->lapics = lapic_set_new(&machine->env);
	machine->env.msi = lapic_set_msi(board->lapics);
	board->pic = i8259_new(&machine->env, lapic_set_extint(board->lapics), err);
	if (!board->pic)
		return -err->code;
	machine_add_device(machine, (struct device *)board->pic);
	lapic_set_pic(board->lapics, i8259_ack, board->pic);
	board->ioapic = ioapic_new(&machine->env, machine->env.msi, err);
	if (!board->ioapic)
		return -err->code;
	machine_add_device(machine, (struct device *)board->ioapic);
	lapic_set_eoi(board->lapics, ioapic_eoi, board->ioapic);
	board->apics = xcalloc(machine->vcpu_count, sizeof(*board->apics));
	for (unsigned i = 0; i < machine->vcpu_count; i++) {
		board->apics[i] = lapic_new(&machine->env, board->lapics, machine->vcpus[i], &config, err);
		if (!board->apics[i])
			return -err->code;
		machine_add_device(machine, (struct device *)board->apics[i]);
	}
	for (unsigned line = 0; line < 16; line++) {
		board->pic_lines[line] = i8259_input(board->pic, line);
		board->ioapic_lines[line] = ioapic_pin(board->ioapic, line ? line : 2);
		machine->env.isa_irq[line] = (struct irq){software_isa_line, board, line};
	}
	return 0;
}

static int build_irqchip(struct machine *machine, struct board_state *board, struct error *err)
{
	const struct engine_irqchip_ops *irqchip = machine->engine->ops->irqchip;

	if (!irqchip)
		return build_software_irqchip(machine, board, err);
	machine->env.msi = irqchip->msi(machine->engine);
	for (unsigned line = 0; line < 16; line++)
		machine->env.isa_irq[line] = (struct irq){kernel_isa_line, machine->engine, line};
	return 0;
}

/* --- devices on the board --- */

static int add(struct machine *machine, void *device, const struct error *err)
{
	if (!device)
		return err->code ? -err->code : -EINVAL;
	machine_add_device(machine, device);
	return 0;
}

/* What the battery-backed clock shows at power-on: ns since 1970 in the guest's own calendar. */
static int64_t calendar_ns(const struct rtc_config *rtc)
{
	struct timespec now;
	struct tm local;

	clock_gettime(CLOCK_REALTIME, &now);
	if (rtc->base == RTC_BASE_DATE)
		return rtc->date * NS_PER_S;
	if (rtc->base == RTC_BASE_LOCALTIME && localtime_r(&now.tv_sec, &local))
		now.tv_sec += local.tm_gmtoff;
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

/* HPET timers may be routed to the IOAPIC pins that no ISA or PCI interrupt uses. */
static struct hpet *build_hpet(struct machine *machine, struct board_state *board, struct error *err)
{
	const struct irq legacy[2] = {machine->env.isa_irq[0], machine->env.isa_irq[8]};
	struct irq wires[24] = {0};

	for (unsigned pin = 16; pin < ARRAY_SIZE(wires); pin++)
		wires[pin] = board->ioapic ? ioapic_pin(board->ioapic, pin)
		                           : (struct irq){kernel_isa_line, machine->engine, pin};
	return hpet_new(&machine->env, wires, legacy, err);
}

/* The HPET can take over the lines of the PIT and the RTC (legacy replacement). */
static int build_timers(struct machine *machine, struct board_state *board, struct error *err)
{
	const struct domain_config *config = machine->config;
	struct irq pit_output = machine->env.isa_irq[0], rtc_output = machine->env.isa_irq[8];
	struct mc146818_config rtc = {calendar_ns(&config->rtc), config->rtc.clock == RTC_CLOCK_HOST && !config->stepped,
	                              config->rtc.drift_slew};
	int ret;

	board->hpet = true;
	ret = options_bool((struct options *)&config->board_options, "hpet", &board->hpet, err);
	if (!ret && board->hpet) {
		struct hpet *hpet = build_hpet(machine, board, err);

		ret = add(machine, hpet, err);
		if (!ret) {
			pit_output = hpet_legacy_input(hpet, 0);
			rtc_output = hpet_legacy_input(hpet, 1);
		}
	}
	if (!ret) {
		board->rtc = mc146818_new(&machine->env, rtc_output, &rtc, err);
		ret = add(machine, board->rtc, err);
	}
	if (!ret) {
		mc146818_set_memory(board->rtc, pc_ram_below_4g(machine), config->ram_bytes - pc_ram_below_4g(machine));
		mc146818_set_cmos(board->rtc, CMOS_CPUS, (uint8_t)(config->vcpus - 1));
		ret = add(machine, i8254_new(&machine->env, pit_output, err), err);
	}
	return ret;
}

static void place_power_management(void *opaque, uint16_t io_base)
{
	acpi_pm_place(opaque, io_base);
}

static int build_pci(struct machine *machine, struct board_state *board, struct error *err)
{
	struct irq wires[4];
	int ret;

	machine->env.bus_ops[DEVICE_PCI] = &pci_device_bus_ops;
	machine->env.bus_ops[DEVICE_VIRTIO_SERIAL] = &virtio_serial_bus_ops;
	board->piix3 = device_alloc(&piix3_class, &machine->env);
	piix3_pirq(board->piix3, wires);
	machine->env.pci_bus = pci_bus_new(&machine->env, wires);
	board->bridge = device_create(&i440fx_class, &machine->env, NULL, NULL, err);
	ret = add(machine, board->bridge, err);
	if (!ret) {
		i440fx_set_firmware(board->bridge, board->firmware);
		ret = device_realize(board->piix3, err);
		if (!ret)
			machine_add_device(machine, board->piix3);
	}
	if (!ret) {
		machine->env.ata_ports = board->ata_ports = ata_port_list_new();
		machine->env.bus_ops[DEVICE_IDE] = &ata_bus_ops;
		machine->env.scsi_buses = board->scsi_buses = scsi_bus_list_new();
		machine->env.bus_ops[DEVICE_SCSI] = &scsi_bus_ops;
		board->ide = device_create(&piix3_ide_class, &machine->env, NULL, NULL, err);
		ret = add(machine, board->ide, err);
	}
	if (!ret) {
		board->power = device_alloc(&piix4_pm_class, &machine->env);
		piix4_pm_on_place(board->power, place_power_management, board->pm);
		ret = device_realize(board->power, err);
		if (!ret)
			machine_add_device(machine, board->power);
	}
	return ret;
}

/* The card that is soldered on, at slot 2, as on qemu's board. */
static int build_vga(struct machine *machine, struct error *err)
{
	static const struct {
		const char *name;
		const struct device_class *class;
	} cards[] = {{"std", &vga_pci_class}, {"cirrus", &cirrus_class}};

	for (size_t i = 0; i < ARRAY_SIZE(cards); i++)
		if (!strcmp(machine->config->vga, cards[i].name))
			return add(machine,
			           device_create(cards[i].class, &machine->env, NULL,
			                         (struct options *)&machine->config->globals, err),
			           err);
	return 0;
}

static int build_fw_cfg(struct machine *machine, struct board_state *board, struct error *err)
{
	const struct domain_config *config = machine->config;
	int ret;

	board->fw_cfg = fw_cfg_new(&machine->env, err);
	ret = add(machine, board->fw_cfg, err);
	if (ret)
		return ret;
	fw_cfg_add_u64(board->fw_cfg, FW_CFG_RAM_SIZE, config->ram_bytes);
	fw_cfg_add_u16(board->fw_cfg, FW_CFG_NB_CPUS, machine->vcpu_count);
	fw_cfg_add_u16(board->fw_cfg, FW_CFG_MAX_CPUS, config->max_vcpus);
	fw_cfg_add_u16(board->fw_cfg, FW_CFG_NOGRAPHIC, config->no_graphic);
	for (size_t i = 0; !ret && i < config->fw_cfg.count; i++)
		ret = fw_cfg_add_option(board->fw_cfg, config->fw_cfg.items[i].type, &config->fw_cfg.items[i].options,
		                        err);
	return ret;
}

static int build_floppy(struct machine *machine, struct board_state *board, struct error *err)
{
	struct i8237 *dma = i8237_new(&machine->env, err);
	int ret = add(machine, dma, err);

	if (ret)
		return ret;
	machine->env.isa_dma = i8237_channels(dma);
	board->fdc = device_create(&fdc_class, &machine->env, NULL, NULL, err);
	ret = add(machine, board->fdc, err);
	machine->env.floppy_controller = board->fdc;
	machine->env.bus_ops[DEVICE_FLOPPY] = &floppy_bus_ops;
	return ret;
}

static int pc_build(struct machine *machine, struct error *err)
{
	struct board_state *board = xcalloc(1, sizeof(*board));
	int ret;

	machine->private_data->board_state = board;
	ret = machine->private_data->boot ? 0 : pc_firmware_build(machine, err);
	if (!ret)
		ret = build_irqchip(machine, board, err);
	if (!ret)
		ret = build_timers(machine, board, err);
	if (!ret) {
		board->pm = acpi_pm_new(&machine->env, err);
		ret = add(machine, board->pm, err);
	}
	if (!ret)
		ret = build_floppy(machine, board, err);
	if (!ret)
		ret = add(machine, i8042_new(&machine->env, err), err);
	if (!ret)
		ret = build_fw_cfg(machine, board, err);
	if (!ret)
		ret = build_pci(machine, board, err);
	if (!ret)
		ret = build_vga(machine, err);
	return ret;
}

/* --- what firmware would leave behind --- */

static void route_pci_interrupts(struct machine *machine, struct board_state *board)
{
	static const uint8_t pirq[4] = {10, 10, 11, 11};

	for (unsigned i = 0; i < 4; i++)
		pci_config_write((struct pci_device *)board->piix3, 0x60 + i, pirq[i], 1);
	bus_write(machine->io, 0x4d1, 1 << (10 - 8) | 1 << (11 - 8), 1);
	for (unsigned slot = 1; slot < 32; slot++) {
		struct pci_device *pci = pci_bus_device(machine->env.pci_bus, slot << 3);

		if (pci && pci_config_read(pci, 0x3d, 1))
			pci_config_write(pci, 0x3c, pirq[pci_intx_wire(slot, pci_config_read(pci, 0x3d, 1))], 1);
	}
}

static unsigned serial_ports_present(struct machine *machine)
{
	static const uint16_t port[4] = {0x3f8, 0x2f8, 0x3e8, 0x2e8};
	unsigned present = 0;

	for (unsigned i = 0; i < 4; i++)
		if (bus_find(machine->io, port[i]))
			present |= 1u << i;
	return present;
}

void pc_build_acpi(struct machine *machine, struct board_state *board, uint64_t base, struct acpi_tables *tables)
{
	const struct domain_config *config = machine->config;
	struct cpu_topology topology = {config->max_vcpus, config->sockets, config->dies, config->cores, config->threads};
	uint64_t top = 4 * GIB + (config->ram_bytes - pc_ram_below_4g(machine));
	uint16_t pm = acpi_pm_base(board->pm) ? acpi_pm_base(board->pm) : acpi_pm_info.base;
	uint32_t *apic_ids = xcalloc(config->max_vcpus, sizeof(*apic_ids));
	struct acpi_config acpi = {
		.vcpus = machine->vcpu_count, .max_vcpus = config->max_vcpus, .apic_ids = apic_ids,
		.pci32_first = max_u64(PCI32_FIRST, pc_ram_below_4g(machine)), .pci32_last = PCI32_LAST,
		.pci64_first = align_up(top, 32 * GIB), .pci64_last = align_up(top, 32 * GIB) + 32 * GIB - 1,
		.hpet = board->hpet, .vga = pci_bus_has_vga(machine->env.pci_bus), .serial_ports = serial_ports_present(machine),
		.pm_event = pm + acpi_pm_info.pm1a_event, .pm_control = pm + acpi_pm_info.pm1a_control,
		.pm_timer = pm + acpi_pm_info.pm_timer, .gpe0 = pm + acpi_pm_info.gpe0, .gpe0_bytes = acpi_pm_info.gpe0_bytes,
		.smi_command = acpi_pm_info.smi_command, .acpi_enable = acpi_pm_info.acpi_enable,
		.acpi_disable = acpi_pm_info.acpi_disable, .sci_irq = acpi_pm_info.sci, .s5_type = acpi_pm_info.s5_type,
		.reset_port = acpi_pm_info.reset_port, .reset_value = acpi_pm_info.reset_value,
		.intx_gsi = {10, 10, 11, 11}, .fw_cfg_port = 0x510,
	};

	for (struct device *device = machine->devices; device; device = device->next) {
		acpi.pvpanic_port |= pvpanic_port(device);
		acpi.vmgenid |= vmgenid_of(device) != NULL;
	}
	acpi.vmgenid_gpa = base ? VMGENID_GPA : 0;
	for (unsigned i = 0; i < config->max_vcpus; i++)
		apic_ids[i] = x86_apic_id(&topology, i);
	acpi_build(&acpi, base, tables);
	free(apic_ids);
}

static int write_acpi(struct machine *machine, struct board_state *board, struct boot_board *out, struct error *err)
{
	struct acpi_tables tables;
	int ret;

	pc_build_acpi(machine, board, ACPI_GPA, &tables);
	if (tables.length > VMGENID_GPA - ACPI_GPA)
		ret = error_set(err, ENOSPC, "the ACPI tables of %u CPUs do not fit", machine->config->max_vcpus);
	else
		ret = ram_write(machine->ram, ACPI_GPA, tables.bytes, tables.length);
	for (struct device *device = machine->devices; !ret && device; device = device->next)
		if (vmgenid_of(device))
			ret = vmgenid_place(vmgenid_of(device), VMGENID_GPA + VMGENID_OFFSET, err);
	out->rsdp_gpa = ACPI_GPA + tables.rsdp;
	acpi_tables_free(&tables);
	board->reserved[0] = (struct boot_memory){ACPI_GPA, SMBIOS_GPA - ACPI_GPA, BOOT_MEMORY_RESERVED};
	return ret;
}

static int write_smbios(struct machine *machine, struct board_state *board, struct error *err)
{
	size_t length;
	uint8_t *tables = smbios_build(machine->config, SMBIOS_GPA, &length, err);
	int ret;

	if (!tables)
		return -err->code;
	if (length > MIB - SMBIOS_GPA)
		ret = error_set(err, ENOSPC, "the SMBIOS tables do not fit into 64 KiB");
	else
		ret = ram_write(machine->ram, SMBIOS_GPA, tables, length);
	free(tables);
	board->reserved[1] = (struct boot_memory){SMBIOS_GPA, MIB - SMBIOS_GPA, BOOT_MEMORY_RESERVED};
	return ret;
}

/* Channels at their ports, as PCI command register and timing registers say; Linux looks. */
static void enable_ide(struct board_state *board)
{
	struct pci_device *ide = (struct pci_device *)board->ide;

	pci_config_write(ide, 0x04, pci_config_read(ide, 0x04, 2) | 1, 2);
	pci_config_write(ide, 0x40, 0x80008000, 4);
}

/* Disk types and geometries where BIOSes look for them: type 47 (see the extension bytes) for the first two. */
static void describe_disks(struct board_state *board)
{
	static const uint8_t type_at[2] = {0x19, 0x1a}, geometry_at[2] = {0x1b, 0x24};
	uint8_t types = 0, translations = 0, floppies = 0;
	unsigned count = 0;

	for (unsigned place = 0; place < 4; place++) {
		struct ata_geometry disk;

		if (!ata_geometry_at(board->ata_ports, place, &disk))
			continue;
		translations |= (uint8_t)(disk.translation << 2 * place);
		if (place < 2) {
			const uint8_t bytes[9] = {(uint8_t)disk.cylinders, (uint8_t)(disk.cylinders >> 8), (uint8_t)disk.heads, 0xff,
			                          0xff, (uint8_t)(0xc0 | (disk.heads > 8) << 3), (uint8_t)disk.cylinders,
			                          (uint8_t)(disk.cylinders >> 8), (uint8_t)disk.sectors};

			types |= place ? 0x0f : 0xf0;
			mc146818_set_cmos(board->rtc, type_at[place], 47);
			for (unsigned i = 0; i < sizeof(bytes); i++)
				mc146818_set_cmos(board->rtc, (uint8_t)(geometry_at[place] + i), bytes[i]);
		}
	}
	for (unsigned unit = 0; unit < 2; unit++) {
		floppies |= (uint8_t)(floppy_type_at(board->fdc, unit) << (unit ? 0 : 4));
		count += floppy_at(board->fdc, unit);
	}
	mc146818_set_cmos(board->rtc, 0x10, floppies);
	/* Floppy drives are there and how many; numeric processor, PS/2 mouse. */
	mc146818_set_cmos(board->rtc, 0x14, (uint8_t)((count ? 1 | (count - 1) << 6 : 0) | 0x02 | 0x04));
	mc146818_set_cmos(board->rtc, 0x12, types);
	mc146818_set_cmos(board->rtc, 0x39, translations);
}

static int pc_describe(struct machine *machine, struct boot_board *out, struct error *err)
{
	struct board_state *board = machine->private_data->board_state;
	int ret;

	describe_disks(board);
	if (board->firmware)
		return pc_firmware_describe(machine, err);
	enable_ide(board);
	i440fx_shadow_all(board->bridge);
	piix4_pm_set_base(board->power, acpi_pm_info.base);
	ret = write_acpi(machine, board, out, err);
	if (!ret)
		ret = write_smbios(machine, board, err);
	if (ret)
		return ret;
	route_pci_interrupts(machine, board);
	for (unsigned i = 0; board->apics && i < machine->vcpu_count; i++)
		lapic_virtual_wire(board->apics[i]);
	out->text_screen = machine_text_screen(machine);
	out->reserved = board->reserved;
	out->reserved_count = ARRAY_SIZE(board->reserved);
	return 0;
}

static void pc_power_button(struct machine *machine)
{
	acpi_pm_power_button(machine->private_data->board_state->pm);
}

static void pc_free(struct machine *machine)
{
	struct board_state *board = machine->private_data->board_state;

	if (!board)
		return;
	pci_bus_free(machine->env.pci_bus);
	lapic_set_free(board->lapics);
	free(board->ata_ports);
	free(board->scsi_buses);
	free(board->apics);
	pc_firmware_free(board);
	free(board);
}

static const struct device_class *const *const pc_class_groups[] = {
	device_classes_pc, device_classes_pci, device_classes_virtio, device_classes_display, device_classes_net, device_classes_storage, NULL};

const struct board board_pc = {
	.name = "pc",
	.help = "Standard PC (i440FX + PIIX)",
	.map_ram = pc_map_ram,
	.build = pc_build,
	.describe = pc_describe,
	.power_button = pc_power_button,
	.set_boot_order = pc_set_boot_order,
	.rom_at = pc_rom_at,
	.free = pc_free,
	.class_groups = pc_class_groups,
};
