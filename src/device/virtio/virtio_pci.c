/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtio over PCI (virtio 1.2, 4.1): the modern interface (vendor capabilities that lead into a memory BAR, and the
 * window to it in configuration space) and the legacy one (registers in an I/O BAR, 4.1.4.8 and 4.1.5.1.3). A device
 * shows one or both (transitional). Interrupts are MSI-X vectors, or INTx with the ISR byte. Left out: notification data,
 * shared memory regions, administration queues.
 */
#include "device/virtio/virtqueue_internal.h"

#include "base/util.h"

#include <stdlib.h>

enum {
	LEGACY_BAR = 0,
	MSIX_BAR = 1,
	MODERN_BAR = 4,

	/* Inside the modern BAR. */
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
	CAP_BAR = 4,     /* offsets inside a capability */
	CAP_OFFSET = 8,
	CAP_LENGTH = 12,
	CAP_EXTRA = 16,

	ISR_QUEUE = 1,
	ISR_CONFIG = 2,

	COMMAND = 0x04,
	COMMAND_MASTER = 0x04,
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

/* 4.1.4.8 */
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

static struct virtio_device *from_pci(struct pci_device *pci)
{
	return container_of(pci, struct virtio_device, pci);
}

static unsigned notify_stride(const struct virtio_device *device)
{
	return device->proxy.page_per_vq ? PAGE_PER_QUEUE : WORD_PER_QUEUE;
}

/* --- interrupts --- */

static void raise_isr(struct virtio_device *device, uint8_t bits)
{
	pthread_mutex_lock(&device->proxy.isr_lock);
	device->proxy.isr |= bits;
	pci_intx(&device->pci, true);
	pthread_mutex_unlock(&device->proxy.isr_lock);
}

static uint8_t take_isr(struct virtio_device *device)
{
	uint8_t isr;

	pthread_mutex_lock(&device->proxy.isr_lock);
	isr = device->proxy.isr;
	device->proxy.isr = 0;
	if (isr)
		pci_intx(&device->pci, false);
	pthread_mutex_unlock(&device->proxy.isr_lock);
	return isr;
}

static void send(struct virtio_device *device, uint16_t vector)
{
	if (vector != VIRTIO_NO_VECTOR)
		pci_msix_notify(&device->pci, vector);
}

static void notify_queue(struct virtio_device *device, unsigned queue)
{
	if (pci_msix_enabled(&device->pci))
		send(device, __atomic_load_n(&device->setup[queue].vector, __ATOMIC_RELAXED));
	else
		raise_isr(device, ISR_QUEUE);
}

static void notify_config(struct virtio_device *device)
{
	if (pci_msix_enabled(&device->pci))
		send(device, __atomic_load_n(&device->proxy.config_vector, __ATOMIC_RELAXED));
	else
		raise_isr(device, ISR_CONFIG);
}

static const struct virtio_transport transport = {.notify_queue = notify_queue, .notify_config = notify_config};

static void set_vector(struct virtio_device *device, uint16_t *vector, uint16_t value)
{
	if (value >= pci_msix_vectors(&device->pci))
		value = VIRTIO_NO_VECTOR;
	__atomic_store_n(vector, value, __ATOMIC_RELAXED);
}

/* --- what both interfaces do --- */

static void reset_registers(struct virtio_device *device)
{
	struct virtio_pci *proxy = &device->proxy;

	proxy->config_vector = VIRTIO_NO_VECTOR;
	proxy->queue_select = 0;
	proxy->device_feature_select = proxy->driver_feature_select = 0;
	take_isr(device);
}

static void write_status(struct virtio_device *device, uint8_t status, bool legacy)
{
	device->proxy.legacy_access = legacy;
	virtio_status_write(device, status);
	if (status == 0)
		reset_registers(device);
}

static struct virtqueue_setup *selected(struct virtio_device *device)
{
	struct virtqueue *queue = virtio_queue(device, device->proxy.queue_select);

	return queue ? virtqueue_setup(queue) : NULL;
}

/* A doorbell that reached the registers: from the next one on the bus rings this queue's eventfd by itself. Done at the
 * first use, because telling the engine of a doorbell takes its time and most queues of most devices are never used. */
static void kick(struct virtio_device *device, unsigned index, unsigned bar, struct doorbell bell)
{
	struct virtqueue *queue = virtio_queue(device, index);
	uint64_t *bells, bit = 1ull << index % 64;

	if (!queue)
		return;
	bells = &device->proxy.bells[bar == LEGACY_BAR][index / 64];
	if (device->proxy.ioeventfd && device->device.env->eventfds &&
	    !(__atomic_fetch_or(bells, bit, __ATOMIC_RELAXED) & bit)) {
		bell.event_fd = virtqueue_event_fd(queue);
		pci_doorbell_add(&device->pci, bar, &bell);
	}
	virtqueue_kicked(queue);
}

/* --- modern: the common configuration --- */

static uint32_t feature_half(uint64_t features, uint32_t select)
{
	return select == 0 ? (uint32_t)features : select == 1 ? (uint32_t)(features >> 32) : 0;
}

static void common_image(struct virtio_device *device, uint8_t image[COMMON_BYTES])
{
	const struct virtio_pci *proxy = &device->proxy;
	const struct virtqueue_setup *setup = selected(device);

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
		set_vector(device, &setup->vector, (uint16_t)value);
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
		set_vector(device, &proxy->config_vector, (uint16_t)value);
		break;
	case COMMON_STATUS:
		write_status(device, (uint8_t)value, false);
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

/* --- modern: the BAR --- */

static uint64_t modern_read(void *opaque, uint64_t offset, unsigned size)
{
	struct virtio_device *device = opaque;
	uint64_t value = 0;

	if (offset >= ISR_AT && offset < DEVICE_AT)
		return offset == ISR_AT ? take_isr(device) : 0;
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

		kick(device, index, MODERN_BAR,
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

/* --- legacy: the I/O BAR --- */

static unsigned legacy_config_at(const struct virtio_device *device)
{
	return pci_msix_enabled(&device->pci) ? LEGACY_CONFIG + 4 : LEGACY_CONFIG;
}

static uint32_t legacy_register(struct virtio_device *device, unsigned offset)
{
	const struct virtqueue_setup *setup = selected(device);

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
		return take_isr(device);
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
	struct virtqueue_setup *setup = selected(device);

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
		write_status(device, value & ~VIRTIO_FEATURES_OK & 0xff, true);
		break;
	case LEGACY_CONFIG_VECTOR:
		set_vector(device, &device->proxy.config_vector, (uint16_t)value);
		break;
	case LEGACY_QUEUE_VECTOR:
		if (setup)
			set_vector(device, &setup->vector, (uint16_t)value);
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

		kick(device, index, LEGACY_BAR,
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

/* --- the window in configuration space (4.1.4.9) --- */

/* The access that the capability describes; false when it describes none. */
static bool window(struct virtio_device *device, const struct pci_bar **bar, uint32_t *offset, unsigned *length)
{
	const uint8_t *cap = device->pci.config + device->proxy.pci_cfg;

	*offset = load_le32(cap + CAP_OFFSET);
	*length = load_le32(cap + CAP_LENGTH);
	if (cap[CAP_BAR] >= ARRAY_SIZE(device->pci.bars))
		return false;
	*bar = &device->pci.bars[cap[CAP_BAR]];
	return (*bar)->present && (*length == 1 || *length == 2 || *length == 4) && *offset % *length == 0;
}

bool virtio_pci_config_read(struct pci_device *pci, unsigned offset, unsigned size, uint32_t *value)
{
	struct virtio_device *device = from_pci(pci);
	const struct pci_bar *bar;
	uint32_t at;
	unsigned length;

	if (!device->proxy.pci_cfg || offset != device->proxy.pci_cfg + (unsigned)CAP_EXTRA ||
	    !window(device, &bar, &at, &length))
		return false;
	*value = (uint32_t)bar->region.ops->read(bar->region.opaque, at, length);
	if (length < 4)
		*value &= (1u << 8 * length) - 1;
	return true;
}

void virtio_pci_config_written(struct pci_device *pci, unsigned offset, unsigned size)
{
	struct virtio_device *device = from_pci(pci);
	bool master = pci->config[COMMAND] & COMMAND_MASTER;
	const struct pci_bar *bar;
	uint32_t at;
	unsigned length;

	if (device->proxy.master && !master) {
		pthread_mutex_lock(&device->lock);
		virtio_device_pause(device);
		pthread_mutex_unlock(&device->lock);
	}
	device->proxy.master = master;
	if (!device->proxy.pci_cfg || offset != device->proxy.pci_cfg + (unsigned)CAP_EXTRA ||
	    !window(device, &bar, &at, &length))
		return;
	bar->region.ops->write(bar->region.opaque, at, load_le32(pci->config + offset), length);
}

/* --- life --- */

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

static int add_modern(struct virtio_device *device, struct error *err)
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

static int add_legacy(struct virtio_device *device, struct error *err)
{
	uint64_t size = 32;

	while (size < LEGACY_CONFIG + 4u + device->model->config_size)
		size *= 2;
	return pci_bar_add(&device->pci, LEGACY_BAR, PCI_BAR_IO, "virtio-legacy", &legacy_ops, device, size, err);
}

static int choose_interfaces(struct virtio_device *device, const struct virtio_pci_class *class, struct error *err)
{
	struct virtio_pci *proxy = &device->proxy;

	if (proxy->iommu_platform)
		return error_set(err, ENOTSUP, "iommu_platform=on: this machine has no IOMMU; leave it off");
	proxy->legacy = class->variant != VIRTIO_PCI_NON_TRANSITIONAL && proxy->disable_legacy != 1;
	proxy->modern = !proxy->disable_modern;
	if (class->variant == VIRTIO_PCI_NON_TRANSITIONAL && (proxy->disable_legacy == 0 || proxy->disable_modern))
		return error_set(err, EINVAL, "this variant is modern only: disable-legacy and disable-modern contradict it");
	if (class->variant == VIRTIO_PCI_TRANSITIONAL && (proxy->disable_legacy == 1 || proxy->disable_modern))
		return error_set(err, EINVAL,
		                 "this variant has both interfaces: disable-legacy and disable-modern contradict it");
	if (!proxy->legacy && !proxy->modern)
		return error_set(err, EINVAL, "disable-legacy and disable-modern together leave no interface");
	if (device->packed_ring && !proxy->modern)
		return error_set(err, EINVAL, "packed=on needs the modern interface");
	return 0;
}

/* 4.1.2: modern ids count from 0x1040; the transitional ones are a list of their own. */
static void set_ids(struct virtio_device *device)
{
	static const uint16_t transitional[] = {
	        [VIRTIO_ID_NET] = 0x1000,     [VIRTIO_ID_BLOCK] = 0x1001, [VIRTIO_ID_BALLOON] = 0x1002,
	        [VIRTIO_ID_CONSOLE] = 0x1003, [VIRTIO_ID_RNG] = 0x1005,
	};
	uint8_t *config = device->pci.config;

	store_le16(config + 0x02, device->proxy.legacy ? transitional[device->model->id] : 0x1040 + device->model->id);
	store_le16(config + 0x2e, device->proxy.legacy ? device->model->id : 0x1100);
	config[0x08] = device->proxy.legacy ? 0 : 1;
}

static int parse_vectors(struct virtio_device *device, unsigned *vectors, struct error *err)
{
	const char *text = device->proxy.vectors;
	uint64_t number = 0;
	int rc;

	*vectors = device->queue_count + 1 < PCI_MSIX_MAX ? device->queue_count + 1 : PCI_MSIX_MAX;
	if (!text || !strcmp(text, "auto"))
		return 0;
	rc = parse_u64(text, PCI_MSIX_MAX, &number, err);
	*vectors = (unsigned)number;
	return rc < 0 ? error_prefix(err, "vectors") : 0;
}

static int add_registers(struct virtio_device *device, struct error *err)
{
	struct virtio_pci *proxy = &device->proxy;
	unsigned vectors;
	int rc = parse_vectors(device, &vectors, err);

	if (rc < 0)
		return rc;
	set_ids(device);
	if (vectors)
		rc = pci_msix_init(&device->pci, vectors, MSIX_BAR, err);
	if (rc == 0 && proxy->modern)
		rc = add_modern(device, err);
	if (rc == 0 && proxy->legacy)
		rc = add_legacy(device, err);
	if (rc < 0)
		pci_msix_fini(&device->pci);
	return rc;
}

int virtio_pci_init(struct device *base, struct error *err)
{
	struct virtio_device *device = container_of(base, struct virtio_device, device);
	const struct virtio_pci_class *class = base->class->bus_class;
	int rc = choose_interfaces(device, class, err);

	if (rc < 0)
		return error_prefix(err, "%s", base->class->name);
	pthread_mutex_init(&device->proxy.isr_lock, NULL);
	device->proxy.config_vector = VIRTIO_NO_VECTOR;
	rc = virtio_device_init(device, class->model, &transport, err);
	if (rc == 0) {
		rc = add_registers(device, err);
		if (rc < 0)
			virtio_device_fini(device);
	}
	if (rc < 0) {
		pthread_mutex_destroy(&device->proxy.isr_lock);
		return error_prefix(err, "%s", base->class->name);
	}
	return 0;
}

void virtio_pci_reset(struct device *base)
{
	struct virtio_device *device = container_of(base, struct virtio_device, device);

	virtio_device_reset(device);
	pthread_mutex_lock(&device->lock);
	reset_registers(device);
	device->proxy.legacy_access = device->proxy.master = false;
	pthread_mutex_unlock(&device->lock);
}

void virtio_pci_fini(struct device *base)
{
	struct virtio_device *device = container_of(base, struct virtio_device, device);

	pci_unmap(&device->pci);
	virtio_device_fini(device);
	pthread_mutex_destroy(&device->proxy.isr_lock);
}
