/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The legacy interface of virtio over PCI (virtio 1.2, 4.1.4.10 and the draft before 1.0): registers in an I/O BAR, rings
 * at a page number in one piece. What drivers of that age get wrong is put right here and in virtio_early_kick.
 */
#include "device/virtio/virtio_pci_internal.h"

#include "base/util.h"

enum {
	LEGACY_DEVICE_FEATURES = 0,
	LEGACY_DRIVER_FEATURES = 4,
	LEGACY_QUEUE_PFN = 8,
	LEGACY_QUEUE_SIZE = 12,
	LEGACY_QUEUE_SELECT = 14,
	LEGACY_QUEUE_NOTIFY = 16,
	LEGACY_STATUS = 18,
	LEGACY_ISR = 19,
	LEGACY_CONFIG_VECTOR = 20,
	LEGACY_QUEUE_VECTOR = 22,
	LEGACY_CONFIG = 20, /* 24 while MSI-X is enabled */
	LEGACY_ALIGN = 4096,
};

static unsigned legacy_config_at(const struct virtio_device *device)
{
	return pci_msix_enabled(&device->pci) ? LEGACY_CONFIG + 4 : LEGACY_CONFIG;
}

static uint32_t legacy_register(struct virtio_device *device, unsigned offset)
{
	const struct virtqueue_setup *setup = virtio_pci_selected(device);

	switch (offset) {
	case LEGACY_DEVICE_FEATURES:
		return (uint32_t)device->offered;
	case LEGACY_DRIVER_FEATURES:
		return (uint32_t)device->driver_features;
	case LEGACY_QUEUE_PFN:
		return setup && setup->enabled ? (uint32_t)(setup->desc_gpa / LEGACY_ALIGN) : 0;
	case LEGACY_QUEUE_SIZE:
		return setup ? setup->size : 0;
	case LEGACY_QUEUE_SELECT:
		return device->proxy.queue_select;
	case LEGACY_STATUS:
		device->proxy.legacy_access = true;
		return virtio_status_read(device);
	case LEGACY_ISR:
		return virtio_pci_take_isr(device);
	case LEGACY_CONFIG_VECTOR:
		return device->proxy.config_vector;
	case LEGACY_QUEUE_VECTOR:
		return setup ? setup->vector : VIRTIO_NO_VECTOR;
	default:
		return 0;
	}
}

static uint64_t legacy_read(void *opaque, uint64_t offset, unsigned size)
{
	struct virtio_device *device = opaque;
	uint64_t value = 0;

	pthread_mutex_lock(&device->lock);
	if (offset >= legacy_config_at(device))
		virtio_config_access(device, (unsigned)offset - legacy_config_at(device), &value, size, false);
	else
		value = legacy_register(device, (unsigned)offset);
	pthread_mutex_unlock(&device->lock);
	return value;
}

/* 2.7.2: the three parts of the ring lie behind one another, the used ring on a page of its own. */
static void legacy_place_queue(struct virtio_device *device, uint32_t page)
{
	struct virtqueue *queue = virtio_queue(device, device->proxy.queue_select);
	struct virtqueue_setup *setup = queue ? virtqueue_setup(queue) : NULL;

	if (!setup)
		return;
	if (page == 0) {
		virtio_queue_reset(queue);
		return;
	}
	if (setup->enabled)
		return;
	setup->desc_gpa = (uint64_t)page * LEGACY_ALIGN;
	setup->avail_gpa = setup->desc_gpa + 16ull * setup->size;
	setup->used_gpa = align_up(setup->avail_gpa + 4 + 2ull * setup->size + 2, LEGACY_ALIGN);
	virtio_queue_enable(queue);
}

static void legacy_write_register(struct virtio_device *device, unsigned offset, uint32_t value)
{
	struct virtqueue_setup *setup = virtio_pci_selected(device);

	switch (offset) {
	case LEGACY_DRIVER_FEATURES:
		virtio_features_write(device, value);
		break;
	case LEGACY_QUEUE_PFN:
		legacy_place_queue(device, value);
		break;
	case LEGACY_QUEUE_SELECT:
		device->proxy.queue_select = (uint16_t)value;
		break;
	case LEGACY_STATUS:
		/* Such a driver never sets FEATURES_OK. */
		virtio_pci_write_status(device, value & ~VIRTIO_FEATURES_OK & 0xff, true);
		break;
	case LEGACY_CONFIG_VECTOR:
		virtio_pci_set_vector(device, &device->proxy.config_vector, (uint16_t)value);
		break;
	case LEGACY_QUEUE_VECTOR:
		if (setup)
			virtio_pci_set_vector(device, &setup->vector, (uint16_t)value);
		break;
	default:
		break;
	}
}

/* Drivers of that age forget to enable bus mastering. */
static void legacy_fix_master(struct virtio_device *device)
{
	uint16_t command = load_le16(device->pci.config + COMMAND);

	if (device->started && !(command & COMMAND_MASTER))
		pci_config_write(&device->pci, COMMAND, command | COMMAND_MASTER, 2);
}

static void legacy_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct virtio_device *device = opaque;

	if (offset == LEGACY_QUEUE_NOTIFY) {
		uint16_t index = (uint16_t)value;

		virtio_pci_kick(device, index, LEGACY_BAR,
		     (struct doorbell){.offset = LEGACY_QUEUE_NOTIFY, .size = 2, .match = true, .value = index});
		return;
	}
	pthread_mutex_lock(&device->lock);
	if (offset >= legacy_config_at(device))
		virtio_config_access(device, (unsigned)offset - legacy_config_at(device), &value, size, true);
	else
		legacy_write_register(device, (unsigned)offset, (uint32_t)value);
	pthread_mutex_unlock(&device->lock);
	if (offset == LEGACY_STATUS)
		legacy_fix_master(device);
}

static const struct region_ops legacy_ops = {.read = legacy_read, .write = legacy_write, .max_width = 4};

int virtio_pci_add_legacy(struct virtio_device *device, struct error *err)
{
	uint64_t size = 32;

	while (size < LEGACY_CONFIG + 4u + device->model->config_size)
		size *= 2;
	return pci_bar_add(&device->pci, LEGACY_BAR, PCI_BAR_IO, "virtio-legacy", &legacy_ops, device, size, err);
}
