/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A virtio device without its transport (virtio 1.2 chapters 2 and 3): status, feature negotiation, configuration
 * space, start and reset of queues, and what is saved. Legacy drivers (no VIRTIO_F_VERSION_1) are served as 2.2.3, 2.4.3
 * and 2.7.2 describe; some of them ring a doorbell before DRIVER_OK and wait for the answer, so that starts the device.
 */
#include "device/virtio/virtqueue_internal.h"

#include "base/loop.h"
#include "base/util.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define CONFIG_MAX 4096

/* How long a legacy driver's reset waits for transfers in flight, for it does not look whether the reset is done. */
#define LEGACY_RESET_WAIT_NS (5 * NS_PER_S)

static uint8_t status_load(const struct virtio_device *device)
{
	return __atomic_load_n(&device->status, __ATOMIC_ACQUIRE);
}

bool virtio_broken(const struct virtio_device *device)
{
	return __atomic_load_n(&device->broken, __ATOMIC_RELAXED);
}

void virtio_fault(struct virtio_device *device, const char *fmt, ...)
{
	char text[200];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	log_guest(device->device.env->log, &device->log_limit, "%s: %s; the device stops until it is reset",
	          device->model->name, text);
	if (__atomic_exchange_n(&device->broken, true, __ATOMIC_ACQ_REL))
		return;
	/* Only 1.0 drivers know the bit (2.1.2). */
	if (!virtio_has(device, VIRTIO_F_VERSION_1))
		return;
	if (__atomic_fetch_or(&device->status, VIRTIO_NEEDS_RESET, __ATOMIC_ACQ_REL) & VIRTIO_DRIVER_OK)
		device->transport->notify_config(device);
}

void virtio_config_changed(struct virtio_device *device)
{
	__atomic_fetch_add(&device->config_generation, 1, __ATOMIC_ACQ_REL);
	if (status_load(device) & VIRTIO_DRIVER_OK)
		device->transport->notify_config(device);
}

void virtio_config_access(struct virtio_device *device, unsigned offset, void *bytes, unsigned size, bool write)
{
	const struct virtio_class *model = device->model;
	uint8_t config[CONFIG_MAX] = {0};

	if (!range_inside(offset, size, model->config_size)) {
		if (!write)
			memset(bytes, 0, size);
		return;
	}
	if (model->config_read)
		model->config_read(device, config);
	if (!write) {
		memcpy(bytes, config + offset, size);
	} else if (model->config_write) {
		memcpy(config + offset, bytes, size);
		model->config_write(device, config, offset, size);
	}
}

/* --- features --- */

void virtio_features_write(struct virtio_device *device, uint64_t features)
{
	if (!(status_load(device) & VIRTIO_FEATURES_OK))
		device->driver_features = features;
}

/* What a legacy driver may have: the lower 32 bits (2.2.3). */
static uint64_t legacy_features(const struct virtio_device *device)
{
	return device->driver_features & device->offered & 0xffffffffull;
}

static bool agree(struct virtio_device *device, uint64_t features)
{
	if (features & ~device->offered)
		return false;
	if ((features & VIRTIO_BIT(VIRTIO_F_RING_PACKED)) && !(features & VIRTIO_BIT(VIRTIO_F_VERSION_1)))
		return false;
	device->features = features;
	if (device->model->features_set && !device->model->features_set(device, features)) {
		device->features = 0;
		return false;
	}
	return true;
}

/* --- start --- */

int virtio_queue_enable(struct virtqueue *queue)
{
	struct virtio_device *device = queue->device;
	int rc = 0;

	queue->setup->enabled = true;
	if (!device->started)
		return 0;
	pthread_mutex_lock(&queue->lock);
	if (!queue->live)
		rc = virtqueue_attach_locked(queue);
	pthread_mutex_unlock(&queue->lock);
	if (rc < 0)
		virtio_fault(device, "queue %u is not usable as set up", queue->index);
	else
		virtqueue_schedule(queue);
	return rc;
}

static void start(struct virtio_device *device)
{
	if (device->started)
		return;
	if (!(status_load(device) & VIRTIO_FEATURES_OK))
		agree(device, legacy_features(device));
	__atomic_store_n(&device->started, true, __ATOMIC_RELEASE);
	if (device->model->started)
		device->model->started(device);
	for (unsigned i = 0; i < device->queue_count; i++)
		if (device->setup[i].enabled)
			virtio_queue_enable(device->queues[i]);
}

void virtio_early_kick(struct virtio_device *device)
{
	if (!device->proxy.legacy || (status_load(device) & VIRTIO_FEATURES_OK))
		return;
	pthread_mutex_lock(&device->lock);
	if ((status_load(device) & (VIRTIO_DRIVER | VIRTIO_FEATURES_OK | VIRTIO_FAILED)) == VIRTIO_DRIVER)
		start(device);
	pthread_mutex_unlock(&device->lock);
}

/* --- status and reset --- */

static bool any_in_flight(const struct virtio_device *device)
{
	for (unsigned i = 0; i < device->queue_count; i++)
		if (virtqueue_in_flight(device->queues[i]))
			return true;
	return false;
}

static void reset_setup(struct virtqueue *queue)
{
	*queue->setup = (struct virtqueue_setup){.size = (uint16_t)queue->size_max, .vector = VIRTIO_NO_VECTOR};
}

static void reset(struct virtio_device *device)
{
	const struct virtio_class *model = device->model;

	for (unsigned i = 0; i < device->queue_count; i++) {
		virtqueue_detach(device->queues[i]);
		reset_setup(device->queues[i]);
	}
	__atomic_store_n(&device->started, false, __ATOMIC_RELEASE);
	__atomic_store_n(&device->broken, false, __ATOMIC_RELEASE);
	__atomic_store_n(&device->status, 0, __ATOMIC_RELEASE);
	device->features = device->driver_features = 0;
	if (model->features_set)
		model->features_set(device, 0);
	if (model->reset)
		model->reset(device);
	device->resetting = any_in_flight(device);
}

/* The lock is dropped while waiting: whoever completes a transfer must not be kept from it. */
static void wait_for_reset(struct virtio_device *device)
{
	int64_t end_ns = host_now_ns() + LEGACY_RESET_WAIT_NS;

	/* A deterministic run has its vCPU in the main loop's thread: nobody else would complete anything. */
	if (device->model->drain && loop_is_current(device->device.env->loop)) {
		pthread_mutex_unlock(&device->lock);
		device->model->drain(device);
		pthread_mutex_lock(&device->lock);
	}
	while (any_in_flight(device) && host_now_ns() < end_ns) {
		pthread_mutex_unlock(&device->lock);
		nanosleep(&(struct timespec){.tv_nsec = 100 * NS_PER_US}, NULL);
		pthread_mutex_lock(&device->lock);
	}
}

uint8_t virtio_status_read(struct virtio_device *device)
{
	if (device->resetting && any_in_flight(device)) {
		/* 2.4.2: drivers of 1.0 and later read until it is 0. */
		return device->proxy.legacy_access ? (wait_for_reset(device), 0) : VIRTIO_ACKNOWLEDGE;
	}
	device->resetting = false;
	return status_load(device);
}

static void set_features_ok(struct virtio_device *device)
{
	if (!(device->driver_features & VIRTIO_BIT(VIRTIO_F_VERSION_1)) || !agree(device, device->driver_features))
		return;
	__atomic_fetch_or(&device->status, VIRTIO_FEATURES_OK, __ATOMIC_ACQ_REL);
}

void virtio_status_write(struct virtio_device *device, uint8_t status)
{
	uint8_t old;

	if (status == 0) {
		reset(device);
		return;
	}
	if (device->resetting) {
		wait_for_reset(device);
		if (any_in_flight(device)) {
			log_guest(device->device.env->log, &device->log_limit,
			          "%s: set up again while transfers from before its reset are still under way",
			          device->model->name);
			return;
		}
		device->resetting = false;
	}
	old = status_load(device);
	/* Bits are only ever added; FEATURES_OK and NEEDS_RESET are ours to set. */
	__atomic_fetch_or(&device->status, status & ~(VIRTIO_FEATURES_OK | VIRTIO_NEEDS_RESET), __ATOMIC_ACQ_REL);
	if ((status & VIRTIO_FEATURES_OK) && !(old & VIRTIO_FEATURES_OK))
		set_features_ok(device);
	if ((status & VIRTIO_DRIVER_OK) && !(status & VIRTIO_FAILED))
		start(device);
}

void virtio_queue_reset(struct virtqueue *queue)
{
	struct virtio_device *device = queue->device;
	uint16_t vector = queue->setup->vector;

	virtqueue_detach(queue);
	reset_setup(queue);
	queue->setup->vector = vector;
	if (device->model->queue_reset)
		device->model->queue_reset(device, queue);
}

void virtio_device_reset(struct virtio_device *device)
{
	if (device->model->drain)
		device->model->drain(device);
	pthread_mutex_lock(&device->lock);
	reset(device);
	pthread_mutex_unlock(&device->lock);
}

void virtio_device_pause(struct virtio_device *device)
{
	if (!device->started)
		return;
	for (unsigned i = 0; i < device->queue_count; i++)
		virtqueue_detach(device->queues[i]);
	__atomic_store_n(&device->started, false, __ATOMIC_RELEASE);
	__atomic_fetch_and(&device->status, ~VIRTIO_DRIVER_OK, __ATOMIC_ACQ_REL);
}

/* --- life --- */

struct virtqueue *virtio_queue(struct virtio_device *device, unsigned index)
{
	return index < device->queue_count ? device->queues[index] : NULL;
}

static void offer_common(struct virtio_device *device)
{
	bool modern = device->proxy.modern;

	device->offered &= ~VIRTIO_BIT(VIRTIO_F_ACCESS_PLATFORM);
	if (device->indirect_desc)
		device->offered |= VIRTIO_BIT(VIRTIO_F_INDIRECT_DESC);
	if (device->event_idx)
		device->offered |= VIRTIO_BIT(VIRTIO_F_EVENT_IDX);
	if (device->proxy.legacy)
		device->offered |= VIRTIO_BIT(VIRTIO_F_ANY_LAYOUT);
	if (modern)
		device->offered |= VIRTIO_BIT(VIRTIO_F_VERSION_1);
	if (modern && device->packed_ring)
		device->offered |= VIRTIO_BIT(VIRTIO_F_RING_PACKED);
	if (modern && device->queue_reset_offered)
		device->offered |= VIRTIO_BIT(VIRTIO_F_RING_RESET);
}

static void free_queues(struct virtio_device *device)
{
	while (device->queue_count)
		virtqueue_free(device->queues[--device->queue_count]);
}

int virtio_device_init(struct virtio_device *device, const struct virtio_class *model,
                       const struct virtio_transport *transport, struct error *err)
{
	int rc;

	assert(model->config_size <= CONFIG_MAX);
	device->model = model;
	device->transport = transport;
	pthread_mutex_init(&device->lock, NULL);
	rc = model->init(device, err);
	if (rc < 0) {
		free_queues(device);
		pthread_mutex_destroy(&device->lock);
		return rc;
	}
	offer_common(device);
	return 0;
}

void virtio_device_fini(struct virtio_device *device)
{
	virtio_device_reset(device);
	if (device->model->fini)
		device->model->fini(device);
	free_queues(device);
	pthread_mutex_destroy(&device->lock);
}

/* --- saved state --- */

static void before_save(void *object)
{
	struct virtio_device *device = object;

	if (device->model->drain)
		device->model->drain(device);
	for (unsigned i = 0; i < device->queue_count; i++) {
		struct virtqueue *queue = device->queues[i];

		pthread_mutex_lock(&queue->lock);
		if (queue->live)
			queue->ring->save(queue);
		pthread_mutex_unlock(&queue->lock);
	}
}

static int check_state(const void *staged, struct error *err)
{
	const struct virtio_device *device = staged;

	if (device->features & ~device->offered)
		return error_set(err, EINVAL, "it uses features 0x%llx that this device does not offer",
		                 (unsigned long long)(device->features & ~device->offered));
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++) {
		const struct virtqueue_setup *setup = &device->setup[i];
		unsigned most = i < device->queue_count ? device->queues[i]->size_max : 0;

		if (setup->size > most)
			return error_set(err, EINVAL, "queue %u has %u entries; this device has %u", i, setup->size, most);
	}
	return 0;
}

static void after_load(void *object)
{
	struct virtio_device *device = object;

	if (device->model->features_set)
		device->model->features_set(device, device->features);
	for (unsigned i = 0; i < device->queue_count; i++) {
		struct virtqueue *queue = device->queues[i];
		int rc = 0;

		pthread_mutex_lock(&queue->lock);
		queue->live = false;
		queue->generation++;
		if (device->started && device->setup[i].enabled)
			rc = virtqueue_attach_locked(queue);
		pthread_mutex_unlock(&queue->lock);
		if (rc < 0)
			virtio_fault(device, "queue %u is not usable as restored", i);
		else
			virtqueue_schedule(queue);
	}
	if (device->model->loaded)
		device->model->loaded(device);
}

/* One member of all queues' set-up. */
#define SETUP_FIELD(KIND, MEMBER) \
	{ .name = "queue_" #MEMBER, .type = KIND, .offset = offsetof(struct virtio_device, setup[0].MEMBER), \
	  .count = VIRTIO_QUEUES_MAX, .stride = sizeof(struct virtqueue_setup) }

static const struct state_field fields[] = {
        STATE_SUB(pci_device_state, struct virtio_device, pci, 1),
        STATE_FIELD(STATE_U8, struct virtio_device, status),
        STATE_FIELD(STATE_BOOL, struct virtio_device, started),
        STATE_FIELD(STATE_BOOL, struct virtio_device, broken),
        STATE_FIELD(STATE_U32, struct virtio_device, config_generation),
        STATE_FIELD(STATE_U64, struct virtio_device, driver_features),
        STATE_FIELD(STATE_U64, struct virtio_device, features),
        SETUP_FIELD(STATE_U16, size),
        SETUP_FIELD(STATE_U16, vector),
        SETUP_FIELD(STATE_BOOL, enabled),
        SETUP_FIELD(STATE_U64, desc_gpa),
        SETUP_FIELD(STATE_U64, avail_gpa),
        SETUP_FIELD(STATE_U64, used_gpa),
        SETUP_FIELD(STATE_U16, avail_next),
        SETUP_FIELD(STATE_U16, used_next),
        {.name = "isr", .type = STATE_U8, .offset = offsetof(struct virtio_device, proxy.isr), .count = 1, .stride = 1},
        {.name = "config_vector", .type = STATE_U16, .offset = offsetof(struct virtio_device, proxy.config_vector),
         .count = 1, .stride = 2},
        {.name = "queue_select", .type = STATE_U16, .offset = offsetof(struct virtio_device, proxy.queue_select),
         .count = 1, .stride = 2},
        {.name = "device_feature_select", .type = STATE_U32,
         .offset = offsetof(struct virtio_device, proxy.device_feature_select), .count = 1, .stride = 4},
        {.name = "driver_feature_select", .type = STATE_U32,
         .offset = offsetof(struct virtio_device, proxy.driver_feature_select), .count = 1, .stride = 4},
        STATE_END,
};

const struct state_table virtio_device_state = {
        .name = "virtio",
        .version = 1,
        .size = sizeof(struct virtio_device),
        .fields = fields,
        .check = check_state,
        .before_save = before_save,
        .after_load = after_load,
};
