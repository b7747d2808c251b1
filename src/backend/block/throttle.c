/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Throttle groups: leaky buckets, as docs/throttle.txt of QEMU describes their behaviour. Every rate has a bucket that
 * a request fills with its bytes (or with 1) and that leaks at the average rate. A request waits while a bucket is
 * fuller than a tenth of a second's worth, or than burst times burst_seconds where a burst is allowed; and a second
 * bucket that leaks at the burst's rate keeps the burst itself to its rate.
 *
 * A request's units are put in when its time is known, not when it has come, so that whoever asks next gets a later
 * time: members that each ask for one request at a time take turns.
 */
#include "backend/block/throttle.h"

#include "backend/block/internal.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define VALUE_MAX         1000000000000000ull
#define SLICES_PER_SECOND 10 /* a bucket without burst holds this part of a second */
#define LOOK_AGAIN_NS     (100 * NS_PER_MS)

static const char *const rate_names[THROTTLE_RATES] = {
	[THROTTLE_BPS_TOTAL] = "bps-total",   [THROTTLE_BPS_READ] = "bps-read",   [THROTTLE_BPS_WRITE] = "bps-write",
	[THROTTLE_IOPS_TOTAL] = "iops-total", [THROTTLE_IOPS_READ] = "iops-read", [THROTTLE_IOPS_WRITE] = "iops-write",
};

struct bucket {
	double level, burst_level;
};

struct throttle_group {
	struct throttle_group *next;
	char *name;
	pthread_mutex_t lock;
	struct throttle_limits limits;
	struct bucket buckets[THROTTLE_RATES];
	int64_t leaked_ns; /* when the levels were right */
	unsigned generation;
};

/* --- limits --- */

static int parse_rate(struct options *options, const char *prefix, const char *name, const char *suffix,
		      uint64_t *value, struct error *err)
{
	char *key = xasprintf("%s%s%s", prefix, name, suffix);
	int result = options_u64(options, key, value, UINT64_MAX, err);

	free(key);
	return result;
}

int throttle_limits_parse(struct options *options, const char *prefix, struct throttle_limits *limits,
			  struct error *err)
{
	int result = parse_rate(options, prefix, "iops-size", "", &limits->iops_size, err);

	for (unsigned i = 0; i < THROTTLE_RATES && !result; i++) {
		limits->rates[i].burst_seconds = 1;
		if (!(result = parse_rate(options, prefix, rate_names[i], "", &limits->rates[i].average, err)) &&
		    !(result = parse_rate(options, prefix, rate_names[i], "-max", &limits->rates[i].burst, err)))
			result = parse_rate(options, prefix, rate_names[i], "-max-length",
					    &limits->rates[i].burst_seconds, err);
	}
	return result ? result : throttle_limits_check(limits, err);
}

bool throttle_limits_any(const struct throttle_limits *limits)
{
	for (unsigned i = 0; i < THROTTLE_RATES; i++)
		if (limits->rates[i].average)
			return true;
	return false;
}

/* A total beside a part of it: which of them should count? */
static bool both(const struct throttle_limits *limits, enum throttle_rate total, bool burst)
{
	uint64_t values[3];

	for (unsigned i = 0; i < 3; i++)
		values[i] = burst ? limits->rates[total + i].burst : limits->rates[total + i].average;
	return values[0] && (values[1] || values[2]);
}

static int check_rate(const struct throttle_limits *limits, enum throttle_rate which, struct error *err)
{
	const uint64_t average = limits->rates[which].average, burst = limits->rates[which].burst;
	const uint64_t seconds = limits->rates[which].burst_seconds;

	if (average > VALUE_MAX || burst > VALUE_MAX)
		return error_set(err, EINVAL, "bps/iops/max values must be within [0, %llu]", VALUE_MAX);
	if (!seconds)
		return error_set(err, EINVAL, "the burst length cannot be 0");
	if (seconds > 1 && !burst)
		return error_set(err, EINVAL, "burst length set without burst rate");
	if (burst && seconds > VALUE_MAX / burst)
		return error_set(err, EINVAL, "burst length too high for this burst rate");
	if (burst && !average)
		return error_set(err, EINVAL, "bps_max/iops_max require corresponding bps/iops values");
	if (burst && burst < average)
		return error_set(err, EINVAL, "bps_max/iops_max cannot be lower than bps/iops");
	return 0;
}

int throttle_limits_check(const struct throttle_limits *limits, struct error *err)
{
	bool iops = false;
	int result = 0;

	for (unsigned i = THROTTLE_IOPS_TOTAL; i < THROTTLE_RATES; i++)
		iops |= limits->rates[i].average > 0;
	if (both(limits, THROTTLE_BPS_TOTAL, false) || both(limits, THROTTLE_IOPS_TOTAL, false) ||
	    both(limits, THROTTLE_BPS_TOTAL, true) || both(limits, THROTTLE_IOPS_TOTAL, true))
		return error_set(err, EINVAL,
				 "bps/iops/max total values and read/write values cannot be used at the same time");
	if (limits->iops_size && !iops)
		return error_set(err, EINVAL, "iops size requires an iops value to be set");
	for (unsigned i = 0; i < THROTTLE_RATES && !result; i++)
		result = check_rate(limits, (enum throttle_rate)i, err);
	return result;
}

/* --- groups --- */

struct throttle_group *throttle_group_find(struct block_graph *graph, const char *name)
{
	for (struct throttle_group *group = graph->throttle_groups; group; group = group->next)
		if (!strcmp(group->name, name))
			return group;
	return NULL;
}

struct throttle_group *throttle_group_get(struct block_graph *graph, const char *name)
{
	struct throttle_group *group = throttle_group_find(graph, name);

	if (group)
		return group;
	group = xcalloc(1, sizeof(*group));
	group->name = xstrdup(name);
	for (unsigned i = 0; i < THROTTLE_RATES; i++)
		group->limits.rates[i].burst_seconds = 1;
	pthread_mutex_init(&group->lock, NULL);
	group->next = graph->throttle_groups;
	graph->throttle_groups = group;
	return group;
}

int throttle_group_add(struct block_graph *graph, const char *id, const struct options *given, struct error *err)
{
	struct throttle_limits limits = {0};
	struct options options = {0};
	int result;

	for (size_t i = 0; i < given->count; i++) {
		const struct option *option = &given->items[i];
		const char *key = !strncmp(option->key, "limits.", 7) ? option->key + 7
				  : !strncmp(option->key, "x-", 2)    ? option->key + 2 /* as it was called first */
								      : option->key;

		options_add(&options, key, option->value);
	}
	result = throttle_limits_parse(&options, "", &limits, err);
	if (!result)
		result = options_check_used(&options, "a throttle-group", (const char *const[]){NULL}, err);
	if (!result)
		throttle_group_set(throttle_group_get(graph, id), &limits);
	options_free(&options);
	return result;
}

void throttle_groups_free(struct throttle_group *group)
{
	while (group) {
		struct throttle_group *next = group->next;

		pthread_mutex_destroy(&group->lock);
		free(group->name);
		free(group);
		group = next;
	}
}

const char *throttle_group_name(const struct throttle_group *group)
{
	return group->name;
}

void throttle_group_set(struct throttle_group *group, const struct throttle_limits *limits)
{
	pthread_mutex_lock(&group->lock);
	group->limits = *limits;
	memset(group->buckets, 0, sizeof(group->buckets));
	group->generation++;
	pthread_mutex_unlock(&group->lock);
}

void throttle_group_get_limits(struct throttle_group *group, struct throttle_limits *limits)
{
	pthread_mutex_lock(&group->lock);
	*limits = group->limits;
	pthread_mutex_unlock(&group->lock);
}

/* --- buckets; under the lock --- */

static double larger(double a, double b)
{
	return a > b ? a : b;
}

static void leak(struct throttle_group *group, int64_t now_ns)
{
	const double seconds = now_ns > group->leaked_ns ? (double)(now_ns - group->leaked_ns) / NS_PER_S : 0;

	group->leaked_ns = now_ns;
	for (unsigned i = 0; i < THROTTLE_RATES; i++) {
		struct bucket *bucket = &group->buckets[i];

		bucket->level = larger(0, bucket->level - seconds * (double)group->limits.rates[i].average);
		bucket->burst_level = larger(0, bucket->burst_level - seconds * (double)group->limits.rates[i].burst);
	}
}

/* Seconds until the bucket takes another request. */
static double wait_for(const struct throttle_group *group, enum throttle_rate which)
{
	const double average = (double)group->limits.rates[which].average;
	const double burst = (double)group->limits.rates[which].burst;
	const double length = (double)group->limits.rates[which].burst_seconds;
	const struct bucket *bucket = &group->buckets[which];
	double wait;

	if (!average)
		return 0;
	wait = (bucket->level - (burst ? burst * length : average / SLICES_PER_SECOND)) / average;
	if (burst && length > 1)
		wait = larger(wait, (bucket->burst_level - burst / SLICES_PER_SECOND) / burst);
	return larger(0, wait);
}

static void fill(struct throttle_group *group, enum throttle_rate which, double units)
{
	if (!group->limits.rates[which].average)
		return;
	group->buckets[which].level += units;
	if (group->limits.rates[which].burst)
		group->buckets[which].burst_level += units;
}

int64_t throttle_reserve(struct throttle_group *group, bool write, uint64_t bytes, int64_t now_ns, unsigned *generation)
{
	const enum throttle_rate rates[] = {THROTTLE_BPS_TOTAL, write ? THROTTLE_BPS_WRITE : THROTTLE_BPS_READ,
					    THROTTLE_IOPS_TOTAL, write ? THROTTLE_IOPS_WRITE : THROTTLE_IOPS_READ};
	double wait = 0, operations = 1;

	pthread_mutex_lock(&group->lock);
	*generation = group->generation;
	leak(group, now_ns);
	if (group->limits.iops_size && bytes > group->limits.iops_size)
		operations = (double)bytes / (double)group->limits.iops_size;
	for (unsigned i = 0; i < ARRAY_SIZE(rates); i++)
		wait = larger(wait, wait_for(group, rates[i]));
	for (unsigned i = 0; i < ARRAY_SIZE(rates); i++)
		fill(group, rates[i], i < 2 ? (double)bytes : operations);
	pthread_mutex_unlock(&group->lock);
	return wait < 1e9 ? now_ns + (int64_t)(wait * NS_PER_S) : INT64_MAX;
}

int64_t throttle_look_again(struct throttle_group *group, unsigned generation, int64_t start_ns, int64_t now_ns)
{
	bool changed;

	pthread_mutex_lock(&group->lock);
	changed = group->generation != generation;
	pthread_mutex_unlock(&group->lock);
	if (changed)
		return -1;
	return start_ns <= now_ns ? 0 : start_ns - now_ns < LOOK_AGAIN_NS ? start_ns : now_ns + LOOK_AGAIN_NS;
}

bool throttle_counts(enum block_op op)
{
	return op == BLOCK_READ || op == BLOCK_WRITE || op == BLOCK_WRITE_ZEROES;
}

void throttle_wait(struct throttle_group *group, bool write, uint64_t bytes)
{
	int64_t next = -1, start = 0;
	unsigned generation = 0;

	for (;;) {
		const int64_t now = host_now_ns();

		if (next < 0)
			start = throttle_reserve(group, write, bytes, now, &generation);
		next = throttle_look_again(group, generation, start, now);
		if (next == 0)
			return;
		if (next > 0) {
			const struct timespec until = {.tv_sec = next / NS_PER_S, .tv_nsec = next % NS_PER_S};

			clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
		}
	}
}

/* --- the device on a node --- */

void block_set_throttle(struct block *block, struct throttle_group *group)
{
	atomic_store(&block->throttle, group);
}

struct throttle_group *block_get_throttle(const struct block *block)
{
	return atomic_load(&((struct block *)(uintptr_t)block)->throttle);
}
