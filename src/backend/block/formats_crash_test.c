/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Power cuts and failing writes in images of the formats that have no crash test of their own; see tape.h. */
#include "backend/block/tape.h"
#include "backend/block/vhdx_internal.h"
#include "backend/block/vmdk.h"
#include "backend/block/vpc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static void new_image(struct tape *tape, struct block_graph *graph, const struct block_driver *format, uint64_t disk,
		      const char *words)
{
	char path[] = "/tmp/xuni-crash-XXXXXX";
	struct options options = {0};
	struct block_create create = {
		.driver = format, .graph = graph, .filename = path, .length = disk, .options = &options};
	struct error err = {0};

	close(mkstemp(path));
	if (words)
		assert_int_equal(options_parse(&options, words, NULL, &err), 0);
	create.backing = options_get(&options, "backing_file");
	assert_int_equal(block_create_image(&create, &err), 0);
	tape_start(tape, path);
	unlink(path);
	options_free(&options);
}

static void record_and_cut(const struct block_driver *format, uint64_t disk, const char *words, unsigned steps,
			   void (*also)(const struct tape *image))
{
	struct block_graph *graph = block_graph_new(NULL);
	uint8_t *shadow;
	struct error err = {0};
	struct tape tape, start;
	struct block *block;
	uint32_t seed = steps;

	new_image(&tape, graph, format, disk, words);
	tape_copy(&start, &tape);
	tape.recording = true;
	block = tape_open(graph, &tape, format, false, &err);
	assert_non_null(block);
	disk = block->length;
	shadow = calloc(1, disk);
	assert_int_equal(block_pread(block, 0, shadow, disk), 0);
	tape_note_start(&tape, shadow, disk);
	for (unsigned i = 0; i < steps; i++)
		tape_step(block, &tape, shadow, &seed);
	block_unref(block);
	tape_cut_everywhere_also(&tape, &start, format, disk, also);
	tape_end(&tape);
	tape_end(&start);
	free(shadow);
	block_graph_free(graph);
}

static void fail_everywhere(const struct block_driver *format, uint64_t disk, const char *words, int64_t most)
{
	struct block_graph *graph = block_graph_new(NULL);
	struct error err = {0};
	struct block *block;
	struct tape start;

	new_image(&start, graph, format, disk, words);
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
	record_and_cut(&block_vdi_driver, 4 * MIB, NULL, 50, NULL);
	record_and_cut(&block_vdi_driver, 2 * MIB, "static=on", 30, NULL);
	fail_everywhere(&block_vdi_driver, 4 * MIB, NULL, 30);
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
	record_and_cut(&block_vpc_driver, 5 * MIB, NULL, 40, has_footer);
	record_and_cut(&block_vpc_driver, 2 * MIB, "subformat=fixed", 30, NULL);
	fail_everywhere(&block_vpc_driver, 6 * MIB, NULL, 30);
}

static void test_vmdk(void **state)
{
	record_and_cut(&block_vmdk_driver, 2 * MIB, NULL, 150, NULL);
	record_and_cut(&block_vmdk_driver, 1 * MIB + 5 * KIB, "zeroed_grain=on", 150, NULL);
	fail_everywhere(&block_vmdk_driver, 2 * MIB, NULL, 90);
	fail_everywhere(&block_vmdk_driver, 2 * MIB, "zeroed_grain=on", 90);
}

/* When the header that counts names a log, a whole entry of it is there. */
static void has_log(const struct tape *image)
{
	const uint8_t *head = image->bytes + 64 * KIB, *second = image->bytes + 128 * KIB, *log;
	uint32_t length;

	if (load_le32(head + 4) != vhdx_checksum(head, VHDX_HEADER_BYTES, 4) ||
	    (load_le32(second + 4) == vhdx_checksum(second, VHDX_HEADER_BYTES, 4) &&
	     load_le64(second + 8) > load_le64(head + 8)))
		head = second;
	assert_int_equal(load_le32(head + 4), vhdx_checksum(head, VHDX_HEADER_BYTES, 4));
	if (buffer_is_zero(head + 48, 16))
		return;
	log = image->bytes + load_le64(head + 72);
	length = load_le32(log + 8);
	if (memcmp(log, "loge", 4) != 0 || memcmp(log + 32, head + 48, 16) != 0 || length > load_le32(head + 68) ||
	    load_le32(log + 4) != vhdx_checksum(log, length, 4))
		fail_msg("the header names a log that is not there");
}

static void test_vhdx(void **state)
{
	record_and_cut(&block_vhdx_driver, 3 * MIB + 64 * KIB, "block_size=1M", 60, has_log);
	record_and_cut(&block_vhdx_driver, 2 * MIB, "block_size=1M,block_state_zero=off", 40, has_log);
	record_and_cut(&block_vhdx_driver, 1 * MIB, "block_size=1M,subformat=fixed", 40, has_log);
	fail_everywhere(&block_vhdx_driver, 3 * MIB, "block_size=1M", 60);
	fail_everywhere(&block_vhdx_driver, 1 * MIB, "block_size=1M,subformat=fixed", 30);
}

/* Over a backing file, so that a cluster that is linked before its data shows. */
static void test_qcow(void **state)
{
	char base[] = "/tmp/xuni-crash-base-XXXXXX";
	char *words;
	uint8_t data[4096];
	int fd = mkstemp(base);

	memset(data, 0xb5, sizeof(data));
	for (unsigned i = 0; i < 300; i++)
		assert_int_equal(write(fd, data, sizeof(data)), sizeof(data));
	close(fd);
	words = xasprintf("backing_file=%s", base);
	record_and_cut(&block_qcow_driver, 3 * MIB, words, 100, NULL);
	record_and_cut(&block_qcow_driver, 3 * MIB, NULL, 60, NULL);
	fail_everywhere(&block_qcow_driver, 3 * MIB, NULL, 60);
	free(words);
	unlink(base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_vdi), cmocka_unit_test(test_vpc),
					   cmocka_unit_test(test_vmdk), cmocka_unit_test(test_vhdx),
					   cmocka_unit_test(test_qcow)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
