/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2 against a copy of the guest's disk in memory: random writes, zeroes, discards and flushes in every geometry, by
 * several threads at once, over a backing file; closed, opened again and, where qemu-img is there, checked by it.
 */
#include "backend/block/qcow2_bitmap.h"

#include "base/log.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define DISK_BYTES (8 * MIB)

struct fixture {
	struct log log;
	struct block_graph *graph;
	char folder[64];
	char image[96], base[96], data[96];
	bool encrypted;
};

static int setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	f->log.fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	f->graph = block_graph_new(&f->log);
	strcpy(f->folder, "/tmp/xuni-qcow2-XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	snprintf(f->image, sizeof(f->image), "%s/image.qcow2", f->folder);
	snprintf(f->base, sizeof(f->base), "%s/base.raw", f->folder);
	snprintf(f->data, sizeof(f->data), "%s/data.raw", f->folder);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char *command = xasprintf("rm -rf %s", f->folder);

	block_graph_free(f->graph);
	close(f->log.fd);
	assert_int_equal(system(command), 0);
	free(command);
	free(f);
	return 0;
}

static bool have_qemu_img(void)
{
	static int have = -1;

	if (have < 0)
		have = system("qemu-img --version >/dev/null 2>&1") == 0;
	if (!have)
		print_message("qemu-img is not here: images are not checked by it\n");
	return have;
}

static void qemu_check(const struct fixture *f)
{
	char *command;

	if (!have_qemu_img() || f->encrypted)
		return;
	command = xasprintf("qemu-img check -q %s", f->image);
	assert_int_equal(system(command), 0);
	free(command);
}

static struct block *open_image(struct fixture *f, bool read_only)
{
	const struct block_open how = {.read_only = read_only, .discard = true, .log = &f->log};
	struct error err = {0};
	struct options options = {0};
	struct block *block;

	options_add(&options, "driver", "qcow2");
	if (f->encrypted)
		options_add(&options, "encrypt.key-secret", "key");
	block = block_open_image(f->graph, f->image, &options, &how, &err);
	options_free(&options);

	if (!block)
		print_message("%s\n", err.msg);
	assert_non_null(block);
	return block;
}

static void create(struct fixture *f, const struct qcow2_create *create)
{
	struct error err = {0};

	if (qcow2_create_file(f->image, create, &err) < 0)
		fail_msg("%s", err.msg);
}

/* Repeatable numbers, one sequence a thread. */
static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

struct worker {
	struct block *block;
	uint8_t *shadow;
	uint64_t from, to; /* this worker's part of the disk */
	uint32_t seed;
	unsigned steps;
	bool exact_discard; /* discarded whole clusters read as zeroes */
	pthread_t thread;
};

static void check_part(const struct worker *w, uint64_t offset, uint64_t length)
{
	uint8_t *got = malloc(length + 1);

	assert_int_equal(block_pread(w->block, offset, got, length), 0);
	for (uint64_t i = 0; i < length; i++)
		if (got[i] != w->shadow[offset + i])
			fail_msg("byte %llu is %02x, not %02x", (unsigned long long)(offset + i), got[i],
				 w->shadow[offset + i]);
	free(got);
}

static void place_some(struct worker *w, uint64_t offset, uint64_t length)
{
	int result = w->block->driver->place(w->block, offset, length);

	assert_true(result == 0 || result == -ENOTSUP);
}

static void *work(void *opaque)
{
	struct worker *w = opaque;

	for (unsigned step = 0; step < w->steps; step++) {
		const uint64_t room = w->to - w->from;
		uint64_t length = 1 + next_random(&w->seed) % (next_random(&w->seed) % 8 ? 6000 : 300000);
		uint64_t offset;

		length = min_u64(length, room);
		offset = w->from + (next_random(&w->seed) * 256ull + next_random(&w->seed)) % (room - length + 1);
		switch (next_random(&w->seed) % 10) {
		case 0:
			assert_int_equal(block_execute(w->block, BLOCK_WRITE_ZEROES, offset, length, NULL, 0,
						       step & 1 ? BLOCK_MAY_UNMAP : 0),
					 0);
			memset(w->shadow + offset, 0, length);
			break;
		case 1:
			if (!w->exact_discard)
				break;
			offset = align_up(offset, w->block->optimal_bytes);
			length = align_down(length, w->block->optimal_bytes);
			if (!length || offset + length > w->to)
				break;
			assert_int_equal(block_execute(w->block, BLOCK_DISCARD, offset, length, NULL, 0, 0), 0);
			memset(w->shadow + offset, 0, length);
			break;
		case 2:
			assert_int_equal(block_flush(w->block), 0);
			break;
		case 3:
		case 4:
			check_part(w, offset, length);
			break;
		default:
			if (step % 4 == 0)
				place_some(w, step % 16 ? offset : offset / 2, length);
			memset(w->shadow + offset, (int)next_random(&w->seed), length);
			assert_int_equal(
				block_pwrite(w->block, offset, w->shadow + offset, length, step % 32 ? 0 : BLOCK_FUA),
				0);
			break;
		}
	}
	return NULL;
}

static void run_workers(struct block *block, uint8_t *shadow, uint64_t bytes, bool exact_discard, unsigned threads,
			unsigned steps)
{
	struct worker workers[4] = {0};

	for (unsigned i = 0; i < threads; i++) {
		/* Parts end inside clusters, so that threads meet in them. */
		workers[i] = (struct worker){.block = block,
					     .shadow = shadow,
					     .seed = 77 + i,
					     .steps = steps,
					     .exact_discard = exact_discard,
					     .from = bytes / threads * i + (i ? 777 : 0),
					     .to = i + 1 == threads ? bytes : bytes / threads * (i + 1) + 777};
		if (threads == 1)
			work(&workers[i]);
		else
			assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	for (unsigned i = 0; i < threads && threads > 1; i++)
		pthread_join(workers[i].thread, NULL);
}

static void check_raw(const struct fixture *f, const uint8_t *shadow, uint64_t length)
{
	uint8_t *raw = calloc(1, length);
	int fd = open(f->data, O_RDONLY);

	assert_true(pread(fd, raw, length, 0) >= 0);
	assert_memory_equal(raw, shadow, length);
	close(fd);
	free(raw);
}

static void exercise(struct fixture *f, const struct qcow2_create *how, unsigned threads, unsigned steps)
{
	uint8_t *shadow = calloc(1, how->length);
	struct worker whole = {.shadow = shadow};
	struct block *block;

	create(f, how);
	if (how->backing) {
		int fd = open(f->base, O_RDONLY);

		assert_true(read(fd, shadow, how->length) >= 0);
		close(fd);
	}
	for (unsigned round = 0; round < 3; round++) {
		block = open_image(f, false);
		assert_int_equal(block->length, how->length);
		run_workers(block, shadow, how->length, threads == 1 && (how->version >= 3 || !how->backing), threads,
			    steps);
		whole.block = block;
		check_part(&whole, 0, how->length);
		block_unref(block);
		qemu_check(f);
		if (how->data_file_raw)
			check_raw(f, shadow, how->length);
	}
	block = open_image(f, true);
	whole.block = block;
	check_part(&whole, 0, how->length);
	block_unref(block);
	free(shadow);
}

static void make_base(struct fixture *f, uint64_t bytes)
{
	uint32_t seed = 5;
	FILE *to = fopen(f->base, "wb");

	for (uint64_t i = 0; i < bytes; i++)
		fputc((int)next_random(&seed), to);
	fclose(to);
}

static void read_base(const struct fixture *f, uint8_t *to)
{
	FILE *from = fopen(f->base, "rb");

	assert_non_null(from);
	assert_int_equal(fread(to, 1, DISK_BYTES, from), DISK_BYTES);
	fclose(from);
}

static void test_geometries(void **state)
{
	static const struct {
		unsigned version;
		uint32_t cluster;
		unsigned refcount_bits;
		bool extended_l2;
	} cases[] = {{2, 65536, 16},  {3, 65536, 16}, {3, 512, 16}, {3, 512, 64},         {3, 4096, 1},
		     {3, 2 << 20, 8}, {3, 1024, 32},  {2, 512, 16}, {3, 65536, 16, true}, {3, 16384, 16, true}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct qcow2_create how;

		qcow2_create_defaults(&how);
		how.version = cases[i].version;
		how.cluster_bytes = cases[i].cluster;
		how.refcount_bits = cases[i].refcount_bits;
		how.extended_l2 = cases[i].extended_l2;
		how.length = DISK_BYTES + 512;
		exercise(*state, &how, 1, 400);
	}
}

static void test_backing(void **state)
{
	struct fixture *f = *state;
	struct qcow2_create how;

	make_base(f, 5 * MIB + 512);
	for (unsigned round = 0; round < 3; round++) {
		qcow2_create_defaults(&how);
		how.version = round == 0 ? 2 : 3;
		how.extended_l2 = round == 2;
		how.length = DISK_BYTES;
		how.backing = "base.raw";
		how.backing_format = "raw";
		exercise(f, &how, 1, 300);
	}
}

static void test_threads(void **state)
{
	struct fixture *f = *state;
	struct qcow2_create how;

	qcow2_create_defaults(&how);
	how.length = DISK_BYTES;
	exercise(f, &how, 4, 500);
	how.cluster_bytes = 4096;
	exercise(f, &how, 4, 500);
	make_base(f, 5 * MIB + 512);
	how.backing = "base.raw";
	how.backing_format = "raw";
	exercise(f, &how, 4, 300);
	how.cluster_bytes = 16384;
	how.extended_l2 = true;
	exercise(f, &how, 4, 300);
}

/* The order of places lays the image out, whatever the order of the writes; what is not written leaves nothing. */
static void test_places(void **state)
{
	struct fixture *f = *state;
	struct qcow2_create how;
	struct block *block;
	uint8_t page[65536];
	uint64_t host[6];

	qcow2_create_defaults(&how);
	how.length = DISK_BYTES;
	create(f, &how);
	block = open_image(f, false);
	for (uint64_t i = 0; i < 8; i++)
		assert_int_equal(block->driver->place(block, i * 65536 + 4096, 65536), 0);
	for (uint64_t i = 6; i--;) {
		memset(page, (int)i + 1, sizeof(page));
		assert_int_equal(block_pwrite(block, i * 65536 + 1000, page, sizeof(page) - 1000, 0), 0);
	}
	for (uint64_t i = 0; i < 6; i++) {
		uint64_t length = 65536;

		assert_true(block->driver->extent(block, i * 65536, &length, &host[i]) & BLOCK_EXTENT_OFFSET_VALID);
		assert_int_equal(host[i], host[0] + i * 65536);
		assert_int_equal(block_pread(block, i * 65536, page, sizeof(page)), 0);
		assert_int_equal(page[999], 0);
		assert_int_equal(page[1000], i + 1);
	}
	block_unref(block);
	qemu_check(f); /* leaks too */
}

static void test_data_files(void **state)
{
	struct fixture *f = *state;
	struct qcow2_create how;

	make_base(f, 5 * MIB + 512);
	for (unsigned round = 0; round < 8; round++) {
		const int fd = open(f->data, O_RDWR | O_CREAT | O_TRUNC, 0600);

		qcow2_create_defaults(&how);
		how.length = DISK_BYTES;
		how.data_file = f->data;
		how.data_file_raw = round & 1;
		how.extended_l2 = round & 2;
		if (!how.data_file_raw) {
			how.backing = "base.raw";
			how.backing_format = "raw";
		}
		assert_int_equal(ftruncate(fd, (off_t)how.length), 0);
		close(fd);
		exercise(f, &how, round & 4 ? 4 : 1, 200);
	}
}

/* Requests of any alignment, by one thread and several, through a cipher; over a backing file that is not encrypted. */
static void test_encryption(void **state)
{
	struct fixture *f = *state;
	struct options secret = {0};
	struct qcow2_create how;
	struct error err = {0};

	options_add(&secret, "id", "key");
	options_add(&secret, "data", "abc");
	assert_int_equal(block_secret_add(f->graph, &secret, &err), 0);
	options_free(&secret);
	f->encrypted = true;
	make_base(f, 5 * MIB + 512);
	for (unsigned round = 0; round < 4; round++) {
		qcow2_create_defaults(&how);
		how.length = DISK_BYTES + 512;
		how.crypt_method = 1;
		how.cluster_bytes = round & 1 ? 16384 : 65536;
		how.extended_l2 = round & 1;
		if (round & 2) {
			how.backing = "base.raw";
			how.backing_format = "raw";
		}
		exercise(f, &how, round ? 4 : 1, 200);
	}
}

/* Whatever is in a cluster goes along when a snapshot makes it move. */
static void test_snapshots_of_subclusters(void **state)
{
	struct fixture *f = *state;
	uint8_t *shadow = calloc(1, DISK_BYTES), *kept = malloc(DISK_BYTES);
	struct worker whole = {.shadow = shadow};
	struct qcow2_create how;
	struct error err = {0};
	struct block *block;

	qcow2_create_defaults(&how);
	how.length = DISK_BYTES;
	how.extended_l2 = true;
	create(f, &how);
	block = open_image(f, false);
	run_workers(block, shadow, DISK_BYTES, true, 1, 200);
	memcpy(kept, shadow, DISK_BYTES);
	for (unsigned round = 0; round < 3; round++) {
		char name[2] = {(char)('a' + round), 0};

		assert_int_equal(qcow2_snapshot_create(block, name, &err), 0);
		run_workers(block, shadow, DISK_BYTES, true, 1, 50);
		whole.block = block;
		check_part(&whole, 0, DISK_BYTES);
	}
	assert_int_equal(qcow2_snapshot_apply(block, "a", &err), 0);
	whole.shadow = kept;
	check_part(&whole, 0, DISK_BYTES);
	block_unref(block);
	qemu_check(f);
	free(shadow);
	free(kept);
}

/* What the disk (NULL) or a snapshot shows. */
static uint8_t *content_of(struct fixture *f, const char *snapshot)
{
	struct block *block = open_image(f, true);
	uint8_t *content = malloc(DISK_BYTES);
	struct error err = {0};

	if (snapshot)
		assert_int_equal(qcow2_snapshot_show(block, NULL, snapshot, &err), 0);
	assert_int_equal(block_pread(block, 0, content, DISK_BYTES), 0);
	block_unref(block);
	return content;
}

/* Version 2 has no clusters of zeroes, and disk and snapshots, which share tables and clusters, stay what they are. */
static void test_downgrade_with_snapshots(void **state)
{
	static const char *const names[] = {NULL, "a", "b", "c"};
	struct fixture *f = *state;

	make_base(f, DISK_BYTES);
	for (unsigned round = 0; round < 4; round++) {
		struct options options = {0};
		uint8_t *shadow = calloc(1, DISK_BYTES), *before[ARRAY_SIZE(names)];
		struct qcow2_create how;
		struct error err = {0};
		struct block *block;

		qcow2_create_defaults(&how);
		how.length = DISK_BYTES;
		how.cluster_bytes = round & 1 ? 4096 : 65536;
		if (round & 2) {
			how.backing = f->base;
			how.backing_format = "raw";
			read_base(f, shadow);
		}
		create(f, &how);
		block = open_image(f, false);
		for (unsigned i = 1; i < ARRAY_SIZE(names); i++) {
			run_workers(block, shadow, DISK_BYTES, true, 1, 40);
			assert_int_equal(block_execute(block, BLOCK_WRITE_ZEROES, i * MIB, 256 * KIB, NULL, 0, 0), 0);
			memset(shadow + i * MIB, 0, 256 * KIB);
			assert_int_equal(qcow2_snapshot_create(block, names[i], &err), 0);
		}
		run_workers(block, shadow, DISK_BYTES, true, 1, 10);
		block_unref(block);
		for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
			before[i] = content_of(f, names[i]);
		block = open_image(f, false);
		options_add(&options, "compat", "0.10");
		assert_int_equal(qcow2_amend(block, &options, false, &err), 0);
		options_free(&options);
		block_unref(block);
		qemu_check(f);
		for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
			uint8_t *after = content_of(f, names[i]);

			assert_memory_equal(after, before[i], DISK_BYTES);
			free(after);
			free(before[i]);
		}
		free(shadow);
	}
}

/* The image where there is no room when the sector is written: each time, or once. */
static struct block *open_full(struct fixture *f, const char *sector, const char *once)
{
	struct options options = {0};
	struct error err = {0};
	struct block *block;

	options_add(&options, "driver", "qcow2");
	options_add(&options, "file.driver", "blkdebug");
	options_add(&options, "file.image.driver", "file");
	options_add(&options, "file.image.filename", f->image);
	options_add(&options, "file.inject-error.0.event", "write_aio");
	options_add(&options, "file.inject-error.0.errno", "28");
	options_add(&options, "file.inject-error.0.once", once);
	options_add(&options, "file.inject-error.0.sector", sector);
	block = block_open_options(f->graph, &options, &err);
	options_free(&options);
	assert_non_null(block);
	return block;
}

/* A larger backing file must not show behind the old end when there is no room for the zeroes that would hide it. */
static void test_failed_growth(void **state)
{
	struct fixture *f = *state;
	struct qcow2_create how;
	struct error err = {0};
	struct block *block;

	make_base(f, 4 * MIB);
	qcow2_create_defaults(&how);
	how.version = 2; /* where zeroes are data */
	how.length = MIB;
	how.backing = f->base;
	how.backing_format = "raw";
	create(f, &how);
	block = open_full(f, "640", "off"); /* the first cluster behind the tables */
	assert_int_equal(block_truncate(block, 3 * MIB, &err), -28);
	assert_int_equal(block->length, MIB);
	block_unref(block);
	block = open_image(f, true);
	assert_int_equal(block->length, MIB);
	block_unref(block);
	qemu_check(f);
}

/* Bits of 64 KiB, of the bitmap that was made first or second. */
static bool bit_at(const struct block *block, unsigned index, uint64_t offset)
{
	struct qcow2 *q = block->private_data;
	struct qcow2_bitmap *bitmap = &q->bitmaps[index];

	assert_int_equal(bitmap->granularity_bits, 16);
	assert_false(bitmap->inconsistent);
	if (!bitmap->bits)
		assert_int_equal(qcow2_bitmap_load(q, bitmap), 0);
	return bitmap->bits[(offset >> 16) / 8] >> ((offset >> 16) & 7) & 1;
}

/* A bitmap that follows no writes knows what it knew when an image could not be made smaller. */
static void test_failed_shrinking(void **state)
{
	struct fixture *f = *state;
	struct qcow2_create how;
	struct error err = {0};
	struct block *block;

	qcow2_create_defaults(&how);
	how.length = 4 * MIB;
	create(f, &how);
	block = open_image(f, false);
	assert_int_equal(qcow2_bitmap_add(block, "stands", 65536, true, &err), 0);
	assert_int_equal(qcow2_bitmap_add(block, "follows", 65536, true, &err), 0);
	assert_int_equal(block_pwrite(block, 3 * MIB, "x", 1, 0), 0);
	assert_int_equal(block_pwrite(block, 0, "x", 1, 0), 0);
	assert_int_equal(qcow2_bitmap_enable(block, "stands", false, &err), 0);
	assert_int_equal(qcow2_bitmaps_store(block, &err), 0);
	block_unref(block);
	block = open_full(f, "512", "on"); /* the L2 table */
	assert_int_equal(block_truncate(block, MIB, &err), -28);
	assert_int_equal(block->length, 4 * MIB);
	block_unref(block);
	block = open_image(f, false);
	assert_true(bit_at(block, 0, 0) && bit_at(block, 0, 3 * MIB));
	assert_false(bit_at(block, 0, 2 * MIB) || bit_at(block, 0, MIB - 1));
	assert_true(bit_at(block, 1, 2 * MIB) && bit_at(block, 1, 0)); /* anything may have changed there */
	assert_int_equal(block_truncate(block, 5 * MIB, &err), 0);
	assert_false(bit_at(block, 0, 4 * MIB));
	assert_int_equal(block_truncate(block, MIB, &err), 0);
	assert_int_equal(block_truncate(block, 4 * MIB, &err), 0);
	assert_true(bit_at(block, 0, 0) && !bit_at(block, 0, 3 * MIB));
	block_unref(block);
	qemu_check(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_geometries, setup, teardown),
		cmocka_unit_test_setup_teardown(test_backing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
		cmocka_unit_test_setup_teardown(test_places, setup, teardown),
		cmocka_unit_test_setup_teardown(test_data_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_encryption, setup, teardown),
		cmocka_unit_test_setup_teardown(test_snapshots_of_subclusters, setup, teardown),
		cmocka_unit_test_setup_teardown(test_downgrade_with_snapshots, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failed_growth, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failed_shrinking, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
