/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtio over PCI (virtio 1.2, 4.1): what the modern and the legacy interface have in common, interrupts by MSI-X vectors
 * or INTx with the ISR byte, the window to the registers in configuration space, and the device's life. A device shows
 * one interface or both (transitional).
 */
#include "device/virtio/virtio_pci_internal.h"

#include "base/util.h"

#include <stdlib.h>

enum { ISR_QUEUE = 1, ISR_CONFIG = 2 };

static struct virtio_device *from_pci(struct pci_device *pci)
{
	return container_of(pci, struct virtio_device, pci);
}

/* --- interrupts --- */

static void raise_isr(struct virtio_device *device, uint8_t bits)
{
	pthread_mutex_lock(&device->proxy.isr_lock);
	device->proxy.isr |= bits;
	pci_intx(&device->pci, true);
	pthread_mutex_unlock(&device->proxy.isr_lock);
}

uint8_t virtio_pci_take_isr(struct virtio_device *device)
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

void virtio_pci_set_vector(struct virtio_device *device, uint16_t *vector, uint16_t value)
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
	virtio_pci_take_isr(device);
}

void virtio_pci_write_status(struct virtio_device *device, uint8_t status, bool legacy)
{
	device->proxy.legacy_access = legacy;
	virtio_status_write(device, status);
	if (status == 0)
		reset_registers(device);
}

struct virtqueue_setup *virtio_pci_selected(struct virtio_device *device)
{
	struct virtqueue *queue = virtio_queue(device, device->proxy.queue_select);

	return queue ? virtqueue_setup(queue) : NULL;
}

/* A doorbell that reached the registers: from the next one on the bus rings this queue's eventfd by itself. Done at the
 * first use, because telling the engine of a doorbell takes its time and most queues of most devices are never used. */
void virtio_pci_kick(struct virtio_device *device, unsigned index, unsigned bar, struct doorbell bell)
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
	        [VIRTIO_ID_CONSOLE] = 0x1003, [VIRTIO_ID_SCSI] = 0x1004,  [VIRTIO_ID_RNG] = 0x1005,
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
		rc = virtio_pci_add_modern(device, err);
	if (rc == 0 && proxy->legacy)
		rc = virtio_pci_add_legacy(device, err);
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
