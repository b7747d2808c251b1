/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Power is cut at every write of a recorded workload. The image is put together from the writes before the cut, once
 * all of them (a killed process), then with those after the last barrier kept or lost by chance, sector by sector
 * (power). Each time the check must find nothing worse than leaks, and what the guest had flushed must be there.
 */
#include "backend/block/internal.h"
#include "backend/block/qcow2.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum event_kind { WRITE, BARRIER, GUEST_CHANGE, GUEST_FLUSHED };

struct event {
	enum event_kind kind;
	uint64_t offset, length;
	uint8_t *data; /* WRITE: what; GUEST_FLUSHED: the whole disk as the guest knows it */
};

/* A file in memory that records what is done to it. fail_after counts down writes; at 0 they fail. */
struct tape {
	uint8_t *bytes;
	uint64_t size;
	struct event *events;
	size_t count;
	bool recording;
	int64_t fail_after; /* < 0: never */
};

struct tape_block {
	struct tape *tape;
};

static struct tape *tape_for_open; /* the driver's open has no other way to get it */

static void tape_room(struct tape *tape, uint64_t end)
{
	if (end <= tape->size)
		return;
	tape->bytes = xrealloc(tape->bytes, end);
	memset(tape->bytes + tape->size, 0, end - tape->size);
	tape->size = end;
}

static void note(struct tape *tape, enum event_kind kind, uint64_t offset, uint64_t length, const void *data,
		 uint64_t bytes)
{
	struct event *event;

	if (!tape->recording)
		return;
	if (!(tape->count & (tape->count - 1)))
		tape->events = xrealloc(tape->events, (tape->count ? 2 * tape->count : 1) * sizeof(*tape->events));
	event = &tape->events[tape->count++];
	*event = (struct event){.kind = kind, .offset = offset, .length = length};
	if (bytes) {
		event->data = malloc(bytes);
		memcpy(event->data, data, bytes);
	}
}

static int tape_open(struct block *block, struct options *options, const struct block_open *how, struct error *err)
{
	struct tape_block *t = block->private_data;

	t->tape = tape_for_open;
	block->filename = xstrdup("tape");
	block->length = align_up(t->tape->size, 512);
	return 0;
}

static int tape_pread(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length)
{
	struct tape *tape = ((struct tape_block *)block->private_data)->tape;
	const uint64_t there = offset < tape->size ? min_u64(length, tape->size - offset) : 0;

	if (there)
		iov_spread(iov, iov_count, 0, tape->bytes + offset, there);
	iov_clear(iov, iov_count, there, length - there);
	return 0;
}

static int tape_pwrite(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length,
		       uint32_t flags)
{
	struct tape *tape = ((struct tape_block *)block->private_data)->tape;

	if (tape->fail_after == 0)
		return -EIO;
	tape->fail_after -= tape->fail_after > 0;
	tape_room(tape, offset + length);
	iov_gather(tape->bytes + offset, iov, iov_count, 0, length);
	note(tape, WRITE, offset, length, tape->bytes + offset, length);
	return 0;
}

static int tape_flush(struct block *block)
{
	struct tape *tape = ((struct tape_block *)block->private_data)->tape;

	if (tape->fail_after == 0)
		return -EIO;
	note(tape, BARRIER, 0, 0, NULL, 0);
	return 0;
}

static const struct block_driver tape_driver = {
	.name = "tape",
	.is_protocol = true,
	.size = sizeof(struct tape_block),
	.open = tape_open,
	.pread = tape_pread,
	.pwrite = tape_pwrite,
	.flush = tape_flush,
};

static struct block *open_on_tape(struct block_graph *graph, struct tape *tape, bool read_only, struct error *err)
{
	const struct block_open how = {.read_only = read_only, .discard = true};
	struct options options = {0};
	struct block *file, *block;

	tape_for_open = tape;
	file = block_open_node(graph, &tape_driver, NULL, NULL, &options, &how, err);
	assert_non_null(file);
	block = block_open_node(graph, &block_qcow2_driver, NULL, file, &options, &how, err);
	block_unref(file);
	return block;
}

static void load_new_image(struct tape *tape, const struct qcow2_create *create)
{
	char path[] = "/tmp/xuni-crash-XXXXXX";
	struct error err = {0};
	int fd = mkstemp(path);
	off_t size;

	assert_true(fd >= 0);
	assert_int_equal(qcow2_create_file(path, create, &err), 0);
	size = lseek(fd, 0, SEEK_END);
	*tape = (struct tape){.fail_after = -1};
	tape_room(tape, (uint64_t)size);
	assert_int_equal(pread(fd, tape->bytes, (size_t)size, 0), size);
	close(fd);
	unlink(path);
}

static void free_tape(struct tape *tape)
{
	for (size_t i = 0; i < tape->count; i++)
		free(tape->events[i].data);
	free(tape->events);
	free(tape->bytes);
}

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

/* --- the workload --- */

static void one_step(struct block *block, struct tape *tape, uint8_t *shadow, uint32_t *seed)
{
	const uint64_t cluster = block->optimal_bytes;
	uint64_t length = min_u64(block->length, 512ull * (1 + next_random(seed) % (next_random(seed) % 4 ? 8 : 100)));
	uint64_t offset = align_down(next_random(seed) % (block->length - length + 1), 512);
	int result;

	switch (next_random(seed) % 8) {
	case 0:
		offset = align_down(offset, cluster);
		length = min_u64(align_up(length, cluster), block->length - offset);
		note(tape, GUEST_CHANGE, offset, length, NULL, 0);
		result = block_execute(block, BLOCK_DISCARD, offset, length, NULL, 0, 0);
		if (!result)
			memset(shadow + offset, 0, length);
		break;
	case 1:
		note(tape, GUEST_CHANGE, offset, length, NULL, 0);
		result = block_execute(block, BLOCK_WRITE_ZEROES, offset, length, NULL, 0, BLOCK_MAY_UNMAP);
		if (!result)
			memset(shadow + offset, 0, length);
		break;
	case 2:
		if (block_flush(block) == 0)
			note(tape, GUEST_FLUSHED, 0, 0, shadow, block->length);
		break;
	default:
		note(tape, GUEST_CHANGE, offset, length, NULL, 0);
		memset(shadow + offset, (int)next_random(seed) | 1, length);
		block_pwrite(block, offset, shadow + offset, length, 0);
		break;
	}
}

/* --- after the cut --- */

struct cut {
	struct block_graph *graph;
	uint64_t disk;
	const uint8_t *flushed; /* NULL: all zeroes */
	uint8_t *touched;       /* a byte a sector: changed by the guest since */
};

static void examine(const struct cut *cut, struct tape *image, const char *what, size_t at)
{
	struct block_check check = {0};
	struct error err = {0};
	struct block *block = open_on_tape(cut->graph, image, true, &err);
	uint8_t *got = malloc(cut->disk);

	if (!block)
		fail_msg("%s at %zu: cannot be opened: %s", what, at, err.msg);
	assert_int_equal(qcow2_check(block, &check, false, false, &err), 0);
	if (check.corruptions || check.check_errors)
		fail_msg("%s at %zu: %llu corruptions", what, at, (unsigned long long)check.corruptions);
	assert_int_equal(block_pread(block, 0, got, cut->disk), 0);
	for (uint64_t s = 0; s < cut->disk / 512; s++) {
		static const uint8_t zeroes[512];

		if (!cut->touched[s] && memcmp(got + s * 512, cut->flushed ? cut->flushed + s * 512 : zeroes, 512))
			fail_msg("%s at %zu: flushed sector %llu is lost", what, at, (unsigned long long)s);
	}
	free(got);
	block_unref(block);
}

static void apply(struct tape *to, const struct event *event, uint32_t *seed)
{
	for (uint64_t at = 0; at < event->length;) {
		const uint64_t part = min_u64(event->length - at, 512 - (event->offset + at) % 512);

		if (!seed || next_random(seed) % 2) {
			tape_room(to, event->offset + at + part);
			memcpy(to->bytes + event->offset + at, event->data + at, part);
		}
		at += part;
	}
}

static void cut_everywhere(const struct tape *tape, const uint8_t *start, uint64_t start_size, uint64_t disk)
{
	struct cut cut = {.graph = block_graph_new(NULL), .disk = disk, .touched = calloc(1, disk / 512)};
	struct tape all = {.fail_after = -1}, durable = {.fail_after = -1};
	uint32_t seed = 99;
	size_t barrier = 0;

	tape_room(&all, start_size);
	tape_room(&durable, start_size);
	memcpy(all.bytes, start, start_size);
	memcpy(durable.bytes, start, start_size);
	for (size_t i = 0; i < tape->count; i++) {
		const struct event *event = &tape->events[i];

		if (event->kind == GUEST_FLUSHED) {
			cut.flushed = event->data;
			memset(cut.touched, 0, disk / 512);
		} else if (event->kind == GUEST_CHANGE) {
			memset(cut.touched + event->offset / 512, 1, event->length / 512);
		} else if (event->kind == BARRIER) {
			for (; barrier < i; barrier++)
				if (tape->events[barrier].kind == WRITE)
					apply(&durable, &tape->events[barrier], NULL);
		} else {
			struct tape power = {.fail_after = -1};

			apply(&all, event, NULL);
			examine(&cut, &all, "kill", i);
			tape_room(&power, durable.size);
			memcpy(power.bytes, durable.bytes, durable.size);
			for (size_t k = barrier; k <= i; k++)
				if (tape->events[k].kind == WRITE)
					apply(&power, &tape->events[k], &seed);
			examine(&cut, &power, "power", i);
			free_tape(&power);
		}
	}
	free_tape(&all);
	free_tape(&durable);
	free(cut.touched);
	block_graph_free(cut.graph);
}

static void record_and_cut(uint32_t cluster, unsigned refcount_bits, uint64_t disk, unsigned steps)
{
	struct block_graph *graph = block_graph_new(NULL);
	uint8_t *shadow = calloc(1, disk), *start;
	struct error err = {0};
	struct qcow2_create create;
	struct tape tape;
	struct block *block;
	uint64_t start_size;
	uint32_t seed = cluster + refcount_bits;

	qcow2_create_defaults(&create);
	create.length = disk;
	create.cluster_bytes = cluster;
	create.refcount_bits = refcount_bits;
	load_new_image(&tape, &create);
	start_size = tape.size;
	start = malloc(start_size);
	memcpy(start, tape.bytes, start_size);
	tape.recording = true;
	block = open_on_tape(graph, &tape, false, &err);
	assert_non_null(block);
	for (unsigned i = 0; i < steps; i++) {
		if (i == steps / 2)
			assert_int_equal(qcow2_snapshot_create(block, "half", &err), 0);
		one_step(block, &tape, shadow, &seed);
	}
	assert_int_equal(qcow2_snapshot_delete(block, "half", &err), 0);
	block_unref(block);
	cut_everywhere(&tape, start, start_size, disk);
	free_tape(&tape);
	free(start);
	free(shadow);
	block_graph_free(graph);
}

static void test_cuts(void **state)
{
	record_and_cut(4096, 16, 512 * KIB, 150);
	record_and_cut(512, 16, 128 * KIB, 150);
	record_and_cut(512, 64, 256 * KIB, 100);
	record_and_cut(65536, 1 << 5, 1 * MIB, 80);
}

/* The n-th write fails, and all after it: no request hangs, what is on the disk is good, and the guest is told. */
static void test_failing_writes(void **state)
{
	for (int64_t n = 0; n < 120; n += 3) {
		struct block_graph *graph = block_graph_new(NULL);
		uint8_t *shadow = calloc(1, 256 * KIB), *touched = malloc(512);
		struct cut cut = {.graph = graph, .disk = 256 * KIB, .touched = touched};
		struct error err = {0};
		struct qcow2_create create;
		struct tape tape;
		struct block *block;
		uint32_t seed = 7;

		memset(touched, 1, 512);
		qcow2_create_defaults(&create);
		create.length = 256 * KIB;
		create.cluster_bytes = 4096;
		load_new_image(&tape, &create);
		block = open_on_tape(graph, &tape, false, &err);
		assert_non_null(block);
		tape.fail_after = n;
		for (unsigned i = 0; i < 60; i++)
			one_step(block, &tape, shadow, &seed);
		if (tape.fail_after == 0)
			assert_int_not_equal(block_flush(block), 0);
		block_unref(block);
		tape.fail_after = -1;
		examine(&cut, &tape, "failing", (size_t)n);
		free_tape(&tape);
		free(shadow);
		free(touched);
		block_graph_free(graph);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_cuts), cmocka_unit_test(test_failing_writes)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
