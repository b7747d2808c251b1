/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmdk and vhdx under power cuts and failing writes; see tape.h. */
#include "backend/block/image.h"
#include "backend/block/tape.h"
#include "backend/block/vhdx.h"
#include "backend/block/vmdk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

struct image {
	const struct block_driver *driver;
	const char *options;
	uint64_t disk;
	unsigned steps;
	int64_t failures;
};

static void new_image(struct block_graph *graph, const struct image *image, struct tape *tape)
{
	char path[] = "/tmp/xuni-crash-XXXXXX";
	struct options options = {0};
	struct block_create create = {
		.driver = image->driver, .graph = graph, .filename = path, .length = image->disk, .options = &options};
	struct error err = {0};

	close(mkstemp(path));
	assert_int_equal(options_parse(&options, image->options, NULL, &err), 0);
	if (block_create_image(&create, &err))
		fail_msg("%s", err.msg);
	tape_start(tape, path);
	options_free(&options);
	unlink(path);
}

static void record_and_cut(const struct image *image)
{
	struct block_graph *graph = block_graph_new(NULL);
	uint8_t *shadow = calloc(1, image->disk);
	struct error err = {0};
	struct tape tape, start;
	struct block *block;
	uint32_t seed = 1;

	new_image(graph, image, &tape);
	tape_copy(&start, &tape);
	tape.recording = true;
	block = tape_open(graph, &tape, image->driver, false, &err);
	assert_non_null(block);
	for (unsigned i = 0; i < image->steps; i++)
		tape_step(block, &tape, shadow, &seed);
	block_unref(block);
	tape_cut_everywhere(&tape, &start, image->driver, image->disk);
	tape_end(&tape);
	tape_end(&start);
	free(shadow);
	block_graph_free(graph);
}

static const struct image images[] = {
	{&block_vmdk_driver, "compat6=off", 2 * MIB, 150, 90},
	{&block_vmdk_driver, "zeroed_grain=on", 1 * MIB + 5 * KIB, 150, 90},
	{&block_vhdx_driver, "block_size=1M", 3 * MIB + 64 * KIB, 60, 60},
	{&block_vhdx_driver, "block_size=1M,block_state_zero=off", 2 * MIB, 40, 60},
	{&block_vhdx_driver, "block_size=1M,subformat=fixed", 1 * MIB, 40, 30},
};

static void test_cuts(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(images); i++)
		record_and_cut(&images[i]);
}

static void test_failing_writes(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(images); i++) {
		struct block_graph *graph = block_graph_new(NULL);
		struct tape start;

		new_image(graph, &images[i], &start);
		tape_fail_everywhere(&start, images[i].driver, images[i].disk, images[i].failures);
		tape_end(&start);
		block_graph_free(graph);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_cuts), cmocka_unit_test(test_failing_writes)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
