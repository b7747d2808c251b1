/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Limits on the rate of a disk's requests: throttling.* of -drive, -object throttle-group, the filter "throttle",
 * block_set_io_throttle. Disks of one group share its limits.
 */
#ifndef XUNI_BACKEND_BLOCK_THROTTLE_H
#define XUNI_BACKEND_BLOCK_THROTTLE_H

#include "backend/block/block.h"

enum throttle_rate {
	THROTTLE_BPS_TOTAL, /* bytes a second */
	THROTTLE_BPS_READ,
	THROTTLE_BPS_WRITE,
	THROTTLE_IOPS_TOTAL, /* requests a second */
	THROTTLE_IOPS_READ,
	THROTTLE_IOPS_WRITE,
	THROTTLE_RATES
};

struct throttle_limits {
	struct {
		uint64_t average; /* a second; 0: no limit */
		uint64_t burst;   /* a second, for burst_seconds; 0: none */
		uint64_t burst_seconds;
	} rates[THROTTLE_RATES];
	uint64_t iops_size; /* a request of more bytes counts as several; 0: each is one */
};

/* Reads PREFIX bps-total, bps-total-max, bps-total-max-length ... iops-size out of options, and checks them. */
int throttle_limits_parse(struct options *options, const char *prefix, struct throttle_limits *limits,
			  struct error *err);
int throttle_limits_check(const struct throttle_limits *limits, struct error *err);
bool throttle_limits_any(const struct throttle_limits *limits);

struct throttle_group;
/* The graph's group of that name, made with no limits when it is new. Lives as long as the graph. Control thread. */
struct throttle_group *throttle_group_get(struct block_graph *graph, const char *name);
/* The same, NULL when there is none. */
struct throttle_group *throttle_group_find(struct block_graph *graph, const char *name);
/* -object throttle-group: the group `id` with the limits that the options give it, as limits.NAME or x-NAME. */
int throttle_group_add(struct block_graph *graph, const char *id, const struct options *options, struct error *err);
const char *throttle_group_name(const struct throttle_group *group);
/* Any thread. What waits is looked at anew within a tenth of a second. */
void throttle_group_set(struct throttle_group *group, const struct throttle_limits *limits);
void throttle_group_get_limits(struct throttle_group *group, struct throttle_limits *limits);

/* Puts the device on this node under the limits of a group; NULL: under none. Control thread, also while it runs. */
void block_set_throttle(struct block *block, struct throttle_group *group);
struct throttle_group *block_get_throttle(const struct block *block);

#endif
