/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The gates between a device and its disk: the limits of the device itself (throttling.*), then those of the "throttle"
 * filters that follow at the top of the disk. A request that has to wait is kept here and costs no thread. Reads and
 * writes wait in lines of their own, of which only the first has asked the group for a time: so disks of one group take
 * turns. All of it in the queue's loop thread.
 */
#include "backend/block/throttle.h"

#include "backend/block/internal.h"
#include "base/loop.h"

#include <stdlib.h>

enum { GATES_MAX = 4, READS = 0, WRITES = 1 };

struct line {
	struct block_gates *gates;
	unsigned gate;
	bool write;
	/* Linked through the first word of private_data, which nobody needs before the request starts. */
	struct block_request *first, *last;
	int64_t start_ns; /* of the first, by the group's word in this generation; valid when `asked` */
	unsigned generation;
	bool asked;
	struct loop_timer timer;
};

struct block_gates {
	struct block *block, *entry;
	struct throttle_group *groups[GATES_MAX]; /* [0]: the device's, looked up each time */
	unsigned count;
	struct line lines[GATES_MAX][2];
	bool open;
	void (*pass)(void *opaque, struct block_request *request);
	void *opaque;
};

static bool go_on(struct block_gates *gates, struct block_request *request, unsigned from);

static struct throttle_group *group_of(const struct line *line)
{
	const struct block_gates *gates = line->gates;

	return line->gate ? gates->groups[line->gate] : block_get_throttle(gates->block);
}

static struct block_request **link_of(struct block_request *request)
{
	return (struct block_request **)&request->private_data[0];
}

/* When the first of the line may go: 0 now, else when to look again. */
static int64_t ask(struct line *line, const struct block_request *request)
{
	struct throttle_group *group = group_of(line);
	const int64_t now = host_now_ns();
	int64_t next;

	if (!group || line->gates->open)
		return 0;
	do {
		if (!line->asked)
			line->start_ns = throttle_reserve(group, line->write, request->length, now, &line->generation);
		line->asked = true;
		next = throttle_look_again(group, line->generation, line->start_ns, now);
		line->asked = next >= 0;
	} while (next < 0);
	return next;
}

static void append(struct line *line, struct block_request *request)
{
	*link_of(request) = NULL;
	if (line->first)
		*link_of(line->last) = request;
	else
		line->first = request;
	line->last = request;
}

static void look(void *opaque)
{
	struct line *line = opaque;
	struct block_gates *gates = line->gates;
	bool passed = false;

	while (line->first) {
		struct block_request *request = line->first;
		const int64_t next = ask(line, request);

		if (next) {
			loop_timer_set(&line->timer, next);
			break;
		}
		line->asked = false;
		line->first = *link_of(request);
		if (go_on(gates, request, line->gate + 1)) {
			gates->pass(gates->opaque, request);
			passed = true;
		}
	}
	if (passed)
		gates->pass(gates->opaque, NULL);
}

/* False: it waits at one of the gates. */
static bool go_on(struct block_gates *gates, struct block_request *request, unsigned from)
{
	for (unsigned i = from; i < gates->count && throttle_counts(request->op); i++) {
		struct line *line = &gates->lines[i][request->op == BLOCK_READ ? READS : WRITES];
		const bool behind = line->first != NULL;
		const int64_t next = behind ? 0 : ask(line, request);

		if (!behind && !next) {
			line->asked = false;
			continue;
		}
		append(line, request);
		if (!behind)
			loop_timer_set(&line->timer, next);
		return false;
	}
	return true;
}

bool block_gates_enter(struct block_gates *gates, struct block_request *request)
{
	return go_on(gates, request, 0);
}

void block_gates_open(struct block_gates *gates, bool open)
{
	gates->open = open;
	for (unsigned i = 0; i < gates->count && open; i++) {
		look(&gates->lines[i][READS]);
		look(&gates->lines[i][WRITES]);
	}
}

struct block *block_gates_entry(const struct block_gates *gates)
{
	return gates->entry;
}

struct block_gates *block_gates_new(struct block *block, struct loop *loop,
				    void (*pass)(void *opaque, struct block_request *request), void *opaque)
{
	struct block_gates *gates = xcalloc(1, sizeof(*gates));

	gates->block = gates->entry = block;
	gates->pass = pass;
	gates->opaque = opaque;
	gates->count = 1;
	while (throttle_node_group(gates->entry) && gates->count < GATES_MAX && !gates->entry->detect_zeroes) {
		gates->groups[gates->count++] = throttle_node_group(gates->entry);
		gates->entry = gates->entry->file;
	}
	for (unsigned i = 0; i < gates->count; i++) {
		for (unsigned j = 0; j < 2; j++) {
			struct line *line = &gates->lines[i][j];

			*line = (struct line){.gates = gates, .gate = i, .write = j == WRITES};
			loop_timer_init(&line->timer, loop, look, line);
		}
	}
	return gates;
}

void block_gates_free(struct block_gates *gates)
{
	if (!gates)
		return;
	for (unsigned i = 0; i < gates->count; i++) {
		loop_timer_cancel(&gates->lines[i][READS].timer);
		loop_timer_cancel(&gates->lines[i][WRITES].timer);
	}
	free(gates);
}
