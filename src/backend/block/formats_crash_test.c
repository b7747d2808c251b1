/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Power cuts and failing writes in images of the formats that have no crash test of their own; see tape.h. */
#include "backend/block/tape.h"
#include "backend/block/vpc.h"

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
			   unsigned steps, void (*also)(const struct tape *image))
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
	tape_cut_everywhere_also(&tape, &start, format, disk, also);
	tape_end(&tape);
	tape_end(&start);
	free(shadow);
	block_graph_free(graph);
}

static void fail_everywhere(const struct block_driver *format, uint64_t disk, int64_t most)
{
	struct block_graph *graph = block_graph_new(NULL);
	struct error err = {0};
	struct block *block;
	struct tape start;

	new_image(&start, graph, format, disk, NULL, NULL);
	block = tape_open(graph, &start, format, true, &err);
	assert_non_null(block);
	disk = block->length; /* vhd: what the geometry makes of it */
	block_unref(block);
	tape_fail_everywhere(&start, format, disk, most);
	tape_end(&start);
	block_graph_free(graph);
}

static void test_vdi(void **state)
{
	record_and_cut(&block_vdi_driver, 5 * MIB, NULL, NULL, 60, NULL);
	record_and_cut(&block_vdi_driver, 2 * MIB, "static", "on", 30, NULL);
	fail_everywhere(&block_vdi_driver, 4 * MIB, 30);
}

/* Of a dynamic vhd: somewhere behind the tables stands a footer that is whole, besides the copy at the beginning. */
static void has_footer(const struct tape *image)
{
	assert_true(image->size >= 2048 && !memcmp(image->bytes, VPC_COOKIE, 8));
	for (uint64_t at = image->size - 512; at >= 1536; at -= 512)
		if (!memcmp(image->bytes + at, image->bytes, 512))
			return;
	fail_msg("no footer at the end");
}

static void test_vpc(void **state)
{
	record_and_cut(&block_vpc_driver, 7 * MIB, NULL, NULL, 50, has_footer);
	record_and_cut(&block_vpc_driver, 2 * MIB, "subformat", "fixed", 30, NULL);
	fail_everywhere(&block_vpc_driver, 6 * MIB, 30);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_vdi), cmocka_unit_test(test_vpc)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
