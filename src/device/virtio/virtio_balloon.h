/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The balloon as the monitor sees it. Main loop thread unless said otherwise. */
#ifndef XUNI_DEVICE_VIRTIO_BALLOON_H
#define XUNI_DEVICE_VIRTIO_BALLOON_H

#include "base/error.h"

#include <stdint.h>

struct device;
struct virtio_balloon;

/* 5.5.6.3, in the order of the tags. */
enum { BALLOON_STATS = 16 };
struct balloon_stats {
	int64_t updated_s;             /* CLOCK_REALTIME, 0: never */
	uint64_t value[BALLOON_STATS]; /* UINT64_MAX: the guest did not say */
};
/* QMP's name of a tag: "stat-swap-in", ... */
const char *balloon_stat_name(unsigned tag);

/* The balloon behind a device, or NULL when it is another device. */
struct virtio_balloon *virtio_balloon_of(struct device *device);
/* Asks the guest to shrink or grow to this much memory; beyond the machine's RAM: all of it. */
void virtio_balloon_set_target(struct virtio_balloon *balloon, uint64_t bytes);
/* Memory that the guest has left itself. Any thread. */
uint64_t virtio_balloon_actual(struct virtio_balloon *balloon);
/* guest-stats-polling-interval; 0: off. -ENOTSUP when the driver has no statistics. */
int virtio_balloon_set_polling(struct virtio_balloon *balloon, uint32_t interval_s, struct error *err);
uint32_t virtio_balloon_polling(const struct virtio_balloon *balloon);
void virtio_balloon_stats(struct virtio_balloon *balloon, struct balloon_stats *stats);

#endif
