/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The virtio memory balloon (virtio 1.2, 5.5): the guest hands pages back (inflate), takes them again (deflate), tells
 * statistics, and reports free pages, whose memory the host then has until they are used. Left out: free page hinting,
 * page poison (a guest that poisons pages does not report them then), the bit that the host must be told before a deflate.
 */
#include "device/virtio/virtio_balloon.h"

#include "base/loop.h"
#include "base/util.h"
#include "device/virtio/virtio.h"

#include <stdlib.h>
#include <time.h>

enum { BALLOON_F_STATS = 1, BALLOON_F_DEFLATE_ON_OOM = 2, BALLOON_F_REPORTING = 5 };

enum {
	QUEUE_SIZE = 128,
	REPORT_QUEUE_SIZE = 32,
	CONFIG_PAGES = 0,
	CONFIG_ACTUAL = 4,
	CONFIG_BYTES = 16,
	STAT_BYTES = 10, /* tag u16, value u64, packed */
	ELEMENTS_A_TURN = 16, /* giving memory back takes its time: others share the loop */
};

struct virtio_balloon {
	struct virtio_device virtio;
	/* properties */
	bool deflate_on_oom, free_page_reporting;

	uint32_t target_pages; /* atomic: what the guest is asked to give */
	uint32_t actual_pages; /* atomic: what it says it gave */
	struct virtqueue *stats_queue;
	struct virtq_element *held; /* the guest's statistics buffer, returned to ask for new ones; stats_queue's lock */
	struct balloon_stats stats; /* likewise */
	uint32_t polling_s;
	struct loop_timer poll;
};

static struct virtio_balloon *from_virtio(struct virtio_device *device)
{
	return container_of(device, struct virtio_balloon, virtio);
}

/* --- pages --- */

static void give_back(struct virtio_balloon *balloon, uint64_t gpa, uint64_t bytes)
{
	const struct device_env *env = balloon->virtio.device.env;
	const struct ram_slot *slot = ram_find(env->ram, gpa);

	if (bytes == 0)
		return;
	if (!slot || slot->read_only || ram_discard(env->ram, gpa, bytes) < 0)
		log_guest(env->log, &balloon->virtio.log_limit, "virtio-balloon: cannot give back 0x%llx+0x%llx",
		          (unsigned long long)gpa, (unsigned long long)bytes);
}

/* Page numbers that follow one another go back in one piece. */
static void inflate(struct virtio_balloon *balloon, const struct virtq_element *element)
{
	uint64_t start = 0, bytes = 0;
	uint8_t word[4];

	for (size_t at = 0; iov_read(element->out, element->out_count, at, word, 4) == 4; at += 4) {
		uint64_t gpa = (uint64_t)load_le32(word) << PAGE_SHIFT;
		const struct ram_slot *slot = ram_find(balloon->virtio.device.env->ram, gpa);

		if (bytes && gpa == start + bytes && slot && slot->gpa <= start) {
			bytes += PAGE_SIZE;
			continue;
		}
		give_back(balloon, start, bytes);
		start = gpa;
		bytes = PAGE_SIZE;
	}
	give_back(balloon, start, bytes);
}

static void report(struct virtio_balloon *balloon, const struct virtq_element *element)
{
	for (unsigned i = 0; i < element->in_segments; i++) {
		const struct virtq_range *range = &element->written[i];
		uint64_t first = align_up(range->gpa, PAGE_SIZE), end = align_down(range->gpa + range->bytes, PAGE_SIZE);

		if (first < end)
			give_back(balloon, first, end - first);
	}
}

static void run_queue(struct virtio_balloon *balloon, struct virtqueue *queue,
                      void (*each)(struct virtio_balloon *balloon, const struct virtq_element *element))
{
	struct virtq_element *element;
	unsigned turn = 0;

	do {
		virtqueue_kicks_off(queue);
		while (turn < ELEMENTS_A_TURN && (element = virtqueue_pop(queue))) {
			if (each)
				each(balloon, element);
			virtqueue_push(element, 0);
			turn++;
		}
	} while (turn < ELEMENTS_A_TURN && virtqueue_kicks_on(queue));
	if (turn == ELEMENTS_A_TURN)
		virtqueue_schedule(queue);
	virtqueue_notify(queue);
}

static void handle_inflate(struct virtio_device *device, struct virtqueue *queue)
{
	run_queue(from_virtio(device), queue, inflate);
}

/* A page comes back by being touched. */
static void handle_deflate(struct virtio_device *device, struct virtqueue *queue)
{
	run_queue(from_virtio(device), queue, NULL);
}

static void handle_report(struct virtio_device *device, struct virtqueue *queue)
{
	run_queue(from_virtio(device), queue, report);
}

/* --- statistics (5.5.6.3) --- */

static void arm_poll(struct virtio_balloon *balloon)
{
	if (balloon->polling_s)
		loop_timer_set(&balloon->poll, host_now_ns() + balloon->polling_s * NS_PER_S);
	else
		loop_timer_cancel(&balloon->poll);
}

static void parse_stats(struct virtio_balloon *balloon, const struct virtq_element *element)
{
	uint8_t bytes[STAT_BYTES];
	struct timespec now;

	memset(balloon->stats.value, 0xff, sizeof(balloon->stats.value));
	for (size_t at = 0; iov_read(element->out, element->out_count, at, bytes, STAT_BYTES) == STAT_BYTES;
	     at += STAT_BYTES) {
		uint16_t tag = load_le16(bytes);

		if (tag < BALLOON_STATS)
			balloon->stats.value[tag] = load_le64(bytes + 2);
	}
	clock_gettime(CLOCK_REALTIME, &now);
	balloon->stats.updated_s = now.tv_sec;
}

/* The newest buffer is kept; a driver should never have given a second one. */
static void handle_stats(struct virtio_device *device, struct virtqueue *queue)
{
	struct virtio_balloon *balloon = from_virtio(device);
	struct virtq_element *element;

	while ((element = virtqueue_pop(queue))) {
		if (balloon->held)
			virtqueue_push(balloon->held, 0);
		parse_stats(balloon, element);
		balloon->held = element;
	}
	virtqueue_kicks_on(queue);
	virtqueue_notify(queue);
}

static void on_poll(void *opaque)
{
	struct virtio_balloon *balloon = opaque;
	struct virtqueue *queue = balloon->stats_queue;

	if (virtqueue_enter(queue) && balloon->held) {
		virtqueue_push(balloon->held, 0);
		balloon->held = NULL;
		virtqueue_notify(queue);
	}
	virtqueue_leave(queue);
	arm_poll(balloon);
}

static void drop_held(struct virtio_balloon *balloon)
{
	virtqueue_enter(balloon->stats_queue);
	if (balloon->held)
		virtqueue_drop(balloon->held);
	balloon->held = NULL;
	virtqueue_leave(balloon->stats_queue);
}

/* --- configuration space --- */

static void config_read(struct virtio_device *device, uint8_t *config)
{
	struct virtio_balloon *balloon = from_virtio(device);

	store_le32(config + CONFIG_PAGES, __atomic_load_n(&balloon->target_pages, __ATOMIC_RELAXED));
	store_le32(config + CONFIG_ACTUAL, __atomic_load_n(&balloon->actual_pages, __ATOMIC_RELAXED));
}

static void config_write(struct virtio_device *device, const uint8_t *config, unsigned offset, unsigned size)
{
	struct virtio_balloon *balloon = from_virtio(device);
	const struct device_env *env = device->device.env;
	uint32_t pages = load_le32(config + CONFIG_ACTUAL);

	if (pages > ram_size(env->ram) >> PAGE_SHIFT)
		pages = (uint32_t)(ram_size(env->ram) >> PAGE_SHIFT);
	if (__atomic_exchange_n(&balloon->actual_pages, pages, __ATOMIC_RELAXED) != pages && env->request)
		env->request(env->request_opaque, MACHINE_BALLOON_CHANGED, 0);
}

/* --- the monitor's side --- */

const char *balloon_stat_name(unsigned tag)
{
	static const char *const names[BALLOON_STATS] = {
	        "stat-swap-in",          "stat-swap-out",         "stat-major-faults",     "stat-minor-faults",
	        "stat-free-memory",      "stat-total-memory",     "stat-available-memory", "stat-disk-caches",
	        "stat-htlb-pgalloc",     "stat-htlb-pgfail",      "stat-oom-kills",        "stat-alloc-stalls",
	        "stat-async-scans",      "stat-direct-scans",     "stat-async-reclaims",   "stat-direct-reclaims",
	};

	return tag < BALLOON_STATS ? names[tag] : NULL;
}

void virtio_balloon_set_target(struct virtio_balloon *balloon, uint64_t bytes)
{
	uint64_t all = ram_size(balloon->virtio.device.env->ram);
	uint64_t pages = (all - min_u64(bytes, all)) >> PAGE_SHIFT;

	__atomic_store_n(&balloon->target_pages, (uint32_t)min_u64(pages, UINT32_MAX), __ATOMIC_RELAXED);
	virtio_config_changed(&balloon->virtio);
}

uint64_t virtio_balloon_actual(struct virtio_balloon *balloon)
{
	uint64_t given = (uint64_t)__atomic_load_n(&balloon->actual_pages, __ATOMIC_RELAXED) << PAGE_SHIFT;

	return ram_size(balloon->virtio.device.env->ram) - given;
}

int virtio_balloon_set_polling(struct virtio_balloon *balloon, uint32_t interval_s, struct error *err)
{
	if (interval_s && !virtio_has(&balloon->virtio, BALLOON_F_STATS))
		return error_set(err, ENOTSUP, "the guest's balloon driver gives no statistics (yet)");
	balloon->polling_s = interval_s;
	arm_poll(balloon);
	return 0;
}

uint32_t virtio_balloon_polling(const struct virtio_balloon *balloon)
{
	return balloon->polling_s;
}

void virtio_balloon_stats(struct virtio_balloon *balloon, struct balloon_stats *stats)
{
	virtqueue_enter(balloon->stats_queue);
	*stats = balloon->stats;
	virtqueue_leave(balloon->stats_queue);
}

/* --- life --- */

static void reset(struct virtio_device *device)
{
	struct virtio_balloon *balloon = from_virtio(device);

	drop_held(balloon);
	__atomic_store_n(&balloon->actual_pages, 0, __ATOMIC_RELAXED);
}

static void queue_reset(struct virtio_device *device, struct virtqueue *queue)
{
	struct virtio_balloon *balloon = from_virtio(device);

	if (queue == balloon->stats_queue)
		drop_held(balloon);
}

static int init(struct virtio_device *device, struct error *err)
{
	struct virtio_balloon *balloon = from_virtio(device);

	device->offered = VIRTIO_BIT(BALLOON_F_STATS);
	if (balloon->deflate_on_oom)
		device->offered |= VIRTIO_BIT(BALLOON_F_DEFLATE_ON_OOM);
	if (balloon->free_page_reporting)
		device->offered |= VIRTIO_BIT(BALLOON_F_REPORTING);
	memset(balloon->stats.value, 0xff, sizeof(balloon->stats.value));
	loop_timer_init(&balloon->poll, device->device.env->loop, on_poll, balloon);
	virtio_queue_add(device, QUEUE_SIZE, 0, NULL, handle_inflate);
	virtio_queue_add(device, QUEUE_SIZE, 0, NULL, handle_deflate);
	balloon->stats_queue = virtio_queue_add(device, QUEUE_SIZE, 0, NULL, handle_stats);
	/* Queues are numbered without gaps for features that are not offered. */
	if (balloon->free_page_reporting)
		virtio_queue_add(device, REPORT_QUEUE_SIZE, 0, NULL, handle_report);
	return 0;
}

static void fini(struct virtio_device *device)
{
	loop_timer_cancel(&from_virtio(device)->poll);
}

static const struct virtio_class model = {
        .name = "virtio-balloon",
        .id = VIRTIO_ID_BALLOON,
        .config_size = CONFIG_BYTES,
        .init = init,
        .fini = fini,
        .config_read = config_read,
        .config_write = config_write,
        .reset = reset,
        .queue_reset = queue_reset,
};

/* A held statistics buffer does not travel: it goes back, and the guest answers with a new one after the restore. */
static void before_save(void *object)
{
	struct virtio_balloon *balloon = object;

	if (virtqueue_enter(balloon->stats_queue) && balloon->held) {
		virtqueue_push(balloon->held, 0);
		balloon->held = NULL;
		virtqueue_notify(balloon->stats_queue);
	}
	virtqueue_leave(balloon->stats_queue);
}

static const struct state_field fields[] = {
        STATE_SUB(virtio_device_state, struct virtio_balloon, virtio, 1),
        STATE_FIELD(STATE_U32, struct virtio_balloon, target_pages),
        STATE_FIELD(STATE_U32, struct virtio_balloon, actual_pages),
        STATE_END,
};

static const struct state_table state = {
        .name = "virtio-balloon",
        .version = 1,
        .size = sizeof(struct virtio_balloon),
        .fields = fields,
        .before_save = before_save,
};

static const struct property properties[] = {
        {.name = "deflate-on-oom", .type = PROPERTY_BOOL, .offset = offsetof(struct virtio_balloon, deflate_on_oom),
         .fallback = "on", .help = "the guest may take pages back when it runs out of memory"},
        {.name = "free-page-reporting", .type = PROPERTY_BOOL,
         .offset = offsetof(struct virtio_balloon, free_page_reporting), .fallback = "on",
         .help = "the guest tells which pages are free, and the host reuses them"},
        VIRTIO_PCI_PROPERTIES(struct virtio_balloon),
        {.name = NULL},
};

VIRTIO_PCI_CLASSES(virtio_balloon, "virtio-balloon", "virtio memory balloon", struct virtio_balloon, properties, &state,
                   &model, 0x00ff00);

struct virtio_balloon *virtio_balloon_of(struct device *device)
{
	const struct device_class *class = device->class;

	if (class != &virtio_balloon_pci && class != &virtio_balloon_pci_transitional &&
	    class != &virtio_balloon_pci_non_transitional)
		return NULL;
	return container_of(device, struct virtio_balloon, virtio.device);
}
