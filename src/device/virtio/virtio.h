/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtio 1.2: the contract between a transport (virtio_pci.c), the rings (virtqueue.c) and the device models
 * (virtio_blk.c, virtio_net.c, ...). A model is a const struct virtio_class and a structure that begins with struct
 * virtio_device; it knows nothing of PCI. What is little-endian in the specification stays so: the guest is x86.
 *
 * Threads and locks
 *   device->lock   status, features, config space, queue set-up. Taken by the transport in a vCPU's thread. The model's
 *                  config_*, features_set, started, reset and queue_reset are called with it held.
 *   queue->lock    one queue's ring. The handler is called with it held, in the thread of the queue's loop. Any other
 *                  place that pops, pushes or notifies wraps it in virtqueue_enter/virtqueue_leave.
 *   Order: device->lock, queue->lock, the model's own locks, MSI-X, interrupt controllers. A handler therefore never
 *   takes device->lock. virtio_fault and virtio_config_changed may be called with any of them held.
 *   No function that a vCPU's thread runs waits for a loop: the main loop may at that moment wait for this vCPU.
 *
 * A reset detaches every queue and raises its generation. Elements popped before belong to the older generation: pushing
 * one is still required (it frees it) but has no effect on the guest. While such elements are in flight the guest reads a
 * status other than 0, so that no transfer lands in memory which the driver believes to be its own again.
 */
#ifndef XUNI_DEVICE_VIRTIO_VIRTIO_H
#define XUNI_DEVICE_VIRTIO_VIRTIO_H

#include "base/log.h"
#include "core/device.h"
#include "core/ram.h"
#include "core/state.h"
#include "device/pci/pci.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/uio.h>

struct loop;
struct loop_fd;
struct virtio_device;
struct virtqueue;

/* 5: device types. */
enum virtio_id {
	VIRTIO_ID_NET = 1,
	VIRTIO_ID_BLOCK = 2,
	VIRTIO_ID_CONSOLE = 3,
	VIRTIO_ID_RNG = 4,
	VIRTIO_ID_BALLOON = 5,
	VIRTIO_ID_SCSI = 8,
	VIRTIO_ID_INPUT = 18,
};

/* 2.1: device status. */
enum virtio_status {
	VIRTIO_ACKNOWLEDGE = 1,
	VIRTIO_DRIVER = 2,
	VIRTIO_DRIVER_OK = 4,
	VIRTIO_FEATURES_OK = 8,
	VIRTIO_NEEDS_RESET = 64,
	VIRTIO_FAILED = 128,
};

/* 6: reserved feature bits, by number. Bits below 24 and above 49 are the model's. */
enum virtio_feature {
	VIRTIO_F_NOTIFY_ON_EMPTY = 24, /* legacy */
	VIRTIO_F_ANY_LAYOUT = 27,      /* legacy */
	VIRTIO_F_INDIRECT_DESC = 28,
	VIRTIO_F_EVENT_IDX = 29,
	VIRTIO_F_VERSION_1 = 32,
	VIRTIO_F_ACCESS_PLATFORM = 33,
	VIRTIO_F_RING_PACKED = 34,
	VIRTIO_F_IN_ORDER = 35,
	VIRTIO_F_ORDER_PLATFORM = 36,
	VIRTIO_F_RING_RESET = 40,
};

#define VIRTIO_BIT(number)    (1ull << (number))
#define VIRTIO_QUEUES_MAX     256 /* of one device */
#define VIRTIO_QUEUE_SIZE_MAX 1024
#define VIRTIO_SEGMENTS_MAX   1024 /* buffers of one element */
#define VIRTIO_NO_VECTOR      0xffff

struct virtq_range {
	uint64_t gpa;
	uint64_t bytes;
};

/* ---- Elements: one descriptor chain, validated, as host memory ---- */

/*
 * What the device reads (out) comes before what it writes (in). The vectors are the element's own copy: the model may
 * change them (iov_skip, iov_trim); what a push tells ram_written does not depend on them. A model that needs more per
 * request begins its own structure with struct virtq_element and passes its size to virtio_queue_add: pop returns the
 * structure with all bytes behind struct virtq_element zeroed.
 */
struct virtq_element {
	struct virtqueue *queue;
	struct iovec *out, *in;
	unsigned out_count, in_count;
	size_t out_bytes, in_bytes; /* as popped */

	/* virtqueue.c's own */
	uint32_t generation;
	uint16_t head;        /* split: index of the first descriptor; packed: buffer id */
	uint16_t descriptors; /* packed: ring slots the chain took */
	unsigned capacity;
	struct iovec *vectors;
	struct virtq_range *written; /* in_segments guest ranges of the in part; models may look */
	unsigned in_segments;
	struct virtq_element *next;
};

/* Drops the first (iov_skip) or last (iov_trim) bytes of a vector; false, and nothing changed, when it is shorter. */
bool iov_skip(struct iovec **iov, unsigned *count, size_t bytes);
bool iov_trim(struct iovec *iov, unsigned *count, size_t bytes);
/* Copies at most length bytes at offset of a vector; returns how many there were. */
size_t iov_read(const struct iovec *iov, unsigned count, size_t offset, void *to, size_t length);
size_t iov_write(const struct iovec *iov, unsigned count, size_t offset, const void *from, size_t length);
size_t iov_fill(const struct iovec *iov, unsigned count, size_t offset, uint8_t byte, size_t length);
static inline size_t iov_bytes(const struct iovec *iov, unsigned count)
{
	size_t bytes = 0;

	for (unsigned i = 0; i < count; i++)
		bytes += iov[i].iov_len;
	return bytes;
}

/* ---- Queues, for models ---- */

/* Called in the queue's loop thread with the queue's lock held when the driver has rung the doorbell, and once when the
 * device starts. The usual form:
 *
 *	do {
 *		virtqueue_kicks_off(queue);
 *		while ((element = virtqueue_pop(queue)))
 *			...; virtqueue_push(element, written);
 *	} while (virtqueue_kicks_on(queue));
 *	virtqueue_notify(queue);
 *
 * One call gets a bounded number of elements from pop, so that a guest cannot keep the loop for itself; when the bound
 * is hit the handler is called again by the next pass of the loop. */
typedef void virtqueue_fn(struct virtio_device *device, struct virtqueue *queue);

/* In the model's init: the next queue (index 0, 1, ...). size_max: a power of two, <= VIRTIO_QUEUE_SIZE_MAX.
 * element_size: 0 or the model's structure that begins with struct virtq_element. loop: NULL for the main loop. */
struct virtqueue *virtio_queue_add(struct virtio_device *device, unsigned size_max, size_t element_size,
                                   struct loop *loop, virtqueue_fn *handler);
/* A model whose queue numbers depend on features (the control queue of virtio-net) adds as many queues as it can need and
 * lets the handler look at virtqueue_index and the features: queues cannot come and go while vCPUs run. */
struct virtqueue *virtio_queue(struct virtio_device *device, unsigned index); /* NULL beyond the last */
unsigned virtqueue_index(const struct virtqueue *queue);
struct virtio_device *virtqueue_device(const struct virtqueue *queue);

/* Locks the queue. Returns whether it is live (set up, device started, not broken): only then pop returns anything.
 * Always followed by virtqueue_leave. */
bool virtqueue_enter(struct virtqueue *queue);
void virtqueue_leave(struct virtqueue *queue);
/* True in handlers and between enter and leave when the queue is live. */
bool virtqueue_live(const struct virtqueue *queue);

/* The next chain, or NULL: ring empty, queue not live, or the driver broke a rule (then the device has been faulted).
 * Memory is the queue's; the element is out of the model's hands after push, unpop or drop. */
void *virtqueue_pop(struct virtqueue *queue);
/* Puts back the element popped last (several: in reverse order), as if it never had been popped. */
void virtqueue_unpop(void *element);
/* Returns the element to the driver, `written` bytes of its in part having been filled from the start. Also for elements
 * of an older generation. */
void virtqueue_push(void *element, size_t written);
/* Frees the element without telling the driver (device reset, hot-unplug). */
void virtqueue_drop(void *element);
/* Whether the queue was not reset since the element was popped. Any thread; without the lock the answer may be old. */
bool virtqueue_current(const void *element);
/* push in two steps, for several elements that must appear together (mergeable receive buffers). */
void virtqueue_fill(void *element, size_t written);
void virtqueue_publish(struct virtqueue *queue);
/* Interrupts the driver if it wants to hear of what was pushed since the last notify. After a batch. */
void virtqueue_notify(struct virtqueue *queue);

/* Whether the driver needs to ring the doorbell. on returns true when there is something to pop right now. */
void virtqueue_kicks_off(struct virtqueue *queue);
bool virtqueue_kicks_on(struct virtqueue *queue);
/* True when a pop would find nothing. */
bool virtqueue_empty(struct virtqueue *queue);
/* Whether chains are waiting whose in parts add up to at least in_bytes; stops counting there. Reads descriptors
 * without taking them; a malformed chain counts as room, so that pop meets it. */
bool virtqueue_has_room(struct virtqueue *queue, size_t in_bytes);
/* Makes the handler run soon. Any thread, no lock needed. */
void virtqueue_schedule(struct virtqueue *queue);
/* Elements popped and not yet pushed, unpopped or dropped, of all generations. Any thread. */
unsigned virtqueue_in_flight(const struct virtqueue *queue);

/* ---- Devices ---- */

struct virtio_class {
	const char *name;     /* "virtio-blk" */
	enum virtio_id id;
	uint16_t config_size; /* bytes of device-specific configuration */
	/* Properties are set. Fills device->offered with the model's own feature bits and adds the queues. */
	int (*init)(struct virtio_device *device, struct error *err);
	/* Undoes init. No handler is running any more; the queues still exist (elements held are dropped). May be NULL. */
	void (*fini)(struct virtio_device *device);
	/* Fills the whole configuration image (zeroed before, config_size bytes). */
	void (*config_read)(struct virtio_device *device, uint8_t *config);
	/* The driver wrote [offset, offset + size); config is the image with that change. May be NULL: read-only. */
	void (*config_write)(struct virtio_device *device, const uint8_t *config, unsigned offset, unsigned size);
	/* The driver's final choice, a subset of what was offered (device->features holds it already). false: FEATURES_OK
	 * is refused. May be NULL. Called again with 0 by reset. */
	bool (*features_set)(struct virtio_device *device, uint64_t features);
	/* DRIVER_OK: from now on the handlers are called. In a vCPU's thread. May be NULL. */
	void (*started)(struct virtio_device *device);
	/* Back to the state after init: drops elements that the model holds on to without anything running on them (what is
	 * with a back end stays in flight until that is done). The queues are detached already. In a vCPU's thread or, with
	 * the vCPUs stopped, in the main loop's. May be NULL. */
	void (*reset)(struct virtio_device *device);
	/* The same for one queue (VIRTIO_F_RING_RESET). May be NULL. */
	void (*queue_reset)(struct virtio_device *device, struct virtqueue *queue);
	/* Main loop thread, vCPUs stopped: returns when nothing is with a back end any more (machine reset, save, unplug).
	 * No lock held. NULL for models that never let an element out of a handler. */
	void (*drain)(struct virtio_device *device);
	/* After a restore, queues are live again if the guest had them so. May be NULL. */
	void (*loaded)(struct virtio_device *device);
};

struct virtio_transport {
	/* Any thread. */
	void (*notify_queue)(struct virtio_device *device, unsigned queue);
	void (*notify_config)(struct virtio_device *device);
};

/* What the guest sets up for a queue through the transport; saved and restored. */
struct virtqueue_setup {
	uint16_t size;     /* chosen by the driver, <= size_max */
	uint16_t vector;   /* MSI-X vector, VIRTIO_NO_VECTOR */
	bool enabled;
	uint64_t desc_gpa, avail_gpa, used_gpa; /* packed: descriptor ring, driver area, device area */
	uint16_t avail_next, used_next;         /* ring positions; packed: bit 15 says that the wrap counter is 0 */
};

/* PCI transport: properties and registers. Models do not touch it. */
struct virtio_pci {
	int disable_legacy;   /* on/off/auto */
	bool disable_modern, ioeventfd, iommu_platform, page_per_vq;
	char *vectors;        /* a number, or "auto": as many as queues + 1 */
	pthread_mutex_t isr_lock; /* isr and the INTx level; before PCI's interrupt lock */
	uint8_t isr;
	bool master;          /* bus mastering as last seen */
	uint16_t config_vector;
	uint32_t device_feature_select, driver_feature_select;
	uint16_t queue_select;
	bool legacy, modern;  /* what is offered */
	bool legacy_access;   /* the driver's last status access came through the legacy registers */
	uint64_t bells[2][VIRTIO_QUEUES_MAX / 64]; /* atomic: queues with a doorbell; modern, legacy */
	uint8_t pci_cfg;      /* offset of the configuration access capability */
};

struct virtio_device {
	union {
		struct device device;
		struct pci_device pci;
	};
	const struct virtio_class *model;
	const struct virtio_transport *transport;
	pthread_mutex_t lock;
	uint8_t status;          /* atomic: enum virtio_status */
	bool broken;             /* atomic: the driver broke a rule */
	bool resetting;          /* elements of an older generation are still in flight */
	bool started;            /* DRIVER_OK seen (legacy: or a doorbell before it) */
	uint32_t config_generation; /* atomic */
	uint64_t offered;        /* feature bits */
	uint64_t driver_features; /* as written so far */
	uint64_t features;       /* as agreed at FEATURES_OK (legacy: at once) */
	bool indirect_desc, event_idx, packed_ring, queue_reset_offered; /* properties */
	struct log_limit log_limit;
	struct virtqueue *queues[VIRTIO_QUEUES_MAX];
	struct virtqueue_setup setup[VIRTIO_QUEUES_MAX];
	unsigned queue_count;
	struct virtio_pci proxy;
};

static inline bool virtio_has(const struct virtio_device *device, unsigned feature)
{
	return device->features >> feature & 1;
}

/* The configuration image changed: generation and configuration interrupt. Any thread, any lock. */
void virtio_config_changed(struct virtio_device *device);
/* The driver broke a rule: logs (rate limited), sets NEEDS_RESET and interrupts; no queue is live until a reset. Any
 * thread, any lock. */
void virtio_fault(struct virtio_device *device, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool virtio_broken(const struct virtio_device *device);

/* For every model's state table: STATE_SUB(virtio_device_state, struct MODEL, virtio, 1) as its first row. */
extern const struct state_table virtio_device_state;

/* ---- Core operations, for transports and tests ---- */

int virtio_device_init(struct virtio_device *device, const struct virtio_class *model,
                       const struct virtio_transport *transport, struct error *err);
void virtio_device_fini(struct virtio_device *device);
/* With device->lock held. */
uint8_t virtio_status_read(struct virtio_device *device);
void virtio_status_write(struct virtio_device *device, uint8_t status);
void virtio_features_write(struct virtio_device *device, uint64_t features);
void virtio_config_access(struct virtio_device *device, unsigned offset, void *bytes, unsigned size, bool write);
void virtio_queue_reset(struct virtqueue *queue);
/* -EINVAL (and the queue stays off) when the set-up is not usable. */
int virtio_queue_enable(struct virtqueue *queue);
struct virtqueue_setup *virtqueue_setup(struct virtqueue *queue);
unsigned virtqueue_size_max(const struct virtqueue *queue);
/* A reset of this queue alone waits for elements in flight. */
bool virtqueue_resetting(const struct virtqueue *queue);
/* The doorbell's eventfd. */
int virtqueue_event_fd(const struct virtqueue *queue);
/* Without an eventfd doorbell: the driver's write reached the transport. Any thread, no lock. */
void virtqueue_kicked(struct virtqueue *queue);
/* The driver took bus mastering away: queues stop, the status loses DRIVER_OK. With device->lock held. */
void virtio_device_pause(struct virtio_device *device);
/* Machine reset: main loop thread, vCPUs stopped, no lock. */
void virtio_device_reset(struct virtio_device *device);

/* ---- PCI classes ---- */

enum virtio_pci_variant { VIRTIO_PCI_DEFAULT, VIRTIO_PCI_TRANSITIONAL, VIRTIO_PCI_NON_TRANSITIONAL };

struct virtio_pci_class {
	struct pci_class pci; /* class_code is what counts; ids follow from the model */
	const struct virtio_class *model;
	enum virtio_pci_variant variant;
};

int virtio_pci_init(struct device *device, struct error *err);
void virtio_pci_reset(struct device *device);
void virtio_pci_fini(struct device *device);
bool virtio_pci_config_read(struct pci_device *pci, unsigned offset, unsigned size, uint32_t *value);
void virtio_pci_config_written(struct pci_device *pci, unsigned offset, unsigned size);

/* Rows that every virtio PCI device's property table begins with; TYPE begins with `struct virtio_device virtio`. */
#define VIRTIO_PROPERTY(TYPE, NAME, KIND, MEMBER, FALLBACK, HELP) \
	{ .name = NAME, .type = KIND, .offset = offsetof(TYPE, virtio.MEMBER), .fallback = FALLBACK, .help = HELP }
#define VIRTIO_PCI_PROPERTIES(TYPE)                                                                                  \
	VIRTIO_PROPERTY(TYPE, "disable-legacy", PROPERTY_ONOFFAUTO, proxy.disable_legacy, "auto",                    \
	                "do not offer the pre-1.0 interface"),                                                      \
	VIRTIO_PROPERTY(TYPE, "disable-modern", PROPERTY_BOOL, proxy.disable_modern, "off",                          \
	                "do not offer the 1.0 interface"),                                                          \
	VIRTIO_PROPERTY(TYPE, "vectors", PROPERTY_STRING, proxy.vectors, "auto",                                     \
	                "MSI-X vectors; 0: INTx only; auto: queues + 1"),                                           \
	VIRTIO_PROPERTY(TYPE, "ioeventfd", PROPERTY_BOOL, proxy.ioeventfd, "on", "doorbells through eventfd"),       \
	VIRTIO_PROPERTY(TYPE, "iommu_platform", PROPERTY_BOOL, proxy.iommu_platform, "off",                          \
	                "only off: there is no IOMMU"),                                                             \
	VIRTIO_PROPERTY(TYPE, "page-per-vq", PROPERTY_BOOL, proxy.page_per_vq, "off",                                \
	                "a page of doorbell per queue"),                                                            \
	VIRTIO_PROPERTY(TYPE, "indirect_desc", PROPERTY_BOOL, indirect_desc, "on", "offer indirect descriptors"),    \
	VIRTIO_PROPERTY(TYPE, "event_idx", PROPERTY_BOOL, event_idx, "on", "offer the event index"),                 \
	VIRTIO_PROPERTY(TYPE, "packed", PROPERTY_BOOL, packed_ring, "off", "offer the packed ring"),                 \
	VIRTIO_PROPERTY(TYPE, "queue_reset", PROPERTY_BOOL, queue_reset_offered, "on", "offer reset of one queue")

/* The three device classes of a model: "virtio-X-pci" (alias "virtio-X"), "-transitional" and "-non-transitional".
 *   VIRTIO_PCI_CLASSES(virtio_rng, "virtio-rng", "help", struct virtio_rng, properties, &state, &model, 0x00ff00)
 * defines virtio_rng_pci, virtio_rng_pci_transitional and virtio_rng_pci_non_transitional. */
#define VIRTIO_PCI_CLASS_ONE(SYMBOL, NAME, ALIAS, HELP, TYPE, PROPERTIES, STATE, MODEL, CLASS_CODE, VARIANT)          \
	static const struct virtio_pci_class SYMBOL##_bus_class = {                                                  \
	        .pci = {.vendor = 0x1af4, .class_code = CLASS_CODE, .interrupt_pin = 1, .subsystem_vendor = 0x1af4,  \
	                .config_read = virtio_pci_config_read, .config_written = virtio_pci_config_written},         \
	        .model = MODEL,                                                                                      \
	        .variant = VARIANT,                                                                                  \
	};                                                                                                           \
	const struct device_class SYMBOL = {                                                                         \
	        .name = NAME,                                                                                        \
	        .alias = ALIAS,                                                                                      \
	        .help = HELP,                                                                                        \
	        .bus = DEVICE_PCI,                                                                                   \
	        .size = sizeof(TYPE),                                                                                \
	        .properties = PROPERTIES,                                                                            \
	        .state = STATE,                                                                                      \
	        .init = virtio_pci_init,                                                                             \
	        .reset = virtio_pci_reset,                                                                           \
	        .fini = virtio_pci_fini,                                                                             \
	        .bus_class = &SYMBOL##_bus_class,                                                                    \
	}
#define VIRTIO_PCI_CLASSES(SYMBOL, NAME, HELP, TYPE, PROPERTIES, STATE, MODEL, CLASS_CODE)                            \
	VIRTIO_PCI_CLASS_ONE(SYMBOL##_pci, NAME "-pci", NAME, HELP, TYPE, PROPERTIES, STATE, MODEL, CLASS_CODE,      \
	                     VIRTIO_PCI_DEFAULT);                                                                    \
	VIRTIO_PCI_CLASS_ONE(SYMBOL##_pci_transitional, NAME "-pci-transitional", NULL, HELP, TYPE, PROPERTIES,      \
	                     STATE, MODEL, CLASS_CODE, VIRTIO_PCI_TRANSITIONAL);                                     \
	VIRTIO_PCI_CLASS_ONE(SYMBOL##_pci_non_transitional, NAME "-pci-non-transitional", NULL, HELP, TYPE,          \
	                     PROPERTIES, STATE, MODEL, CLASS_CODE, VIRTIO_PCI_NON_TRANSITIONAL)

extern const struct device_class virtio_blk_pci, virtio_blk_pci_transitional, virtio_blk_pci_non_transitional;
extern const struct device_class virtio_net_pci, virtio_net_pci_transitional, virtio_net_pci_non_transitional;
extern const struct device_class virtio_serial_pci, virtio_serial_pci_transitional, virtio_serial_pci_non_transitional;
/* Ports of virtio-serial (DEVICE_VIRTIO_SERIAL). */
extern const struct device_class virtio_console_class, virtio_serialport_class;
/* For device_env.bus_ops[DEVICE_VIRTIO_SERIAL]: lets bus=ID.0 name the controller of a port. */
extern const struct device_bus_ops virtio_serial_bus_ops;
extern const struct device_class virtio_rng_pci, virtio_rng_pci_transitional, virtio_rng_pci_non_transitional;
extern const struct device_class virtio_balloon_pci, virtio_balloon_pci_transitional, virtio_balloon_pci_non_transitional;
extern const struct device_class virtio_keyboard_pci, virtio_mouse_pci, virtio_tablet_pci;

/* All of the above; NULL-ended. */
extern const struct device_class *const device_classes_virtio[];

#endif
