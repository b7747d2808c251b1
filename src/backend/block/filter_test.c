/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Throttle groups on a clock of numbers, the gates of a queue on the real one, copy-on-read, detect-zeroes, names in
 * JSON, and who may use a node twice. */
#include "backend/block/image.h"
#include "backend/block/internal.h"
#include "backend/block/qcow2.h"
#include "backend/block/throttle.h"
#include "base/loop.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
	struct loop *loop;
	struct block_graph *graph;
	char directory[64];
};

static int setup(void **fixture)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	f->loop = loop_new(NULL);
	f->graph = block_graph_new(NULL);
	strcpy(f->directory, "/tmp/xuni-filter-XXXXXX");
	assert_non_null(mkdtemp(f->directory));
	*fixture = f;
	return 0;
}

static int teardown(void **fixture)
{
	struct fixture *f = *fixture;
	char *command = xasprintf("rm -rf %s", f->directory);

	block_graph_free(f->graph);
	loop_free(f->loop);
	assert_int_equal(system(command), 0);
	free(command);
	free(f);
	return 0;
}

static struct block *try_open(struct fixture *f, const char *text, struct error *err)
{
	struct options options;
	struct block *block;

	assert_int_equal(options_parse(&options, text, NULL, NULL), 0);
	block = block_open_options(f->graph, &options, err);
	options_free(&options);
	return block;
}

static struct block *open_text(struct fixture *f, const char *text)
{
	struct error err = {0};
	struct block *block = try_open(f, text, &err);

	if (!block)
		fail_msg("%s: %s", text, err.msg);
	return block;
}

/* --- buckets --- */

static struct throttle_group *group_of(struct fixture *f, const char *name, const char *text)
{
	struct throttle_group *group = throttle_group_get(f->graph, name);
	struct throttle_limits limits = {0};
	struct options options;

	assert_int_equal(options_parse(&options, text, NULL, NULL), 0);
	assert_int_equal(throttle_limits_parse(&options, "", &limits, NULL), 0);
	options_free(&options);
	throttle_group_set(group, &limits);
	return group;
}

/* Milliseconds from `now` until a request may start. */
static int64_t wait_ms(struct throttle_group *group, bool write, uint64_t bytes, int64_t now_ms)
{
	unsigned generation;

	return throttle_reserve(group, write, bytes, now_ms * NS_PER_MS, &generation) / NS_PER_MS - now_ms;
}

static void test_average(void **fixture)
{
	struct throttle_group *group = group_of(*fixture, "a", "bps-total=1000000");

	/* A tenth of a second's worth is free at first; what follows goes at the rate. */
	assert_int_equal(wait_ms(group, false, 100000, 1000), 0);
	assert_int_equal(wait_ms(group, true, 200000, 1000), 0);
	assert_int_equal(wait_ms(group, false, 500000, 1000), 200);
	assert_int_equal(wait_ms(group, false, 1, 1000), 700);
	assert_int_equal(wait_ms(group, true, 1, 5000), 0);
}

static void test_directions(void **fixture)
{
	struct throttle_group *group = group_of(*fixture, "a", "iops-read=10,iops-write=100");

	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(wait_ms(group, false, 4096, 0), 0);
	assert_int_equal(wait_ms(group, false, 4096, 0), 100);
	assert_int_equal(wait_ms(group, true, 4096, 0), 0); /* has a bucket of its own */
	group = group_of(*fixture, "b", "iops-total=10,iops-size=4096");
	assert_int_equal(wait_ms(group, false, 8192, 0), 0); /* counts as two */
	assert_int_equal(wait_ms(group, true, 1, 0), 100);
}

static void test_bursts(void **fixture)
{
	struct throttle_group *group = group_of(*fixture, "a", "iops-total=10,iops-total-max=100");
	int64_t now = 0, done = 0;

	/* 100 at once, then 10 a second. */
	for (unsigned i = 0; i <= 100; i++)
		assert_int_equal(wait_ms(group, false, 512, 0), 0);
	assert_int_equal(wait_ms(group, false, 512, 0), 100);
	/* 100 a second for 3 seconds: 300 and what leaks meanwhile. */
	group = group_of(*fixture, "b", "iops-total=10,iops-total-max=100,iops-total-max-length=3");
	while (done < 500 && now < 20000) {
		now += wait_ms(group, false, 512, now);
		done++;
		if (done == 100)
			assert_in_range(now, 800, 1000);
		if (done == 300)
			assert_in_range(now, 2800, 3000);
	}
	assert_in_range(now, 16000, 20000); /* the other 200 less 30 at 10 a second */
}

static void test_bad_limits(void **fixture)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
		{"bps-total=1,bps-read=1",
		 "bps/iops/max total values and read/write values cannot be used at the same time"},
		{"iops-size=1", "iops size requires an iops value to be set"},
		{"bps-read=2000000000000000", "bps/iops/max values must be within [0, 1000000000000000]"},
		{"bps-read=1,bps-read-max=2,bps-read-max-length=0", "the burst length cannot be 0"},
		{"bps-read=1,bps-read-max-length=2", "burst length set without burst rate"},
		{"iops-write-max=5", "bps_max/iops_max require corresponding bps/iops values"},
		{"iops-write=6,iops-write-max=5", "bps_max/iops_max cannot be lower than bps/iops"},
		{"bps-read=1,bps-read-max=1000000000,bps-read-max-length=1000001",
		 "burst length too high for this burst rate"},
	};

	(void)fixture;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct throttle_limits limits = {0};
		struct error err = {0};
		struct options options;

		assert_int_equal(options_parse(&options, cases[i].text, NULL, NULL), 0);
		assert_true(throttle_limits_parse(&options, "", &limits, &err) < 0);
		assert_string_equal(err.msg, cases[i].message);
		options_free(&options);
	}
}

/* --- gates --- */

struct many {
	struct block_request requests[16];
	struct iovec iov[16];
	uint8_t pieces[16][4096]; /* requests run at the same time */
	uint8_t buffer[4096];
	unsigned done;
	struct many *other; /* whose turn it is not */
	unsigned ahead;     /* the most that this one was ahead of the other */
};

static void on_done(struct block_request *request, int result)
{
	struct many *many = request->opaque;

	assert_int_equal(result, 0);
	many->done++;
	if (many->other && many->done > many->other->done && many->done - many->other->done > many->ahead)
		many->ahead = many->done - many->other->done;
}

static void submit_many(struct block_queue *queue, struct many *many, enum block_op op)
{
	for (unsigned i = 0; i < ARRAY_SIZE(many->requests); i++) {
		memcpy(many->pieces[i], many->buffer, sizeof(many->buffer));
		many->iov[i] = (struct iovec){.iov_base = many->pieces[i], .iov_len = sizeof(many->buffer)};
		many->requests[i] = (struct block_request){.op = op,
							   .offset = i * sizeof(many->buffer),
							   .length = sizeof(many->buffer),
							   .iov = &many->iov[i],
							   .iov_count = 1,
							   .done = on_done,
							   .opaque = many};
		block_submit(queue, &many->requests[i]);
	}
	block_queue_kick(queue);
}

static void run_until(struct fixture *f, const struct many *many, unsigned done)
{
	while (many->done < done)
		loop_poll(f->loop, NS_PER_S);
}

static struct block_queue *queue_on(struct fixture *f, struct block *block)
{
	struct block_queue *queue = block_queue_new(block, f->loop, NULL, NULL);

	assert_non_null(queue);
	return queue;
}

static void test_gate(void **fixture)
{
	struct fixture *f = *fixture;
	struct block *block = open_text(f, "driver=null-co,node-name=n,size=1M");
	struct block_queue *queue = queue_on(f, block);
	struct many reads = {0}, writes = {0};
	int64_t start = host_now_ns();

	/* 16 at 100 a second, of which 11 are free; writes are not held up. */
	block_set_throttle(block, group_of(f, "g", "iops-read=100"));
	submit_many(queue, &reads, BLOCK_READ);
	submit_many(queue, &writes, BLOCK_WRITE);
	run_until(f, &writes, 16);
	assert_true(reads.done < 16);
	run_until(f, &reads, 16);
	assert_true(host_now_ns() - start >= 49 * NS_PER_MS);
	/* What waits hears of new limits, and goes at once without any. */
	group_of(f, "g", "iops-total=1");
	reads.done = 0;
	submit_many(queue, &reads, BLOCK_READ);
	run_until(f, &reads, 1);
	block_set_throttle(block, NULL);
	run_until(f, &reads, 16);
	/* Whoever drains does not wait for the limits. */
	block_set_throttle(block, group_of(f, "g", "bps-total=1"));
	reads.done = 0;
	submit_many(queue, &reads, BLOCK_READ);
	block_queue_drain(queue);
	assert_int_equal(reads.done, 16);
	block_queue_free(queue);
	block_unref(block);
}

static void test_group(void **fixture)
{
	struct fixture *f = *fixture;
	struct block *a = open_text(f, "driver=null-co,node-name=a,size=1M");
	struct block *b = open_text(f, "driver=null-co,node-name=b,size=1M");
	struct block_queue *queue_a = queue_on(f, a), *queue_b = queue_on(f, b);
	struct many many_a = {0}, many_b = {.other = &many_a};

	many_a.other = &many_b;
	group_of(f, "g", "iops-total=200");
	block_set_throttle(a, throttle_group_find(f->graph, "g"));
	block_set_throttle(b, throttle_group_find(f->graph, "g"));
	submit_many(queue_a, &many_a, BLOCK_READ);
	submit_many(queue_b, &many_b, BLOCK_READ);
	run_until(f, &many_b, 3);
	many_a.ahead = many_b.ahead = 0;
	if (many_a.done < 12) { /* else a busy host let them all through */
		while (many_a.done < 14 && many_b.done < 14)
			loop_poll(f->loop, NS_PER_S);
		assert_true(many_b.ahead <= 1);
	}
	run_until(f, &many_a, 16);
	run_until(f, &many_b, 16);
	block_queue_free(queue_a);
	block_queue_free(queue_b);
	block_unref(a);
	block_unref(b);
}

static void test_throttle_node(void **fixture)
{
	struct fixture *f = *fixture;
	struct many many = {0};
	struct block_queue *queue;
	struct block *block;
	struct error err = {0};
	int64_t start;

	assert_null(try_open(f, "driver=throttle,throttle-group=nope,file.driver=null-co", &err));
	assert_string_equal(err.msg, "there is no -object throttle-group with id 'nope'");
	group_of(f, "g", "iops-total=100");
	/* At the top two gates, below the format the plain way. */
	for (unsigned i = 0; i < 2; i++) {
		block = open_text(f,
				  i ? "driver=raw,file.driver=throttle,file.throttle-group=g,file.file.driver=null-co"
				    : "driver=throttle,throttle-group=g,file.driver=throttle,"
				      "file.throttle-group=g,file.file.driver=null-co");
		queue = queue_on(f, block);
		start = host_now_ns();
		many.done = 0;
		submit_many(queue, &many, BLOCK_WRITE);
		run_until(f, &many, 16);
		assert_true(host_now_ns() - start >= 49 * NS_PER_MS);
		block_queue_free(queue);
		block_unref(block);
		group_of(f, "g", "iops-total=100");
	}
}

/* --- copy on read --- */

#define DISK (4 * MIB)

static char *make_chain(struct fixture *f)
{
	char *base = xasprintf("%s/base", f->directory), *top = xasprintf("%s/top.qcow2", f->directory);
	const struct block_open how = {0};
	struct qcow2_create create;
	struct block *block;
	int fd = open(base, O_CREAT | O_RDWR | O_CLOEXEC, 0600);

	assert_int_equal(ftruncate(fd, DISK), 0);
	close(fd);
	block = block_open_file(f->graph, base, "raw", &how, NULL);
	for (uint64_t at = 0; at < DISK / 2; at += 4096) {
		uint8_t page[4096];

		memset(page, 1 + (int)(at / 4096) % 200, sizeof(page));
		assert_int_equal(block_pwrite(block, at, page, sizeof(page), 0), 0);
	}
	block_unref(block);
	qcow2_create_defaults(&create);
	create.length = DISK;
	create.backing = base;
	create.backing_format = "raw";
	assert_int_equal(qcow2_create_file(top, &create, NULL), 0);
	free(base);
	return top;
}

static struct block *open_filter(struct fixture *f, const char *top)
{
	char *text =
		xasprintf("driver=copy-on-read,file.driver=qcow2,file.file.driver=file,file.file.filename=%s", top);
	struct block *block;
	struct error err = {0};
	struct options options;

	/* The backing file of the header is opened although -blockdev's other nodes name their drivers. */
	assert_int_equal(options_parse(&options, text, NULL, NULL), 0);
	block = block_open_options(f->graph, &options, &err);
	if (!block)
		fail_msg("%s", err.msg);
	options_free(&options);
	free(text);
	return block;
}

static int extent_at(struct block *block, uint64_t offset)
{
	uint64_t length = 1, ignored;

	return block->driver->extent(block, offset, &length, &ignored);
}

static void test_copy_on_read(void **fixture)
{
	struct fixture *f = *fixture;
	char *top = make_chain(f), *base = xasprintf("%s/base", f->directory);
	struct block *block = open_filter(f, top);
	uint8_t data[8192];

	/* Two reads in one cluster, across two, and of zeroes. */
	assert_int_equal(extent_at(block, 0), 0);
	assert_int_equal(block_pread(block, 65536 - 4096, data, 8192), 0);
	assert_int_equal(data[0], 16);
	assert_int_equal(data[4096], 17);
	assert_true(extent_at(block, 0) & BLOCK_EXTENT_ALLOCATED);
	assert_true(extent_at(block, 131071) & BLOCK_EXTENT_DATA);
	assert_int_equal(extent_at(block, 131072), 0);
	assert_int_equal(block_pread(block, DISK - 4096, data, 4096), 0);
	assert_true(extent_at(block, DISK - 4096) & BLOCK_EXTENT_ZERO);
	block_unref(block);
	/* What was copied is there without its source. */
	assert_int_equal(truncate(base, 0), 0);
	block = open_filter(f, top);
	for (uint64_t at = 0; at < 131072; at += 4096) {
		assert_int_equal(block_pread(block, at, data, 4096), 0);
		assert_int_equal(data[17], 1 + at / 4096);
	}
	assert_int_equal(block_pread(block, 131072, data, 4096), 0);
	assert_int_equal(data[17], 0);
	block_unref(block);
	free(base);
	free(top);
}

/* Three images; a read copies what the upper two hold, and what lies below the middle one only when nothing bounds it.
 */
static void test_bottom(void **fixture)
{
	struct fixture *f = *fixture;
	char *middle = make_chain(f), *top = xasprintf("%s/over.qcow2", f->directory), *text;
	const struct block_open how = {0};
	struct qcow2_create create;
	struct block *block;
	struct error err = {0};
	uint8_t data[4096];

	block = block_open_file(f->graph, middle, "qcow2", &how, NULL);
	memset(data, 99, sizeof(data));
	assert_int_equal(block_pwrite(block, 65536, data, sizeof(data), 0), 0);
	block_unref(block);
	qcow2_create_defaults(&create);
	create.length = DISK;
	create.backing = middle;
	create.backing_format = "qcow2";
	assert_int_equal(qcow2_create_file(top, &create, NULL), 0);
	text = xasprintf("driver=copy-on-read,bottom=m,file.driver=qcow2,file.file.driver=file,file.file.filename=%s,"
			 "file.backing.driver=qcow2,file.backing.node-name=m,file.backing.file.driver=file,"
			 "file.backing.file.filename=%s",
			 top, middle);
	block = open_text(f, text);
	assert_int_equal(block_pread(block, 0, data, sizeof(data)), 0);
	assert_int_equal(data[0], 1);
	assert_int_equal(extent_at(block, 0), 0);
	assert_int_equal(block_pread(block, 65536, data, sizeof(data)), 0);
	assert_int_equal(data[0], 99);
	assert_true(extent_at(block, 65536) & BLOCK_EXTENT_ALLOCATED);
	block_unref(block);
	block = open_filter(f, top);
	assert_int_equal(block_pread(block, 0, data, sizeof(data)), 0);
	assert_true(extent_at(block, 0) & BLOCK_EXTENT_ALLOCATED);
	block_unref(block);
	free(text);
	text = xasprintf(
		"driver=copy-on-read,bottom=nope,file.driver=qcow2,file.file.driver=file,file.file.filename=%s", top);
	assert_null(try_open(f, text, &err));
	assert_string_equal(err.msg, "Bottom node 'nope' not found");
	free(text);
	free(middle);
	free(top);
}

struct writer {
	struct block *block;
	unsigned seed;
	int result;
};

static void *write_all_over(void *opaque)
{
	struct writer *writer = opaque;
	uint8_t page[4096];

	memset(page, 0xee, sizeof(page));
	for (uint64_t at = 4096; at < DISK && !writer->result; at += 16384)
		writer->result = block_pwrite(writer->block, at, page, sizeof(page), 0);
	return NULL;
}

/* Copies and writes of the same clusters at the same time: no write is lost under a copy of old data. */
static void test_copy_against_writes(void **fixture)
{
	struct fixture *f = *fixture;
	char *top = make_chain(f);
	struct writer writer = {.block = open_filter(f, top)};
	uint8_t data[16384];
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, write_all_over, &writer), 0);
	for (uint64_t at = 0; at < DISK; at += sizeof(data))
		assert_int_equal(block_pread(writer.block, at, data, sizeof(data)), 0);
	pthread_join(thread, NULL);
	assert_int_equal(writer.result, 0);
	for (uint64_t at = 0; at < DISK; at += sizeof(data)) {
		assert_int_equal(block_pread(writer.block, at, data, sizeof(data)), 0);
		assert_int_equal(data[4096], 0xee);
		assert_int_equal(data[0], at < DISK / 2 ? 1 + at / 4096 % 200 : 0);
	}
	block_unref(writer.block);
	free(top);
}

/* --- faults --- */

static void test_blkdebug(void **fixture)
{
	struct fixture *f = *fixture;
	struct error err = {0};
	struct block *block = open_text(
		f,
		"driver=blkdebug,image.driver=null-co,inject-error.0.event=read_aio,inject-error.0.errno=28,"
		"inject-error.0.once=on,inject-error.1.event=none,inject-error.1.iotype=write,inject-error.1.sector=8,"
		"inject-error.2.event=flush_to_disk,inject-error.2.state=2,set-state.0.event=write_aio,"
		"set-state.0.state=1,set-state.0.new_state=2");
	uint8_t data[4096];

	assert_int_equal(block_flush(block), 0);
	assert_int_equal(block_pread(block, 0, data, 512), -ENOSPC);
	assert_int_equal(block_pread(block, 0, data, 512), 0);
	/* A write of sector 8 always fails; any write leads to state 2, in which flushes fail. */
	assert_int_equal(block_pwrite(block, 0, data, 4096, 0), 0);
	assert_int_equal(block_flush(block), -EIO);
	assert_int_equal(block_pwrite(block, 512, data, 4096, 0), -EIO);
	assert_int_equal(block_pwrite(block, 4608, data, 4096, 0), 0);
	block_unref(block);
	assert_null(try_open(f, "driver=blkdebug,image.driver=null-co,inject-error.0.event=l2_update", &err));
	assert_string_equal(err.msg, "inject-error.0.event=l2_update is not there");
	assert_null(try_open(f, "driver=blkdebug,image.driver=null-co,inject-error.0.event=none,inject-error.0.erno=5",
			     &err));
	assert_string_equal(err.msg, "'inject-error.0.erno' is not an option of block driver 'blkdebug'");
}

static void write_file(struct fixture *f, const char *name, const char *text)
{
	char *path = xasprintf("%s/%s", f->directory, name);
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
	free(path);
}

static void test_blkdebug_config(void **fixture)
{
	static const char *const wrong[] = {"event = \"none\"\n",
					    "[inject-error]\nevent\n",
					    "[foo]\n",
					    "[inject-error\n",
					    "[inject-error]\nevent = \"none\" x\n",
					    "[inject-error]\nevent = \"none\"\nerno = \"5\"\n"};
	struct fixture *f = *fixture;
	char *text = xasprintf("driver=blkdebug,image.driver=null-co,config=%s/rules", f->directory);
	struct error err = {0};
	struct block *block;
	uint8_t data[512] = {0};

	assert_null(try_open(f, text, &err));
	assert_non_null(strstr(err.msg, "Could not open blkdebug config file"));
	write_file(f, "rules",
		   "# comment\n\n[inject-error]\nevent = \"read_aio\"\nerrno = \"28\"\nonce = \"on\"\n\n"
		   "[set-state \"a\"]\n  event = \"write_aio\"\n  state = \"1\"\n  new_state = \"2\"\n\n"
		   "[inject-error \"b\"]\nevent = \"flush_to_disk\"\nstate = \"2\"\n");
	block = open_text(f, text);
	assert_int_equal(block_pread(block, 0, data, 512), -ENOSPC);
	assert_int_equal(block_pread(block, 0, data, 512), 0);
	assert_int_equal(block_flush(block), 0);
	assert_int_equal(block_pwrite(block, 0, data, 512, 0), 0);
	assert_int_equal(block_flush(block), -EIO);
	block_unref(block);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		write_file(f, "rules", wrong[i]);
		err = (struct error){0};
		assert_null(try_open(f, text, &err));
		assert_non_null(strstr(err.msg, "rules"));
	}
	free(text);
}

/* An image grows in its file, whatever filters lie between. */
static void test_growing(void **fixture)
{
	static const char *const filters[] = {
		"driver=throttle,file.throttle-group=g,file.file.driver=file,file.file.filename=%s",
		"driver=blkdebug,file.image.driver=file,file.image.filename=%s",
		"driver=copy-on-read,file.file.driver=file,file.file.filename=%s",
		("driver=throttle,file.throttle-group=g,file.file.driver=blkdebug,file.file.image.driver=file,"
		 "file.file.image.filename=%s"),
	};
	static const char *const formats[] = {"qcow2", "qcow", "vdi", "vpc", "vmdk", "vhdx"};
	struct fixture *f = *fixture;
	uint8_t page[65536], read[65536];

	group_of(f, "g", "iops-total=100000");
	for (size_t i = 0; i < ARRAY_SIZE(filters) * ARRAY_SIZE(formats); i++) {
		const char *format = formats[i / ARRAY_SIZE(filters)];
		char *path = xasprintf("%s/image.%s", f->directory, format), *file, *text;
		struct block_create create = {.graph = f->graph, .filename = path, .length = 8 * MIB};
		struct options none = {0};
		struct block *block;
		struct error err = {0};

		create.driver = block_driver_find(format);
		create.options = &none;
		if (block_create_image(&create, &err) < 0)
			fail_msg("%s: %s", format, err.msg);
		options_free(&none);
		file = xasprintf(filters[i % ARRAY_SIZE(filters)], path);
		text = xasprintf("driver=%s,file.%s", format, file);
		for (unsigned life = 0; life < 2; life++) {
			block = open_text(f, text);
			for (uint64_t at = 0; at < 4 * MIB; at += sizeof(page)) {
				memset(page, 1 + (int)(at / sizeof(page)), sizeof(page));
				if (life == 0)
					assert_int_equal(block_pwrite(block, at, page, sizeof(page), 0), 0);
				assert_int_equal(block_pread(block, at, read, sizeof(read)), 0);
				assert_memory_equal(page, read, sizeof(page));
			}
			assert_int_equal(block_flush(block), 0);
			block_unref(block);
		}
		free(text);
		free(file);
		free(path);
	}
}

/* --- options of every node --- */

static void test_detect_zeroes(void **fixture)
{
	static uint8_t zeroes[65536];
	struct fixture *f = *fixture;
	char *top = make_chain(f);
	char *text = xasprintf("driver=qcow2,detect-zeroes=on,file.driver=file,file.filename=%s", top);
	struct block *block = open_text(f, text);
	struct block_queue *queue = queue_on(f, block);
	struct many many = {0};
	struct error err = {0};

	assert_int_equal(block_pwrite(block, 0, zeroes, sizeof(zeroes), 0), 0);
	assert_int_equal(extent_at(block, 0), BLOCK_EXTENT_ALLOCATED | BLOCK_EXTENT_ZERO);
	zeroes[100] = 1;
	assert_int_equal(block_pwrite(block, 65536, zeroes, sizeof(zeroes), 0), 0);
	assert_true(extent_at(block, 65536) & BLOCK_EXTENT_DATA);
	zeroes[100] = 0;
	/* Also where the clusters are there and the queue would go straight to the file. */
	assert_int_equal(block_pread(block, 65536, many.buffer, sizeof(many.buffer)), 0);
	submit_many(queue, &many, BLOCK_READ);
	run_until(f, &many, 16);
	many.requests[0] = (struct block_request){.op = BLOCK_WRITE,
						  .offset = 65536,
						  .length = sizeof(zeroes),
						  .iov = &(struct iovec){zeroes, sizeof(zeroes)},
						  .iov_count = 1,
						  .done = on_done,
						  .opaque = &many};
	block_submit(queue, &many.requests[0]);
	block_queue_kick(queue);
	run_until(f, &many, 17);
	assert_true(extent_at(block, 65536) & BLOCK_EXTENT_ZERO);
	block_queue_free(queue);
	block_unref(block);
	free(text);
	text = xasprintf("driver=raw,detect-zeroes=unmap,file.driver=file,file.filename=%s", top);
	assert_null(try_open(f, text, &err));
	assert_non_null(strstr(err.msg, "without setting discard operation to unmap"));
	free(text);
	free(top);
}

static void test_json_names(void **fixture)
{
	static const struct block_open how;
	struct fixture *f = *fixture;
	char *top = make_chain(f), *name;
	struct block *block;
	struct error err = {0};

	/* Without drivers what can be found out is found out; null is no backing file. */
	name = xasprintf("json:{\"file\":{\"filename\":\"%s\"}}", top);
	block = block_open_file(f->graph, name, NULL, &how, &err);
	assert_non_null(block);
	assert_string_equal(block->driver->name, "qcow2");
	assert_string_equal(block->backing->driver->name, "raw");
	block_unref(block);
	free(name);
	name = xasprintf(
		"json:{\"driver\":\"qcow2\",\"backing\":null,\"file\":{\"driver\":\"file\",\"filename\":\"%s\"}}", top);
	block = block_open_file(f->graph, name, NULL, &how, &err);
	assert_non_null(block);
	assert_null(block->backing);
	block_unref(block);
	assert_null(block_open_file(f->graph, "json:{\"driver\":", NULL, &how, &err));
	assert_non_null(strstr(err.msg, "Could not parse the JSON options"));
	assert_null(block_open_file(f->graph, "json:{\"driver\":\"null-co\",\"sise\":1}", NULL, &how, &err));
	assert_non_null(strstr(err.msg, "did you mean 'size'?"));
	free(name);
	free(top);
}

/* A name that an image gives may describe what it likes, but not have it written to, nor reach into the graph. */
static void test_names_in_images(void **fixture)
{
	static const struct block_open how;
	struct fixture *f = *fixture;
	char *top = make_chain(f), *name;
	struct block *base = open_text(f, "driver=null-co,node-name=secret,size=1M"), *block;
	struct error err = {0};

	block = block_open_file(f->graph, top, "qcow2", &how, &err);
	name = xasprintf("json:{\"driver\":\"raw\",\"read-only\":false,\"file\":{\"driver\":\"file\","
			 "\"read-only\":false,\"filename\":\"%s/base\"}}",
			 f->directory);
	assert_int_equal(qcow2_set_backing(block, name, "raw", &err), 0);
	block_unref(block);
	block = block_open_file(f->graph, top, "qcow2", &how, &err);
	assert_non_null(block);
	assert_true(block->backing->read_only);
	assert_true(block->backing->file->read_only);
	assert_int_equal(qcow2_set_backing(block, "json:{\"driver\":\"raw\",\"file\":\"secret\"}", "raw", &err), 0);
	block_unref(block);
	assert_null(block_open_file(f->graph, top, "qcow2", &how, &err));
	assert_non_null(strstr(err.msg, "the name in an image may not refer to node 'secret'"));
	block_unref(base);
	free(name);
	free(top);
}

static void test_users(void **fixture)
{
	struct fixture *f = *fixture;
	struct block *base = open_text(f, "driver=null-co,node-name=base,size=1M");
	struct block *one = open_text(f, "driver=raw,node-name=one,read-only=on,file=base");
	struct block *two = open_text(f, "driver=raw,node-name=two,read-only=on,file=base");
	struct error err = {0};

	assert_null(try_open(f, "driver=raw,file=base", &err));
	assert_string_equal(err.msg, "node 'base' is already in use; it can only be shared read-only");
	block_unref(one);
	block_unref(two);
	one = open_text(f, "driver=raw,node-name=one,file=base");
	assert_null(try_open(f, "driver=raw,read-only=on,file=base", &err));
	assert_string_equal(err.msg, "node 'base' is already in use by somebody who writes to it");
	block_unref(one);
	block_unref(base);
}

int main(void)
{
#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_average),         TEST(test_directions),   TEST(test_bursts),
		TEST(test_bad_limits),      TEST(test_gate),         TEST(test_group),
		TEST(test_throttle_node),   TEST(test_copy_on_read), TEST(test_copy_against_writes),
		TEST(test_detect_zeroes),   TEST(test_json_names),   TEST(test_users),
		TEST(test_names_in_images), TEST(test_blkdebug),     TEST(test_blkdebug_config),
		TEST(test_growing),         TEST(test_bottom),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
