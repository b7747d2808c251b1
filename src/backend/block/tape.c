/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The recording file of the crash tests, and the cuts; see tape.h. */
#include "backend/block/tape.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { CHANCES = 3 }; /* of what is lost, at each cut */

struct tape_block {
	struct tape *tape;
};

static struct tape *tape_for_open; /* the driver's open has no other way to get it */

static void tape_room(struct tape *tape, uint64_t end)
{
	if (end <= tape->size)
		return;
	if (end > tape->room) { /* sanitizers make it dear */
		tape->room = end + end / 2;
		tape->bytes = xrealloc(tape->bytes, tape->room);
	}
	memset(tape->bytes + tape->size, 0, end - tape->size);
	tape->size = end;
}

static void note(struct tape *tape, enum tape_event_kind kind, uint64_t offset, uint64_t length, const void *data,
		 uint64_t bytes)
{
	const bool data_file = tape->main;
	struct tape_event *event;

	if (data_file)
		tape = tape->main;
	if (!tape->recording)
		return;
	if (!(tape->count & (tape->count - 1)))
		tape->events = xrealloc(tape->events, (tape->count ? 2 * tape->count : 1) * sizeof(*tape->events));
	event = &tape->events[tape->count++];
	*event = (struct tape_event){.kind = kind, .data = data_file, .offset = offset, .length = length};
	if (bytes) {
		event->content = malloc(bytes);
		memcpy(event->content, data, bytes);
	}
}

/* Whether this write or barrier is to fail. */
static bool fails(struct tape *tape, bool write)
{
	if (tape->main)
		tape = tape->main;
	if (tape->fail_after == 0)
		return true;
	tape->fail_after -= write && tape->fail_after > 0;
	return false;
}

static int node_open(struct block *block, struct options *options, const struct block_open *how, struct error *err)
{
	struct tape_block *t = block->private_data;

	t->tape = tape_for_open;
	block->filename = xstrdup("tape");
	block->length = align_up(t->tape->size, 512);
	return 0;
}

static int node_pread(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length)
{
	struct tape *tape = ((struct tape_block *)block->private_data)->tape;
	const uint64_t there = offset < tape->size ? min_u64(length, tape->size - offset) : 0;

	if (there)
		iov_spread(iov, iov_count, 0, tape->bytes + offset, there);
	iov_clear(iov, iov_count, there, length - there);
	return 0;
}

static int node_pwrite(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length,
		       uint32_t flags)
{
	struct tape *tape = ((struct tape_block *)block->private_data)->tape;

	if (fails(tape, true))
		return -EIO;
	tape_room(tape, offset + length);
	iov_gather(tape->bytes + offset, iov, iov_count, 0, length);
	note(tape, TAPE_WRITE, offset, length, tape->bytes + offset, length);
	return 0;
}

static int node_flush(struct block *block)
{
	struct tape *tape = ((struct tape_block *)block->private_data)->tape;

	if (fails(tape, false))
		return -EIO;
	note(tape, TAPE_BARRIER, 0, 0, NULL, 0);
	return 0;
}

/* A hole, as a file's. */
static int node_discard(struct block *block, uint64_t offset, uint64_t length)
{
	struct iovec zeroes = {.iov_base = calloc(1, length), .iov_len = length};
	int result = node_pwrite(block, offset, &zeroes, 1, length, 0);

	free(zeroes.iov_base);
	return result;
}

/* Noted as a write of no bytes at the new end. */
static int node_truncate(struct block *block, uint64_t length, struct error *err)
{
	struct tape *tape = ((struct tape_block *)block->private_data)->tape;

	if (fails(tape, true))
		return error_set_errno(err, EIO, "tape");
	tape_room(tape, length);
	block->length = align_up(tape->size, 512);
	note(tape, TAPE_WRITE, length, 0, NULL, 0);
	return 0;
}

static const struct block_driver tape_driver = {
	.name = "tape",
	.is_protocol = true,
	.zero_behind_end = true,
	.size = sizeof(struct tape_block),
	.open = node_open,
	.pread = node_pread,
	.pwrite = node_pwrite,
	.flush = node_flush,
	.discard = node_discard,
	.truncate = node_truncate,
};

struct block *tape_open(struct block_graph *graph, struct tape *tape, const struct block_driver *format, bool read_only,
			struct error *err)
{
	const struct block_open how = {.read_only = read_only, .discard = true};
	struct options options = {0};
	struct block *file, *data = NULL, *block;

	tape_for_open = tape;
	file = block_open_node(graph, &tape_driver, NULL, NULL, &options, &how, err);
	assert_non_null(file);
	if (tape->data) {
		tape_for_open = tape->data;
		data = block_open_node(graph, &tape_driver, "data", NULL, &options, &how, err);
		assert_non_null(data);
		options_add(&options, "data-file", "data");
	}
	block = block_open_node(graph, format, NULL, file, &options, &how, err);
	block_unref(file);
	block_unref(data);
	options_free(&options);
	return block;
}

void tape_add_data(struct tape *tape)
{
	tape->data = calloc(1, sizeof(*tape->data));
	tape->data->main = tape;
}

void tape_start(struct tape *tape, const char *path)
{
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	off_t size = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;

	*tape = (struct tape){.fail_after = -1};
	if (!path)
		return;
	assert_true(fd >= 0);
	tape_room(tape, (uint64_t)size);
	assert_int_equal(pread(fd, tape->bytes, (size_t)size, 0), size);
	close(fd);
}

void tape_copy(struct tape *to, const struct tape *from)
{
	*to = (struct tape){.fail_after = -1, .also = from->also};
	tape_room(to, from->size);
	if (from->size)
		memcpy(to->bytes, from->bytes, from->size);
	if (!from->data)
		return;
	to->data = calloc(1, sizeof(*to->data));
	tape_copy(to->data, from->data);
	to->data->main = to;
}

void tape_end(struct tape *tape)
{
	for (size_t i = 0; i < tape->count; i++)
		free(tape->events[i].content);
	free(tape->events);
	free(tape->bytes);
	if (tape->data)
		tape_end(tape->data);
	free(tape->data);
}

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

/* --- the workload --- */

void tape_step(struct block *block, struct tape *tape, uint8_t *shadow, uint32_t *seed)
{
	const uint64_t cluster = block->optimal_bytes;
	uint64_t length = min_u64(block->length, 512ull * (1 + next_random(seed) % (next_random(seed) % 4 ? 8 : 100)));
	uint64_t offset = align_down(next_random(seed) % (block->length - length + 1), 512);
	int result;

	switch (next_random(seed) % 8) {
	case 0:
		offset = align_down(offset, cluster);
		length = min_u64(align_up(length, cluster), block->length - offset);
		note(tape, TAPE_GUEST_CHANGE, offset, length, NULL, 0);
		/* A hint: zeroes or what was there. */
		if (block_execute(block, BLOCK_DISCARD, offset, length, NULL, 0, 0) == 0)
			block_pread(block, offset, shadow + offset, length);
		break;
	case 1:
		note(tape, TAPE_GUEST_CHANGE, offset, length, NULL, 0);
		result = block_execute(block, BLOCK_WRITE_ZEROES, offset, length, NULL, 0, BLOCK_MAY_UNMAP);
		if (!result)
			memset(shadow + offset, 0, length);
		break;
	case 2:
		if (block_flush(block) == 0)
			note(tape, TAPE_GUEST_FLUSHED, 0, 0, shadow, block->length);
		break;
	default:
		/* Room for this write and what lies around it, or for one that never comes. */
		if (block->driver->place && next_random(seed) % 4 == 0)
			block->driver->place(block, align_down(offset, 4096),
					     min_u64(3 * length, block->length - offset));
		note(tape, TAPE_GUEST_CHANGE, offset, length, NULL, 0);
		memset(shadow + offset, (int)next_random(seed) | 1, length);
		block_pwrite(block, offset, shadow + offset, length, 0);
		break;
	}
}

void tape_note_start(struct tape *tape, const uint8_t *shadow, uint64_t disk_bytes)
{
	note(tape, TAPE_GUEST_FLUSHED, 0, 0, shadow, disk_bytes);
}

/* --- after the cut --- */

struct cut {
	struct block_graph *graph;
	const struct block_driver *format;
	uint64_t disk;
	const uint8_t *flushed; /* NULL: all zeroes */
	uint8_t *touched;       /* a byte a sector: changed by the guest since */
	void (*also)(const struct tape *image);
};

static void show(void *opaque, const char *line)
{
	print_message("%s\n", line);
}

static void examine(const struct cut *cut, struct tape *image, const char *what, size_t at)
{
	struct block_check check = {.report = getenv("TAPE_VERBOSE") ? show : NULL};
	struct tape copy = {0};
	struct error err = {0};
	struct block *block = tape_open(cut->graph, image, cut->format, true, &err);
	uint8_t *got = malloc(cut->disk);

	if (!block && err.code == EPERM) { /* it has a log to be replayed first */
		tape_copy(&copy, image);
		block = tape_open(cut->graph, &copy, cut->format, false, &err);
	}
	if (!block)
		fail_msg("%s at %zu: cannot be opened: %s", what, at, err.msg);
	if (cut->also)
		cut->also(image);
	if (cut->format->check)
		assert_int_equal(cut->format->check(block, &check, false, false, &err), 0);
	if (check.corruptions || check.check_errors)
		fail_msg("%s at %zu: %llu corruptions", what, at, (unsigned long long)check.corruptions);
	assert_int_equal(block_pread(block, 0, got, cut->disk), 0);
	for (uint64_t s = 0; s < cut->disk / 512; s++) {
		static const uint8_t zeroes[512];

		if (!cut->touched[s] && memcmp(got + s * 512, cut->flushed ? cut->flushed + s * 512 : zeroes, 512))
			fail_msg("%s at %zu: flushed sector %llu is lost", what, at, (unsigned long long)s);
	}
	if (image->also)
		image->also(block, got);
	free(got);
	block_unref(block);
	tape_end(&copy);
}

/* The guest comes back on what the cut has left: nothing of the old appears in the new, and the check stays content. */
static void go_on(const struct cut *cut, const struct tape *left, size_t at, uint32_t *seed)
{
	struct block_check check = {0};
	struct error err = {0};
	uint8_t *shadow = malloc(cut->disk), *got = malloc(cut->disk);
	struct tape image;
	struct block *block;

	tape_copy(&image, left);
	block = tape_open(cut->graph, &image, cut->format, false, &err);
	if (!block)
		fail_msg("power at %zu: cannot be opened for writing: %s", at, err.msg);
	assert_int_equal(block_pread(block, 0, shadow, cut->disk), 0);
	for (unsigned i = 0; i < 25; i++)
		tape_step(block, &image, shadow, seed);
	block_unref(block);
	block = tape_open(cut->graph, &image, cut->format, true, &err);
	assert_non_null(block);
	assert_int_equal(block_pread(block, 0, got, cut->disk), 0);
	if (memcmp(got, shadow, cut->disk))
		fail_msg("power at %zu: what is written afterwards is not what is read", at);
	if (cut->format->check)
		assert_int_equal(cut->format->check(block, &check, false, false, &err), 0);
	if (check.corruptions || check.check_errors)
		fail_msg("power at %zu, writing on: %llu corruptions", at, (unsigned long long)check.corruptions);
	block_unref(block);
	tape_end(&image);
	free(shadow);
	free(got);
}

static void apply(struct tape *to, const struct tape_event *event, uint32_t *seed)
{
	if (event->data)
		to = to->data;
	if (!event->length && (!seed || next_random(seed) % 2))
		tape_room(to, event->offset);
	for (uint64_t at = 0; at < event->length;) {
		const uint64_t part = min_u64(event->length - at, 512 - (event->offset + at) % 512);

		if (!seed || next_random(seed) % 2) {
			tape_room(to, event->offset + at + part);
			memcpy(to->bytes + event->offset + at, event->content + at, part);
		}
		at += part;
	}
}

/* What lies behind the last barrier, as far as event `last`, is kept or lost. */
static void cut_power(const struct cut *cut, const struct tape *tape, const struct tape *durable,
		      const size_t barrier[2], size_t last, uint32_t *seed)
{
	struct tape power;

	tape_copy(&power, durable);
	for (size_t i = min_u64(barrier[0], barrier[1]); i <= last; i++)
		if (tape->events[i].kind == TAPE_WRITE && i >= barrier[tape->events[i].data])
			apply(&power, &tape->events[i], seed);
	examine(cut, &power, "power", last);
	if (next_random(seed) % 16 == 0)
		go_on(cut, &power, last, seed);
	tape_end(&power);
}

void tape_cut_everywhere(const struct tape *tape, const struct tape *start, const struct block_driver *format,
			 uint64_t disk)
{
	tape_cut_everywhere_also(tape, start, format, disk, NULL);
}

void tape_cut_everywhere_also(const struct tape *tape, const struct tape *start, const struct block_driver *format,
			      uint64_t disk, void (*also)(const struct tape *image))
{
	struct cut cut = {
		.graph = block_graph_new(NULL),
		.format = format,
		.disk = disk,
		.touched = calloc(1, disk / 512),
		.also = also,
	};
	struct tape all, durable;
	uint32_t seed = 99;
	size_t barrier[2] = {0, 0}; /* the last ones of file and data file */

	tape_copy(&all, start);
	tape_copy(&durable, start);
	for (size_t i = 0; i < tape->count; i++) {
		const struct tape_event *event = &tape->events[i];

		if (event->kind == TAPE_GUEST_FLUSHED) {
			cut.flushed = event->content;
			memset(cut.touched, 0, disk / 512);
		} else if (event->kind == TAPE_GUEST_CHANGE) {
			memset(cut.touched + event->offset / 512, 1, event->length / 512);
		} else if (event->kind == TAPE_BARRIER) {
			for (size_t *b = &barrier[event->data]; *b < i; ++*b)
				if (tape->events[*b].kind == TAPE_WRITE && tape->events[*b].data == event->data)
					apply(&durable, &tape->events[*b], NULL);
		} else {
			apply(&all, event, NULL);
			examine(&cut, &all, "kill", i);
			for (unsigned chance = 0; chance < CHANCES; chance++)
				cut_power(&cut, tape, &durable, barrier, i, &seed);
		}
	}
	tape_end(&all);
	tape_end(&durable);
	free(cut.touched);
	block_graph_free(cut.graph);
}

/* The device works again: what is written and flushed now is there, wherever it was prepared. */
static void recover(struct block *block, struct tape *tape, uint8_t *touched)
{
	uint8_t *data = malloc(block->length);

	for (uint64_t i = 0; i < block->length; i++)
		data[i] = (uint8_t)(i / 512 * 7 + 1);
	tape->fail_after = -1;
	assert_int_equal(block_pwrite(block, 0, data, block->length, 0), 0);
	assert_int_equal(block_flush(block), 0);
	tape->recording = true;
	note(tape, TAPE_GUEST_FLUSHED, 0, 0, data, block->length);
	memset(touched, 0, block->length / 512);
	free(data);
}

void tape_fail_everywhere(const struct tape *start, const struct block_driver *format, uint64_t disk, int64_t most)
{
	for (int64_t n = 0; n < most; n += 3) {
		struct cut cut = {.graph = block_graph_new(NULL), .format = format, .disk = disk};
		uint8_t *shadow = calloc(1, disk);
		struct error err = {0};
		struct tape tape;
		struct block *block;
		uint32_t seed = 7;

		cut.touched = malloc(disk / 512);
		memset(cut.touched, 1, disk / 512);
		tape_copy(&tape, start);
		block = tape_open(cut.graph, &tape, format, false, &err);
		assert_non_null(block);
		tape.fail_after = n;
		for (unsigned i = 0; i < 60; i++)
			tape_step(block, &tape, shadow, &seed);
		if (tape.fail_after == 0)
			assert_int_not_equal(block_flush(block), 0);
		if (n % 2)
			recover(block, &tape, cut.touched);
		cut.flushed = n % 2 ? tape.events[0].content : NULL;
		block_unref(block);
		tape.fail_after = -1;
		examine(&cut, &tape, "failing", (size_t)n);
		tape_end(&tape);
		free(shadow);
		free(cut.touched);
		block_graph_free(cut.graph);
	}
}
