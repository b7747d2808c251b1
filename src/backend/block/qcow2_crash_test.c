/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2 under power cuts and failing writes, with and without an internal snapshot; see tape.h. */
#include "backend/block/qcow2_bitmap.h"
#include "backend/block/tape.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static void new_image(struct tape *tape, const struct qcow2_create *create)
{
	char path[] = "/tmp/xuni-crash-XXXXXX";
	struct error err = {0};

	close(mkstemp(path));
	assert_int_equal(qcow2_create_file(path, create, &err), 0);
	tape_start(tape, path);
	unlink(path);
	if (create->data_file)
		tape_add_data(tape);
}

static struct qcow2_create image_of(uint64_t disk, uint32_t cluster, unsigned refcount_bits)
{
	struct qcow2_create create;

	qcow2_create_defaults(&create);
	create.length = disk;
	create.cluster_bytes = cluster;
	create.refcount_bits = refcount_bits;
	return create;
}

static void record_and_cut(const struct qcow2_create *create, unsigned steps)
{
	struct block_graph *graph = block_graph_new(NULL);
	uint8_t *shadow = calloc(1, create->length);
	struct error err = {0};
	struct tape tape, start;
	struct block *block;
	uint32_t seed = create->cluster_bytes + create->refcount_bits;

	new_image(&tape, create);
	tape_copy(&start, &tape);
	tape.recording = true;
	block = tape_open(graph, &tape, &block_qcow2_driver, false, &err);
	assert_non_null(block);
	for (unsigned i = 0; i < steps; i++) {
		if (i == steps / 2 && !create->data_file)
			assert_int_equal(qcow2_snapshot_create(block, "half", &err), 0);
		tape_step(block, &tape, shadow, &seed);
	}
	if (!create->data_file)
		assert_int_equal(qcow2_snapshot_delete(block, "half", &err), 0);
	block_unref(block);
	tape_cut_everywhere(&tape, &start, &block_qcow2_driver, create->length);
	tape_end(&tape);
	tape_end(&start);
	free(shadow);
	block_graph_free(graph);
}

static void test_cuts(void **state)
{
	const struct qcow2_create images[] = {image_of(512 * KIB, 4096, 16), image_of(128 * KIB, 512, 16),
					      image_of(256 * KIB, 512, 64), image_of(1 * MIB, 65536, 32)};

	for (size_t i = 0; i < ARRAY_SIZE(images); i++)
		record_and_cut(&images[i], 150);
}

static void test_cuts_of_subclusters(void **state)
{
	struct qcow2_create images[] = {image_of(256 * KIB, 16384, 16), image_of(1 * MIB, 65536, 16)};

	for (size_t i = 0; i < ARRAY_SIZE(images); i++) {
		images[i].extended_l2 = true;
		record_and_cut(&images[i], 150);
	}
}

static void test_cuts_of_data_files(void **state)
{
	struct qcow2_create images[] = {image_of(256 * KIB, 4096, 16), image_of(256 * KIB, 4096, 16),
					image_of(256 * KIB, 16384, 16)};

	images[1].data_file_raw = true;
	images[2].extended_l2 = true;
	for (size_t i = 0; i < ARRAY_SIZE(images); i++) {
		images[i].data_file = "data";
		record_and_cut(&images[i], 150);
	}
}

/* A bitmap that the file says is good has a bit for everything that was written since the disk was all zeroes. */
static void check_bitmaps(struct block *block, const uint8_t *content)
{
	const struct qcow2 *q = block->private_data;

	for (uint32_t i = 0; i < q->bitmap_count; i++) {
		struct qcow2_bitmap *bitmap = &q->bitmaps[i];

		if (bitmap->inconsistent || !bitmap->enabled || bitmap->name[0] == 'c')
			continue;
		assert_int_equal(qcow2_bitmap_load(block->private_data, bitmap), 0);
		for (uint64_t at = 0; at < block->length; at++) {
			const uint64_t granule = at >> bitmap->granularity_bits;

			if (content[at] && !(bitmap->bits[granule / 8] >> (granule & 7) & 1))
				fail_msg("byte %llu was written, bitmap %s does not say so", (unsigned long long)at,
					 bitmap->name);
		}
	}
}

/* Bitmaps that are made, follow writes, are cleared and removed, over several lives of the node. */
static void cut_bitmaps(const struct qcow2_create *create)
{
	static const char *const names[] = {"first", "with-a-name-so-long-that-it-takes-much-of-the-header", "third"};
	struct block_graph *graph = block_graph_new(NULL);
	uint8_t *shadow = calloc(1, create->length);
	struct error err = {0};
	struct tape tape, start;
	struct block *block;
	uint32_t seed = 5;

	new_image(&tape, create);
	tape.also = check_bitmaps;
	tape_copy(&start, &tape);
	tape.recording = true;
	for (unsigned life = 0; life < 3; life++) {
		block = tape_open(graph, &tape, &block_qcow2_driver, false, &err);
		assert_non_null(block);
		if (life == 0)
			for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
				assert_int_equal(qcow2_bitmap_add(block, names[i], 512 << i, i != 2, &err), 0);
		if (life == 1) {
			assert_int_equal(qcow2_bitmap_add(block, "cleared", 4096, true, &err), 0);
			assert_int_equal(qcow2_bitmap_remove(block, names[2], &err), 0);
		}
		if (life == 2)
			assert_int_equal(qcow2_bitmap_clear(block, "cleared", &err), 0);
		assert_int_equal(qcow2_bitmaps_store(block, &err), 0);
		for (unsigned i = 0; i < 40; i++)
			tape_step(block, &tape, shadow, &seed);
		block_unref(block);
	}
	block = tape_open(graph, &tape, &block_qcow2_driver, true, &err);
	assert_int_equal(((struct qcow2 *)block->private_data)->bitmap_count, 3);
	for (size_t i = 0; i < 3; i++)
		assert_false(qcow2_bitmap_is_inconsistent(block, i));
	check_bitmaps(block, shadow);
	block_unref(block);
	tape_cut_everywhere(&tape, &start, &block_qcow2_driver, create->length);
	tape_end(&tape);
	tape_end(&start);
	free(shadow);
	block_graph_free(graph);
}

static void test_cuts_of_bitmaps(void **state)
{
	char base[] = "/tmp/xuni-crash-base-XXXXXX";
	struct qcow2_create images[] = {image_of(128 * KIB, 4096, 16), image_of(64 * KIB, 512, 16),
					image_of(256 * KIB, 65536, 16)};

	for (size_t i = 0; i < ARRAY_SIZE(images); i++)
		cut_bitmaps(&images[i]);
	/* The name of a backing file is in the way of the bitmaps' extension. */
	close(mkstemp(base));
	images[0].backing = base;
	images[0].backing_format = "raw";
	cut_bitmaps(&images[0]);
	unlink(base);
}

static void test_failing_writes(void **state)
{
	struct qcow2_create create = image_of(256 * KIB, 4096, 16);
	struct tape start;

	for (unsigned round = 0; round < 2; round++) {
		new_image(&start, &create);
		tape_fail_everywhere(&start, &block_qcow2_driver, create.length, 120);
		tape_end(&start);
		create.cluster_bytes = 16384;
		create.extended_l2 = true;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_cuts), cmocka_unit_test(test_cuts_of_subclusters),
					   cmocka_unit_test(test_cuts_of_data_files),
					   cmocka_unit_test(test_cuts_of_bitmaps),
					   cmocka_unit_test(test_failing_writes)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
