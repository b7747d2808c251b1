/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmdk and vhdx against a copy of the guest's disk in memory: random writes, zeroes, discards and flushes in every kind
 * of image, by several threads at once, over a parent; closed, opened again and, where qemu-img is there, checked by
 * it. Then what is theirs alone: the parent's identifier, descriptors, the fast form over several files.
 */
#include "backend/block/internal.h"
#include "backend/block/vhdx.h"
#include "backend/block/vmdk_internal.h"

#include "base/loop.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define DISK_BYTES (8 * MIB + 512)

struct fixture {
	struct log log;
	struct block_graph *graph;
	char folder[64];
	char *image, *base;
};

static int setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	f->log.fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	f->graph = block_graph_new(&f->log);
	strcpy(f->folder, "/tmp/xuni-sparse-XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	f->image = xasprintf("%s/image", f->folder);
	f->base = xasprintf("%s/base", f->folder);
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
	free(f->image);
	free(f->base);
	free(f);
	return 0;
}

static void create(struct fixture *f, const struct block_driver *driver, const char *path, const char *words,
		   const char *backing, uint64_t bytes)
{
	struct options options = {0};
	struct block_create how = {.driver = driver,
				   .graph = f->graph,
				   .filename = path,
				   .length = bytes,
				   .backing = backing,
				   .options = &options};
	struct error err = {0};

	assert_int_equal(options_parse(&options, words, NULL, &err), 0);
	if (block_create_image(&how, &err))
		fail_msg("%s", err.msg);
	options_free(&options);
}

static struct block *open_image(struct fixture *f, const char *path, const struct block_driver *driver, bool read_only)
{
	const struct block_open how = {.read_only = read_only, .discard = true, .log = &f->log};
	struct error err = {0};
	struct block *block = block_open_file(f->graph, path, driver->name, &how, &err);

	if (!block)
		fail_msg("%s", err.msg);
	return block;
}

static void qemu_check(const struct fixture *f, const struct block_driver *driver)
{
	char *command;

	if (system("qemu-img --version >/dev/null 2>&1") != 0)
		return;
	command = xasprintf("qemu-img check -q -f %s %s", driver->name, f->image);
	assert_int_equal(system(command), 0);
	free(command);
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
	pthread_t thread;
};

static void check_part(struct block *block, const uint8_t *shadow, uint64_t offset, uint64_t length)
{
	uint8_t *got = malloc(length + 1);

	assert_int_equal(block_pread(block, offset, got, length), 0);
	for (uint64_t i = 0; i < length; i++)
		if (got[i] != shadow[offset + i])
			fail_msg("byte %llu is %02x, not %02x", (unsigned long long)(offset + i), got[i],
				 shadow[offset + i]);
	free(got);
}

static void *work(void *opaque)
{
	struct worker *w = opaque;

	for (unsigned step = 0; step < 300; step++) {
		uint64_t length = 1 + next_random(&w->seed) % (next_random(&w->seed) % 8 ? 6000 : 300000);
		uint64_t offset;

		length = min_u64(length, w->to - w->from);
		offset = w->from +
			 (next_random(&w->seed) * 256ull + next_random(&w->seed)) % (w->to - w->from - length + 1);
		switch (next_random(&w->seed) % 10) {
		case 0:
			assert_int_equal(block_execute(w->block, BLOCK_WRITE_ZEROES, offset, length, NULL, 0,
						       step & 1 ? BLOCK_MAY_UNMAP : 0),
					 0);
			memset(w->shadow + offset, 0, length);
			break;
		case 1:
			if (step % 4 == 0)
				assert_int_equal(block_flush(w->block), 0);
			break;
		case 2:
		case 3:
			check_part(w->block, w->shadow, offset, length);
			break;
		default:
			memset(w->shadow + offset, (int)next_random(&w->seed), length);
			assert_int_equal(
				block_pwrite(w->block, offset, w->shadow + offset, length, step % 64 ? 0 : BLOCK_FUA),
				0);
			break;
		}
	}
	return NULL;
}

static void run_workers(struct block *block, uint8_t *shadow, uint32_t seed)
{
	enum { THREADS = 3 };
	struct worker workers[THREADS] = {0};

	for (unsigned i = 0; i < THREADS; i++) {
		/* Parts end inside blocks, so that threads meet in them. */
		workers[i] = (struct worker){.block = block,
					     .shadow = shadow,
					     .seed = seed + i,
					     .from = block->length / THREADS * i + (i ? 777 : 0),
					     .to = i + 1 == THREADS ? block->length
								    : block->length / THREADS * (i + 1) + 777};
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
}

/* shadow: what the disk holds at the start. */
static void exercise(struct fixture *f, const struct block_driver *driver, uint8_t *shadow, uint64_t bytes)
{
	for (uint32_t round = 0; round < 3; round++) {
		struct block *block = open_image(f, f->image, driver, round == 2);

		assert_int_equal(block->length, bytes);
		if (round < 2)
			run_workers(block, shadow, 7 + round * 100);
		check_part(block, shadow, 0, bytes);
		block_unref(block);
		qemu_check(f, driver);
	}
}

static void test_kinds(void **state)
{
	static const struct {
		const struct block_driver *driver;
		const char *options;
	} kinds[] = {
		{&block_vmdk_driver, "subformat=monolithicSparse"},
		{&block_vmdk_driver, "zeroed_grain=on"},
		{&block_vmdk_driver, "subformat=monolithicFlat"},
		{&block_vmdk_driver, "subformat=twoGbMaxExtentSparse"},
		{&block_vmdk_driver, "subformat=twoGbMaxExtentFlat"},
		{&block_vhdx_driver, "block_size=1M"},
		{&block_vhdx_driver, "block_state_zero=off"},
		{&block_vhdx_driver, "subformat=fixed,block_size=2M"},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		uint8_t *shadow = calloc(1, DISK_BYTES);

		create(f, kinds[i].driver, f->image, kinds[i].options, NULL, DISK_BYTES);
		exercise(f, kinds[i].driver, shadow, DISK_BYTES);
		free(shadow);
	}
}

static void fill(struct fixture *f, const char *path, uint8_t *shadow, uint64_t bytes)
{
	struct block *block = open_image(f, path, &block_vmdk_driver, false);
	uint32_t seed = 3;

	for (uint64_t i = 0; i < bytes; i++)
		shadow[i] = (uint8_t)next_random(&seed);
	assert_int_equal(block_pwrite(block, 0, shadow, bytes, 0), 0);
	block_unref(block);
}

static void test_parent(void **state)
{
	struct fixture *f = *state;

	for (unsigned round = 0; round < 2; round++) {
		uint8_t *shadow = calloc(1, DISK_BYTES);

		create(f, &block_vmdk_driver, f->base, "subformat=monolithicSparse", NULL, 5 * MIB + 512);
		fill(f, f->base, shadow, 5 * MIB + 512);
		create(f, &block_vmdk_driver, f->image, round ? "zeroed_grain=on" : "compat6=off", "base", DISK_BYTES);
		exercise(f, &block_vmdk_driver, shadow, DISK_BYTES);
		free(shadow);
	}
}

/* --- the identifier of the content --- */

static uint32_t cid_of(struct fixture *f, const char *path)
{
	struct block *block = open_image(f, path, &block_vmdk_driver, true);
	const uint32_t cid = ((struct vmdk *)block->private_data)->descriptor.cid;

	block_unref(block);
	return cid;
}

static void test_parent_identifier(void **state)
{
	struct fixture *f = *state;
	uint8_t *shadow = calloc(1, MIB), byte = 1;
	struct block *block;
	uint32_t before;

	create(f, &block_vmdk_driver, f->base, "compat6=off", NULL, MIB);
	fill(f, f->base, shadow, MIB);
	create(f, &block_vmdk_driver, f->image, "compat6=off", "base", MIB);
	block = open_image(f, f->image, &block_vmdk_driver, true);
	check_part(block, shadow, 0, MIB);
	block_unref(block);
	/* Opening to write changes nothing, the first write does. */
	before = cid_of(f, f->base);
	block_unref(open_image(f, f->base, &block_vmdk_driver, false));
	assert_int_equal(cid_of(f, f->base), before);
	block = open_image(f, f->base, &block_vmdk_driver, false);
	assert_int_equal(block_pwrite(block, 5, &byte, 1, 0), 0);
	block_unref(block);
	assert_int_not_equal(cid_of(f, f->base), before);
	block = open_image(f, f->image, &block_vmdk_driver, false);
	assert_int_equal(block_pread(block, 0, shadow, 512), -EINVAL);
	assert_int_equal(block_pwrite(block, 0, shadow, 512, 0), -EINVAL); /* the rest of the grain is the parent's */
	assert_int_equal(block_pwrite(block, 65536, shadow, 65536, 0), 0);
	block_unref(block);
	free(shadow);
}

static void parse(struct vmdk_descriptor *d, const char *text, const char *expected)
{
	struct error err = {0};
	const int result = vmdk_descriptor_parse(d, xstrdup(text), (uint32_t)strlen(text), true, &err);

	if (expected && (!result || !strstr(err.msg, expected)))
		fail_msg("'%s' does not contain '%s'", err.msg, expected);
	if (!expected && result)
		fail_msg("%s", err.msg);
}

static void test_descriptors(void **state)
{
	struct vmdk_descriptor d;

	parse(&d,
	      "# Disk DescriptorFile\r\nversion=1\r\n  CID = a1 \r\nparentCID=FFFFFFFF\r\nisNativeSnapshot=\"no\"\r\n"
	      "createType = \"twoGbMaxExtentFlat\"\r\nparentFileNameHint=\"a b.vmdk\"\r\n"
	      "RW 100 FLAT \"name with RW 1 FLAT.vmdk\" 7\r\n\tRW 5 SPARSE \"b\"\r\n#RW 5 SPARSE \"c\"\r\nRW 3 VMFS "
	      "\"d\"",
	      NULL);
	assert_int_equal(d.cid, 0xa1);
	assert_int_equal(d.cid_digits, 2);
	assert_memory_equal(d.text + d.cid_at, "a1", 2);
	assert_int_equal(d.parent_cid, VMDK_NO_PARENT);
	assert_string_equal(d.create_type, "twoGbMaxExtentFlat");
	assert_string_equal(d.parent, "a b.vmdk");
	assert_int_equal(d.line_count, 3);
	assert_string_equal(d.lines[0].name, "name with RW 1 FLAT.vmdk");
	assert_int_equal(d.lines[0].sectors, 100);
	assert_int_equal(d.lines[0].offset, 7);
	assert_string_equal(d.lines[2].type, "VMFS");
	vmdk_descriptor_free(&d);
	parse(&d, "CID=1\n", "invalid VMDK image descriptor");
	parse(&d, "createType=\"x\"\n", "it has no CID");
	parse(&d, "createType=\"x\"\nCID=\n", "Invalid CID");
	parse(&d, "CID=1\ncreateType=\"x\"\nRW 5 FLAT \"a\"\n", "Invalid extent line: RW 5 FLAT \"a\"");
	parse(&d, "CID=1\ncreateType=\"x\"\nRW 5 FLAT \"a\" 0 more\n", "Invalid extent line");
	parse(&d, "CID=1\ncreateType=\"x\"\nRW 0 FLAT \"a\" 0\n", "Invalid extent line");
	parse(&d, "CID=1\ncreateType=\"x\"\nRW 18014398509481984 FLAT \"a\" 0\n", "Invalid extent line");
	assert_true(vmdk_descriptor_probe((const uint8_t *)"# x\n\n  \r\nversion=3\r\n", 20));
	assert_false(vmdk_descriptor_probe((const uint8_t *)"# x\nversion=4\n", 14));
	assert_false(vmdk_descriptor_probe((const uint8_t *)"x\nversion=1\n", 12));
}

/* --- requests through a queue, over extents in several files --- */

static void write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	fputs(text, file);
	fclose(file);
}

static void on_done(struct block_request *request, int result)
{
	*(int *)request->opaque = result;
}

static void perform(struct loop *loop, struct block_queue *queue, enum block_op op, uint64_t offset, void *data,
		    uint64_t length)
{
	int result = 1;
	struct iovec iov = {.iov_base = data, .iov_len = length};
	struct block_request request = {.op = op,
					.offset = offset,
					.length = length,
					.iov = data ? &iov : NULL,
					.iov_count = data ? 1 : 0,
					.done = on_done,
					.opaque = &result};

	block_submit(queue, &request);
	block_queue_kick(queue);
	while (result == 1)
		loop_poll(loop, NS_PER_S);
	assert_int_equal(result, 0);
}

/* extents: how many; few ones go past the driver, many through it. */
static void use_queue(struct fixture *f, unsigned extents)
{
	const uint64_t part = 64 * KIB, bytes = extents * part;
	uint8_t *shadow = calloc(1, bytes), *buffer = malloc(200 * KIB);
	struct loop *loop = loop_new(NULL);
	struct block_queue *queue;
	struct block *block;
	struct error err = {0};
	uint32_t seed = 9;
	char *text = xstrdup("# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\n"
			     "createType=\"twoGbMaxExtentFlat\"\n");

	for (unsigned i = 0; i < extents; i++) {
		/* Every second one is a part of the file before it. */
		char *more = xasprintf("%sRW 128 FLAT \"e%u\" %u\n", text, i / 2 * 2, i % 2 * 128 + 1);
		char *path = xasprintf("%s/e%u", f->folder, i);

		write_file(path, "");
		free(path);
		free(text);
		text = more;
	}
	write_file(f->image, text);
	block = open_image(f, f->image, &block_vmdk_driver, false);
	assert_int_equal(block->length, bytes);
	queue = block_queue_new(block, loop, NULL, &err);
	assert_non_null(queue);
	for (unsigned step = 0; step < 200; step++) {
		const uint64_t length = min_u64(512 * (1 + next_random(&seed) % 300), bytes);
		const uint64_t offset = align_down(next_random(&seed) % (bytes - length + 1), 512);

		if (step % 3 == 0) {
			perform(loop, queue, BLOCK_READ, offset, buffer, length);
			assert_memory_equal(buffer, shadow + offset, length);
		} else if (step % 17 == 0) {
			perform(loop, queue, BLOCK_FLUSH, 0, NULL, 0);
		} else {
			memset(shadow + offset, (int)next_random(&seed), length);
			perform(loop, queue, BLOCK_WRITE, offset, shadow + offset, length);
		}
	}
	check_part(block, shadow, 0, bytes);
	block_queue_free(queue);
	block_unref(block);
	loop_free(loop);
	block = open_image(f, f->image, &block_vmdk_driver, true);
	check_part(block, shadow, 0, bytes);
	block_unref(block);
	free(text);
	free(buffer);
	free(shadow);
}

static void test_queue(void **state)
{
	use_queue(*state, 1);
	use_queue(*state, 3);
	use_queue(*state, 9);
}

/* A stream is written grain by grain, once. */
static void test_stream(void **state)
{
	struct fixture *f = *state;
	uint8_t *grain = malloc(65536), got[512];
	struct block *block;

	memset(grain, 0x33, 65536);
	create(f, &block_vmdk_driver, f->image, "subformat=streamOptimized", NULL, 3 * 65536 + 512);
	block = open_image(f, f->image, &block_vmdk_driver, false);
	assert_int_equal(block_pwrite(block, 65536, grain, 65536, 0), 0);
	assert_int_equal(block_pwrite(block, 65536, grain, 65536, 0), -EIO);
	assert_int_equal(block_pwrite(block, 0, grain, 512, 0), -EINVAL);
	assert_int_equal(block_pwrite(block, 3 * 65536, grain, 512, 0), 0); /* the last one is shorter */
	assert_int_equal(block_execute(block, BLOCK_WRITE_ZEROES, 0, 65536, NULL, 0, 0), 0);
	block_unref(block);
	qemu_check(f, &block_vmdk_driver);
	block = open_image(f, f->image, &block_vmdk_driver, true);
	assert_int_equal(block_pread(block, 3 * 65536, got, 512), 0);
	assert_memory_equal(got, grain, 512);
	assert_int_equal(block_pread(block, 65536 + 1024, got, 512), 0);
	assert_memory_equal(got, grain, 512);
	block_unref(block);
	free(grain);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_kinds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_parent, setup, teardown),
		cmocka_unit_test_setup_teardown(test_parent_identifier, setup, teardown),
		cmocka_unit_test_setup_teardown(test_descriptors, setup, teardown),
		cmocka_unit_test_setup_teardown(test_queue, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stream, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
