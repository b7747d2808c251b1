/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The standard VGA of QEMU's PC (1234:1111, qemu docs/specs/standard-vga): a VGA with Bochs' display interface.
 *
 *	BAR 0	video memory
 *	BAR 2	0x000 EDID, 0x400 VGA ports 0x3c0.., 0x500 DISPI registers, 0x600 byte order (little-endian only)
 *	ROM	vgabios-stdvga.bin
 */
#include "device/display/display_devices.h"
#include "device/display/edid.h"
#include "device/display/vga.h"

#include "base/util.h"
#include "device/pci/pci.h"

#define MMIO_BYTES          4096
#define MMIO_PORTS          0x400
#define MMIO_DISPI          0x500
#define MMIO_EXTENDED       0x600
#define DISPI_BYTES         0x16
#define EXTENDED_BYTES      8
#define LITTLE_ENDIAN_MAGIC 0x1e1e1e1e

struct vga_pci {
	struct pci_device pci;
	struct vga vga;
	uint32_t vgamem_mb;
	bool mmio, extended, edid;
	uint32_t refresh_mhz;
	struct edid_config monitor;
	uint8_t edid_data[EDID_BYTES];
};

static uint64_t mmio_read(void *opaque, uint64_t offset, unsigned size)
{
	struct vga_pci *card = opaque;
	struct vga *vga = &card->vga;
	uint64_t value = 0;

	if (offset < EDID_BYTES) {
		for (unsigned i = 0; card->edid && i < size && offset + i < EDID_BYTES; i++)
			value |= (uint64_t)card->edid_data[offset + i] << 8 * i;
		return value;
	}
	pthread_mutex_lock(&vga->lock);
	if (offset - MMIO_PORTS < 0x20)
		for (unsigned i = 0; i < size && i < 2; i++)
			value |= (uint64_t)vga_port_read(vga, (uint16_t)(0x3c0 + offset - MMIO_PORTS + i)) << 8 * i;
	else if (offset - MMIO_DISPI < DISPI_BYTES && size >= 2)
		value = vga_dispi_read(vga, (uint16_t)(offset - MMIO_DISPI) / 2);
	else if (card->extended && offset == MMIO_EXTENDED)
		value = EXTENDED_BYTES;
	else if (card->extended && offset == MMIO_EXTENDED + 4)
		value = LITTLE_ENDIAN_MAGIC;
	else
		value = UINT64_MAX;
	pthread_mutex_unlock(&vga->lock);
	return value;
}

static void mmio_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct vga_pci *card = opaque;
	struct vga *vga = &card->vga;

	pthread_mutex_lock(&vga->lock);
	if (offset - MMIO_PORTS < 0x20)
		for (unsigned i = 0; i < size && i < 2; i++)
			vga_port_write(vga, (uint16_t)(0x3c0 + offset - MMIO_PORTS + i), (uint8_t)(value >> 8 * i));
	else if (offset - MMIO_DISPI < DISPI_BYTES && size >= 2)
		vga_dispi_write(vga, (uint16_t)(offset - MMIO_DISPI) / 2, (uint16_t)value);
	pthread_mutex_unlock(&vga->lock);
}

static const struct region_ops mmio_ops = {.read = mmio_read, .write = mmio_write, .min_width = 1, .max_width = 4};

static int init(struct device *device, struct error *err)
{
	struct vga_pci *card = container_of(device, struct vga_pci, pci.device);
	int ret;

	if (!card->vgamem_mb || card->vgamem_mb > 512)
		return error_set(err, EINVAL, "vgamem_mb=%u: must be from 1 to 512", card->vgamem_mb);
	while (!is_power_of_two(card->vgamem_mb))
		card->vgamem_mb++;
	card->monitor.refresh_mhz = card->refresh_mhz;
	edid_make(&card->monitor, card->edid_data);
	card->vga.env = device->env;
	card->vga.has_dispi = true;
	ret = vga_init(&card->vga, device->id ? device->id : device->class->name, card->vgamem_mb << 20, err);
	if (ret)
		return ret;
	ret = pci_bar_add_memory(&card->pci, 0, PCI_BAR_MEM32 | PCI_BAR_PREFETCH, card->vga.vram, err);
	if (!ret && card->mmio)
		ret = pci_bar_add(&card->pci, 2, PCI_BAR_MEM32, "vga.mmio", &mmio_ops, card, MMIO_BYTES, err);
	if (ret) {
		pci_unmap(&card->pci);
		vga_fini(&card->vga);
	}
	return ret;
}

static void reset(struct device *device)
{
	vga_reset(&container_of(device, struct vga_pci, pci.device)->vga);
}

static void fini(struct device *device)
{
	struct vga_pci *card = container_of(device, struct vga_pci, pci.device);

	pci_unmap(&card->pci);
	vga_fini(&card->vga);
}

static const struct property properties[] = {
	PCI_ROMFILE_PROPERTY(struct vga_pci, pci, "vgabios-stdvga.bin"),
	{.name = "vgamem_mb",
	 .type = PROPERTY_U32,
	 .offset = offsetof(struct vga_pci, vgamem_mb),
	 .fallback = "16",
	 .help = "video memory in MiB, rounded up to a power of two"},
	{.name = "mmio",
	 .type = PROPERTY_BOOL,
	 .offset = offsetof(struct vga_pci, mmio),
	 .fallback = "on",
	 .help = "registers in BAR 2"},
	{.name = "qemu-extended-regs",
	 .type = PROPERTY_BOOL,
	 .offset = offsetof(struct vga_pci, extended),
	 .fallback = "on",
	 .help = "byte order register in BAR 2"},
	{.name = "edid",
	 .type = PROPERTY_BOOL,
	 .offset = offsetof(struct vga_pci, edid),
	 .fallback = "on",
	 .help = "describe a monitor to the guest"},
	{.name = "xres",
	 .type = PROPERTY_U32,
	 .offset = offsetof(struct vga_pci, monitor.width),
	 .help = "preferred width"},
	{.name = "yres",
	 .type = PROPERTY_U32,
	 .offset = offsetof(struct vga_pci, monitor.height),
	 .help = "preferred height"},
	{.name = "xmax",
	 .type = PROPERTY_U32,
	 .offset = offsetof(struct vga_pci, monitor.max_width),
	 .help = "largest width"},
	{.name = "ymax",
	 .type = PROPERTY_U32,
	 .offset = offsetof(struct vga_pci, monitor.max_height),
	 .help = "largest height"},
	{.name = "refresh_rate",
	 .type = PROPERTY_U32,
	 .offset = offsetof(struct vga_pci, refresh_mhz),
	 .help = "of the preferred mode, in thousandths of a Hz"},
	{.name = NULL},
};

static const struct state_field fields[] = {
	STATE_SUB(pci_device_state, struct vga_pci, pci, 1),
	STATE_SUB(vga_state, struct vga_pci, vga, 1),
	STATE_END,
};

static const struct state_table state = {.name = "VGA", .version = 1, .size = sizeof(struct vga_pci), .fields = fields};

static const struct pci_class pci_class = {.vendor = 0x1234,
					   .device = 0x1111,
					   .subsystem_vendor = 0x1af4,
					   .subsystem = 0x1100,
					   .class_code = 0x030000,
					   .revision = 2};

const struct device_class vga_pci_class = {
	.name = "VGA",
	.help = "standard VGA (Bochs VBE)",
	.bus = DEVICE_PCI,
	.size = sizeof(struct vga_pci),
	.properties = properties,
	.state = &state,
	.init = init,
	.reset = reset,
	.fini = fini,
	.bus_class = &pci_class,
};

struct vga *vga_of_vga_pci(struct device *device)
{
	return &container_of(device, struct vga_pci, pci.device)->vga;
}
