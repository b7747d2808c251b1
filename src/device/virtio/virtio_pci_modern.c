/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The modern interface of virtio over PCI (virtio 1.2, 4.1.4): one memory BAR with the common configuration, the ISR byte,
 * the device's configuration and the doorbells, and the capabilities that lead there. Left out: notification data, shared
 * memory regions, administration queues.
 */
#include "device/virtio/virtio_pci_internal.h"

#include "base/util.h"

enum {
	/* Inside the BAR. */
	COMMON_AT = 0x0000,
	ISR_AT = 0x1000,
	DEVICE_AT = 0x2000,
	NOTIFY_AT = 0x3000,
	COMMON_BYTES = 64,
	DEVICE_BYTES = 0x1000,

	CAP_VENDOR = 9,
	CAP_COMMON = 1,
	CAP_NOTIFY = 2,
	CAP_ISR = 3,
	CAP_DEVICE = 4,
	CAP_PCI = 5,
	CAP_BYTES = 16,
	CAP_LONG_BYTES = 20,

	PAGE_PER_QUEUE = 4096,
	WORD_PER_QUEUE = 4,
};

/* 4.1.4.3 */
enum {
	COMMON_DEVICE_FEATURE_SELECT = 0,
	COMMON_DEVICE_FEATURE = 4,
	COMMON_DRIVER_FEATURE_SELECT = 8,
	COMMON_DRIVER_FEATURE = 12,
	COMMON_CONFIG_VECTOR = 16,
	COMMON_QUEUES = 18,
	COMMON_STATUS = 20,
	COMMON_GENERATION = 21,
	COMMON_QUEUE_SELECT = 22,
	COMMON_QUEUE_SIZE = 24,
	COMMON_QUEUE_VECTOR = 26,
	COMMON_QUEUE_ENABLE = 28,
	COMMON_QUEUE_NOTIFY_OFF = 30,
	COMMON_QUEUE_DESC = 32,
	COMMON_QUEUE_DRIVER = 40,
	COMMON_QUEUE_DEVICE = 48,
	COMMON_QUEUE_NOTIFY_DATA = 56,
	COMMON_QUEUE_RESET = 58,
};

static unsigned notify_stride(const struct virtio_device *device)
{
	return device->proxy.page_per_vq ? PAGE_PER_QUEUE : WORD_PER_QUEUE;
}

/* --- the common configuration --- */

static uint32_t feature_half(uint64_t features, uint32_t select)
{
	return select == 0 ? (uint32_t)features : select == 1 ? (uint32_t)(features >> 32) : 0;
}

static void common_image(struct virtio_device *device, uint8_t image[COMMON_BYTES])
{
	const struct virtio_pci *proxy = &device->proxy;
	const struct virtqueue_setup *setup = virtio_pci_selected(device);

	memset(image, 0, COMMON_BYTES);
	store_le32(image + COMMON_DEVICE_FEATURE_SELECT, proxy->device_feature_select);
	store_le32(image + COMMON_DEVICE_FEATURE,
	           feature_half(device->offered & ~VIRTIO_BIT(VIRTIO_F_ANY_LAYOUT), proxy->device_feature_select));
	store_le32(image + COMMON_DRIVER_FEATURE_SELECT, proxy->driver_feature_select);
	store_le32(image + COMMON_DRIVER_FEATURE, feature_half(device->driver_features, proxy->driver_feature_select));
	store_le16(image + COMMON_CONFIG_VECTOR, proxy->config_vector);
	store_le16(image + COMMON_QUEUES, (uint16_t)device->queue_count);
	image[COMMON_STATUS] = virtio_status_read(device);
	image[COMMON_GENERATION] = (uint8_t)__atomic_load_n(&device->config_generation, __ATOMIC_ACQUIRE);
	store_le16(image + COMMON_QUEUE_SELECT, proxy->queue_select);
	if (!setup)
		return;
	store_le16(image + COMMON_QUEUE_SIZE, setup->size);
	store_le16(image + COMMON_QUEUE_VECTOR, setup->vector);
	store_le16(image + COMMON_QUEUE_ENABLE, setup->enabled);
	store_le16(image + COMMON_QUEUE_NOTIFY_OFF, proxy->queue_select);
	store_le64(image + COMMON_QUEUE_DESC, setup->desc_gpa);
	store_le64(image + COMMON_QUEUE_DRIVER, setup->avail_gpa);
	store_le64(image + COMMON_QUEUE_DEVICE, setup->used_gpa);
	store_le16(image + COMMON_QUEUE_NOTIFY_DATA, proxy->queue_select);
	store_le16(image + COMMON_QUEUE_RESET, virtqueue_resetting(virtio_queue(device, proxy->queue_select)));
}

static uint64_t common_read(struct virtio_device *device, unsigned offset, unsigned size)
{
	uint8_t image[COMMON_BYTES];
	uint64_t value = 0;

	if (!range_inside(offset, size, COMMON_BYTES))
		return 0;
	common_image(device, image);
	memcpy(&value, image + offset, size);
	return value;
}

static void write_driver_feature(struct virtio_device *device, uint32_t value)
{
	uint64_t features = device->driver_features;

	if (device->proxy.driver_feature_select == 0)
		features = (features & ~0xffffffffull) | value;
	else if (device->proxy.driver_feature_select == 1)
		features = (features & 0xffffffffull) | (uint64_t)value << 32;
	else
		return;
	virtio_features_write(device, features);
}

static void write_address(uint64_t *gpa, bool high, uint32_t value)
{
	*gpa = high ? (*gpa & 0xffffffffull) | (uint64_t)value << 32 : (*gpa & ~0xffffffffull) | value;
}

/* Registers of the selected queue; a queue in use is only taken out of use by a reset. */
static void queue_write(struct virtio_device *device, unsigned offset, uint32_t value)
{
	struct virtqueue *queue = virtio_queue(device, device->proxy.queue_select);
	struct virtqueue_setup *setup = queue ? virtqueue_setup(queue) : NULL;

	if (!setup)
		return;
	if (offset == COMMON_QUEUE_VECTOR) {
		virtio_pci_set_vector(device, &setup->vector, (uint16_t)value);
		return;
	}
	if (offset == COMMON_QUEUE_RESET) {
		if (value == 1 && setup->enabled && virtio_has(device, VIRTIO_F_RING_RESET))
			virtio_queue_reset(queue);
		return;
	}
	if (setup->enabled)
		return;
	switch (offset) {
	case COMMON_QUEUE_SIZE:
		if (value && value <= virtqueue_size_max(queue))
			setup->size = (uint16_t)value;
		break;
	case COMMON_QUEUE_ENABLE:
		if (value == 1)
			virtio_queue_enable(queue);
		break;
	case COMMON_QUEUE_DESC:
	case COMMON_QUEUE_DESC + 4:
		write_address(&setup->desc_gpa, offset != COMMON_QUEUE_DESC, value);
		break;
	case COMMON_QUEUE_DRIVER:
	case COMMON_QUEUE_DRIVER + 4:
		write_address(&setup->avail_gpa, offset != COMMON_QUEUE_DRIVER, value);
		break;
	case COMMON_QUEUE_DEVICE:
	case COMMON_QUEUE_DEVICE + 4:
		write_address(&setup->used_gpa, offset != COMMON_QUEUE_DEVICE, value);
		break;
	default:
		break;
	}
}

/* Bytes of the register that begins at offset, 0 where none does (64-bit ones count as two, 4.1.3.1). */
static unsigned register_bytes(unsigned offset)
{
	if (offset == COMMON_STATUS)
		return 1;
	if (offset < COMMON_CONFIG_VECTOR || (offset >= COMMON_QUEUE_DESC && offset < COMMON_QUEUE_NOTIFY_DATA))
		return offset % 4 ? 0 : 4;
	return offset % 2 ? 0 : 2;
}

static void common_write(struct virtio_device *device, unsigned offset, uint32_t value, unsigned size)
{
	struct virtio_pci *proxy = &device->proxy;

	if (size != register_bytes(offset))
		return;
	switch (offset) {
	case COMMON_DEVICE_FEATURE_SELECT:
		proxy->device_feature_select = value;
		break;
	case COMMON_DRIVER_FEATURE_SELECT:
		proxy->driver_feature_select = value;
		break;
	case COMMON_DRIVER_FEATURE:
		write_driver_feature(device, value);
		break;
	case COMMON_CONFIG_VECTOR:
		virtio_pci_set_vector(device, &proxy->config_vector, (uint16_t)value);
		break;
	case COMMON_STATUS:
		virtio_pci_write_status(device, (uint8_t)value, false);
		break;
	case COMMON_QUEUE_SELECT:
		proxy->queue_select = (uint16_t)value;
		break;
	default:
		if (offset >= COMMON_QUEUE_SIZE)
			queue_write(device, offset, value);
		break;
	}
}

/* --- the BAR --- */

static uint64_t modern_read(void *opaque, uint64_t offset, unsigned size)
{
	struct virtio_device *device = opaque;
	uint64_t value = 0;

	if (offset >= ISR_AT && offset < DEVICE_AT)
		return offset == ISR_AT ? virtio_pci_take_isr(device) : 0;
	if (offset >= NOTIFY_AT)
		return 0;
	pthread_mutex_lock(&device->lock);
	if (offset >= DEVICE_AT)
		virtio_config_access(device, (unsigned)offset - DEVICE_AT, &value, size, false);
	else
		value = common_read(device, (unsigned)offset, size);
	pthread_mutex_unlock(&device->lock);
	return value;
}

static void modern_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct virtio_device *device = opaque;

	if (offset >= NOTIFY_AT) {
		unsigned index = (unsigned)((offset - NOTIFY_AT) / notify_stride(device));

		virtio_pci_kick(device, index, MODERN_BAR,
		     (struct doorbell){.offset = NOTIFY_AT + (uint64_t)index * notify_stride(device), .size = 2});
		return;
	}
	pthread_mutex_lock(&device->lock);
	if (offset >= DEVICE_AT)
		virtio_config_access(device, (unsigned)offset - DEVICE_AT, &value, size, true);
	else if (offset < COMMON_BYTES)
		common_write(device, (unsigned)offset, (uint32_t)value, size);
	pthread_mutex_unlock(&device->lock);
}

static const struct region_ops modern_ops = {.read = modern_read, .write = modern_write, .max_width = 4};

/* --- capabilities --- */

static int add_cap(struct virtio_device *device, uint8_t type, uint8_t bytes, uint32_t offset, uint32_t length,
                   struct error *err)
{
	int at = pci_capability_add(&device->pci, CAP_VENDOR, bytes, err);
	uint8_t *cap = device->pci.config + at;

	if (at < 0)
		return at;
	cap[2] = bytes;
	cap[3] = type;
	cap[CAP_BAR] = type == CAP_PCI ? 0 : MODERN_BAR;
	store_le32(cap + CAP_OFFSET, offset);
	store_le32(cap + CAP_LENGTH, length);
	return at;
}

int virtio_pci_add_modern(struct virtio_device *device, struct error *err)
{
	uint32_t notify_bytes = device->queue_count * notify_stride(device);
	uint64_t size = 16 * KIB;
	int at, rc;

	while (size < NOTIFY_AT + notify_bytes)
		size *= 2;
	rc = pci_bar_add(&device->pci, MODERN_BAR, PCI_BAR_MEM64 | PCI_BAR_PREFETCH, "virtio", &modern_ops, device, size,
	                 err);
	if (rc < 0)
		return rc;
	/* The list is built from its end: drivers meet "common" first. */
	at = add_cap(device, CAP_PCI, CAP_LONG_BYTES, 0, 0, err);
	if (at < 0)
		return at;
	device->proxy.pci_cfg = (uint8_t)at;
	device->pci.write_mask[at + CAP_BAR] = 0xff;
	memset(device->pci.write_mask + at + CAP_OFFSET, 0xff, CAP_LONG_BYTES - CAP_OFFSET);
	if (device->model->config_size &&
	    (rc = add_cap(device, CAP_DEVICE, CAP_BYTES, DEVICE_AT, DEVICE_BYTES, err)) < 0)
		return rc;
	rc = add_cap(device, CAP_ISR, CAP_BYTES, ISR_AT, 1, err);
	if (rc < 0)
		return rc;
	at = add_cap(device, CAP_NOTIFY, CAP_LONG_BYTES, NOTIFY_AT, notify_bytes ? notify_bytes : 4, err);
	if (at < 0)
		return at;
	store_le32(device->pci.config + at + CAP_EXTRA, notify_stride(device));
	rc = add_cap(device, CAP_COMMON, CAP_BYTES, COMMON_AT, COMMON_BYTES, err);
	return rc < 0 ? rc : 0;
}
