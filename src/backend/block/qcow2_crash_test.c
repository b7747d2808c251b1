/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2 under power cuts and failing writes, with and without an internal snapshot; see tape.h. */
#include "backend/block/qcow2.h"
#include "backend/block/tape.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static void new_image(struct tape *tape, uint64_t disk, uint32_t cluster, unsigned refcount_bits)
{
	char path[] = "/tmp/xuni-crash-XXXXXX";
	struct error err = {0};
	struct qcow2_create create;

	close(mkstemp(path));
	qcow2_create_defaults(&create);
	create.length = disk;
	create.cluster_bytes = cluster;
	create.refcount_bits = refcount_bits;
	assert_int_equal(qcow2_create_file(path, &create, &err), 0);
	tape_start(tape, path);
	unlink(path);
}

static void record_and_cut(uint32_t cluster, unsigned refcount_bits, uint64_t disk, unsigned steps)
{
	struct block_graph *graph = block_graph_new(NULL);
	uint8_t *shadow = calloc(1, disk);
	struct error err = {0};
	struct tape tape, start;
	struct block *block;
	uint32_t seed = cluster + refcount_bits;

	new_image(&tape, disk, cluster, refcount_bits);
	tape_copy(&start, &tape);
	tape.recording = true;
	block = tape_open(graph, &tape, &block_qcow2_driver, false, &err);
	assert_non_null(block);
	for (unsigned i = 0; i < steps; i++) {
		if (i == steps / 2)
			assert_int_equal(qcow2_snapshot_create(block, "half", &err), 0);
		tape_step(block, &tape, shadow, &seed);
	}
	assert_int_equal(qcow2_snapshot_delete(block, "half", &err), 0);
	block_unref(block);
	tape_cut_everywhere(&tape, &start, &block_qcow2_driver, disk);
	tape_end(&tape);
	tape_end(&start);
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

static void test_failing_writes(void **state)
{
	struct tape start;

	new_image(&start, 256 * KIB, 4096, 16);
	tape_fail_everywhere(&start, &block_qcow2_driver, 256 * KIB, 120);
	tape_end(&start);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_cuts), cmocka_unit_test(test_failing_writes)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
