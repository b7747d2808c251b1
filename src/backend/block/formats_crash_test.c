/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Power cuts and failing writes in images of the formats that have no crash test of their own; see tape.h. */
#include "backend/block/tape.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static void new_image(struct tape *tape, struct block_graph *graph, const struct block_driver *format, uint64_t disk,
		      const char *key, const char *value)
{
	char path[] = "/tmp/xuni-crash-XXXXXX";
	struct options options = {0};
	const struct block_create create = {
		.driver = format, .graph = graph, .filename = path, .length = disk, .options = &options};
	struct error err = {0};

	close(mkstemp(path));
	if (key)
		options_add(&options, key, value);
	assert_int_equal(block_create_image(&create, &err), 0);
	tape_start(tape, path);
	unlink(path);
	options_free(&options);
}

static void record_and_cut(const struct block_driver *format, uint64_t disk, const char *key, const char *value,
			   unsigned steps)
{
	struct block_graph *graph = block_graph_new(NULL);
	uint8_t *shadow;
	struct error err = {0};
	struct tape tape, start;
	struct block *block;
	uint32_t seed = steps;

	new_image(&tape, graph, format, disk, key, value);
	tape_copy(&start, &tape);
	tape.recording = true;
	block = tape_open(graph, &tape, format, false, &err);
	assert_non_null(block);
	disk = block->length;
	shadow = calloc(1, disk);
	for (unsigned i = 0; i < steps; i++)
		tape_step(block, &tape, shadow, &seed);
	block_unref(block);
	tape_cut_everywhere(&tape, &start, format, disk);
	tape_end(&tape);
	tape_end(&start);
	free(shadow);
	block_graph_free(graph);
}

static void fail_everywhere(const struct block_driver *format, uint64_t disk, int64_t most)
{
	struct block_graph *graph = block_graph_new(NULL);
	struct tape start;

	new_image(&start, graph, format, disk, NULL, NULL);
	tape_fail_everywhere(&start, format, disk, most);
	tape_end(&start);
	block_graph_free(graph);
}

static void test_vdi(void **state)
{
	record_and_cut(&block_vdi_driver, 9 * MIB, NULL, NULL, 80);
	record_and_cut(&block_vdi_driver, 2 * MIB, "static", "on", 60);
	fail_everywhere(&block_vdi_driver, 4 * MIB, 40);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_vdi)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
