/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The formats qcow, vdi and vpc under requests of any place and length, by several threads at once, plain and through
 * the page cache's back (O_DIRECT), against a shadow of the disk in memory and, at the end, against qemu-img.
 */
#include "backend/block/internal.h"

#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { THREADS = 3, STEPS = 150 };

struct row {
	const char *format, *words; /* as behind -o, or NULL */
	uint64_t length;
	bool over_backing, encrypted, direct;
};

static const struct row rows[] = {
	{"vdi", NULL, 5 * MIB + 512},
	{"vdi", "static=on", 3 * MIB},
	{"vdi", NULL, 5 * MIB, .direct = true},
	{"vpc", NULL, 7 * MIB},
	{"vpc", "force_size=on", 5 * MIB + 1536},
	{"vpc", "subformat=fixed,force_size=on", 2 * MIB},
	{"vpc", "force_size=on", 5 * MIB, .direct = true},
	{"qcow", NULL, 5 * MIB + 512},
	{"qcow", NULL, 4 * MIB, .over_backing = true},
	{"qcow", NULL, 4 * MIB, .over_backing = true, .direct = true},
	{"qcow", "encrypt.format=aes,encrypt.key-secret=key", 3 * MIB, .encrypted = true},
	{"qcow", "encrypt.format=aes,encrypt.key-secret=key", 3 * MIB, .over_backing = true, .encrypted = true},
};

struct fixture {
	struct block_graph *graph;
	char folder[32], *image, *base, *flat;
	const struct row *row;
	uint8_t *shadow;
	uint64_t length;
};

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

static void write_file(const char *path, const uint8_t *data, uint64_t length)
{
	FILE *file = fopen(path, "wb");

	assert_non_null(file);
	assert_int_equal(fwrite(data, 1, length, file), length);
	fclose(file);
}

static struct block *open_image(const struct fixture *f, bool read_only)
{
	const struct block_open how = {.read_only = read_only, .discard = true, .no_cache = f->row->direct};
	struct options options = {0};
	struct error err = {0};
	struct block *block;

	options_add(&options, "driver", f->row->format);
	if (f->row->encrypted)
		options_add(&options, "encrypt.key-secret", "key");
	block = block_open_image(f->graph, f->image, &options, &how, &err);
	options_free(&options);
	if (!block)
		fail_msg("%s", err.msg);
	return block;
}

static void make_image(struct fixture *f)
{
	struct options options = {0};
	struct error err = {0};
	struct block_create create = {.driver = block_driver_find(f->row->format),
				      .graph = f->graph,
				      .filename = f->image,
				      .length = f->row->length,
				      .options = &options};
	struct block *block;

	f->shadow = calloc(1, f->row->length + MIB);
	if (f->row->over_backing) {
		for (uint64_t i = 0; i < 3 * MIB - 700; i++)
			f->shadow[i] = (uint8_t)(i / 512 * 5 + i % 7 + 1);
		write_file(f->base, f->shadow, 3 * MIB - 700);
		create.backing = f->base;
		create.backing_format = "raw";
	}
	if (f->row->words)
		assert_int_equal(options_parse(&options, f->row->words, NULL, &err), 0);
	assert_int_equal(block_create_check(create.driver, &options, &err), 0);
	if (block_create_image(&create, &err) < 0)
		fail_msg("%s", err.msg);
	options_free(&options);
	block = open_image(f, true);
	f->length = block->length;
	assert_true(f->length >= f->row->length && f->length < f->row->length + MIB);
	block_unref(block);
}

struct worker {
	struct fixture *f;
	struct block *block;
	uint64_t from, to;
	uint32_t seed;
	pthread_t thread;
};

static void expect(const struct fixture *f, const uint8_t *got, uint64_t offset, uint64_t length)
{
	for (uint64_t i = 0; i < length; i++)
		if (got[i] != f->shadow[offset + i])
			fail_msg("%s %s: byte %llu is %02x, not %02x", f->row->format,
				 f->row->words ? f->row->words : "", (unsigned long long)(offset + i), got[i],
				 f->shadow[offset + i]);
}

static void read_part(const struct worker *w, uint64_t offset, uint64_t length)
{
	uint8_t *got = malloc(length);
	uint64_t mapped = length, place;

	assert_int_equal(block_pread(w->block, offset, got, length), 0);
	expect(w->f, got, offset, length);
	/* Where the fast way says that they lie they do. */
	if (w->block->driver->map(w->block, BLOCK_READ, offset, &mapped, &place) == 0) {
		assert_int_equal(image_file_read(w->block->file, place, got, mapped), 0);
		expect(w->f, got, offset, mapped);
	}
	free(got);
}

static void *work(void *opaque)
{
	struct worker *w = opaque;
	struct fixture *f = w->f;

	for (unsigned i = 0; i < STEPS; i++) {
		const uint64_t most = next_random(&w->seed) % 8 ? 9000 : 300000;
		const uint64_t length = 1 + next_random(&w->seed) % min_u64(most, w->to - w->from);
		const uint64_t offset = w->from + next_random(&w->seed) % (w->to - w->from - length + 1);
		const uint32_t what = next_random(&w->seed) % 16;

		if (what < 7) {
			for (uint64_t k = 0; k < length; k++)
				f->shadow[offset + k] = (uint8_t)(next_random(&w->seed) | 1);
			assert_int_equal(
				block_pwrite(w->block, offset, f->shadow + offset, length, what == 0 ? BLOCK_FUA : 0),
				0);
		} else if (what < 9) {
			memset(f->shadow + offset, 0, length);
			assert_int_equal(block_execute(w->block, BLOCK_WRITE_ZEROES, offset, length, NULL, 0,
						       what == 7 ? BLOCK_MAY_UNMAP : 0),
					 0);
		} else if (what == 9) {
			assert_int_equal(block_flush(w->block), 0);
		} else {
			read_part(w, offset, length);
		}
	}
	return NULL;
}

/* Every extent is told, and zero ones are. */
static void check_extents(const struct fixture *f, struct block *block)
{
	for (uint64_t offset = 0; offset < f->length;) {
		uint64_t length = f->length - offset, where;
		const int bits = block->driver->extent(block, offset, &length, &where);

		assert_true(bits >= 0 && length > 0 && length <= f->length - offset);
		if (bits & BLOCK_EXTENT_ZERO)
			for (uint64_t i = 0; i < length; i++)
				assert_int_equal(f->shadow[offset + i], 0);
		offset += length;
	}
}

static void check_by_qemu(const struct fixture *f)
{
	char *command;

	if (system("qemu-img --version >/dev/null 2>&1") != 0) {
		print_message("qemu-img is not here: images are not read by it\n");
		return;
	}
	write_file(f->flat, f->shadow, f->length);
	command = xasprintf("qemu-img compare -q --object secret,id=key,data=abcdefgh --image-opts "
			    "driver=%s,file.filename=%s%s driver=raw,file.filename=%s",
			    f->row->format, f->image, f->row->encrypted ? ",encrypt.key-secret=key" : "", f->flat);
	if (system(command) != 0)
		fail_msg("%s", command);
	free(command);
	if (block_driver_find(f->row->format)->check) {
		command = xasprintf("qemu-img check -q -f %s %s", f->row->format, f->image);
		assert_int_equal(system(command), 0);
		free(command);
	}
}

static void run_row(struct fixture *f)
{
	struct worker workers[THREADS];
	uint8_t *got;
	struct block *block;

	make_image(f);
	for (unsigned round = 0; round < 2; round++) {
		block = open_image(f, false);
		for (unsigned i = 0; i < THREADS; i++) {
			/* Not at clusters: neighbours meet in one. */
			workers[i] = (struct worker){.f = f,
						     .block = block,
						     .from = f->length * i / THREADS,
						     .to = f->length * (i + 1) / THREADS,
						     .seed = 7 * i + round};
			assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
		}
		for (unsigned i = 0; i < THREADS; i++)
			pthread_join(workers[i].thread, NULL);
		check_extents(f, block);
		block_unref(block);
		block = open_image(f, true);
		got = malloc(f->length);
		assert_int_equal(block_pread(block, 0, got, f->length), 0);
		expect(f, got, 0, f->length);
		free(got);
		block_unref(block);
	}
	check_by_qemu(f);
	free(f->shadow);
}

static void test_rows(void **state)
{
	struct fixture f = {.graph = block_graph_new(NULL), .folder = "/tmp/xuni-formats-XXXXXX"};
	struct options secret = {0};
	struct error err = {0};

	assert_non_null(mkdtemp(f.folder));
	f.image = xasprintf("%s/image", f.folder);
	f.base = xasprintf("%s/base", f.folder);
	f.flat = xasprintf("%s/flat", f.folder);
	options_add(&secret, "id", "key");
	options_add(&secret, "data", "abcdefgh");
	assert_int_equal(block_secret_add(f.graph, &secret, &err), 0);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		f.row = &rows[i];
		run_row(&f);
	}
	unlink(f.image);
	unlink(f.base);
	unlink(f.flat);
	rmdir(f.folder);
	free(f.image);
	free(f.base);
	free(f.flat);
	options_free(&secret);
	block_graph_free(f.graph);
}

/* A node of a large disk reads only what is looked at of its table, and lets go of it. */
static void test_large_table(void **state)
{
	struct options options = {0};
	char path[] = "/tmp/xuni-formats-XXXXXX";
	struct block_graph *graph = block_graph_new(NULL);
	const struct block_create create = {.driver = block_driver_find("vdi"),
					    .graph = graph,
					    .filename = path,
					    .length = 40 * TIB,
					    .options = &options};
	const struct block_open how = {0};
	struct error err = {0};
	uint64_t last = 0x1122334455667788;
	struct block *block;

	close(mkstemp(path));
	assert_int_equal(block_create_image(&create, &err), 0);
	block = block_open_file(graph, path, "vdi", &how, &err);
	assert_non_null(block);
	/* One block in every page of the table: more pages than stay in memory. */
	for (uint64_t at = 0; at < 40 * TIB; at += GIB) {
		uint64_t got = 1;

		assert_int_equal(block_pread(block, at + 77, &got, sizeof(got)), 0);
		assert_int_equal(got, 0);
	}
	assert_int_equal(block_pwrite(block, 40 * TIB - 8, &last, sizeof(last), 0), 0);
	assert_int_equal(block_pwrite(block, 3, &last, sizeof(last), 0), 0);
	block_unref(block);
	block = block_open_file(graph, path, "vdi", &how, &err);
	last = 0;
	assert_int_equal(block_pread(block, 40 * TIB - 8, &last, sizeof(last)), 0);
	assert_true(last == 0x1122334455667788);
	block_unref(block);
	unlink(path);
	block_graph_free(graph);
}

/* The file of an extent whose flush lasts until it is let go. */
static sem_t flush_began, flush_may_end;

static int slow_flush(struct block *block)
{
	sem_post(&flush_began);
	sem_wait(&flush_may_end);
	sem_post(&flush_may_end);
	return 0;
}

static void *flush_and_say(void *opaque)
{
	assert_int_equal(block_flush(opaque), 0);
	sem_post(&flush_began);
	return NULL;
}

/* Of many extents only those that were written to are flushed: what another thread is flushing is not yet on the disk.
 */
static void test_flush_of_many_extents(void **state)
{
	struct options options = {0};
	char folder[] = "/tmp/xuni-formats-XXXXXX", *path = NULL, *command;
	struct block_graph *graph = block_graph_new(NULL);
	struct block_create create = {
		.driver = block_driver_find("vmdk"), .graph = graph, .length = 11 * GIB, .options = &options};
	const struct block_open how = {0};
	struct error err = {0};
	struct block_driver slow;
	const struct block_driver *driver;
	struct timespec until;
	struct block *block, *file;
	pthread_t threads[2];

	assert_non_null(mkdtemp(folder));
	path = xasprintf("%s/disk.vmdk", folder);
	command = xasprintf("rm -r %s", folder);
	create.filename = path;
	options_add(&options, "subformat", "twoGbMaxExtentFlat");
	assert_int_equal(block_create_image(&create, &err), 0);
	block = block_open_file(graph, path, "vmdk", &how, &err);
	assert_non_null(block);
	assert_int_equal(block_pwrite(block, 0, "x", 1, 0), 0);
	file = block_data_node(block, 0);
	driver = file->driver;
	slow = *driver;
	slow.flush = slow_flush;
	file->driver = &slow;
	sem_init(&flush_began, 0, 0);
	sem_init(&flush_may_end, 0, 0);
	assert_int_equal(pthread_create(&threads[0], NULL, flush_and_say, block), 0);
	sem_wait(&flush_began);
	assert_int_equal(pthread_create(&threads[1], NULL, flush_and_say, block), 0);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec++;
	assert_int_equal(sem_timedwait(&flush_began, &until), -1);
	sem_post(&flush_may_end);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	file->driver = driver;
	block_unref(block);
	block_graph_free(graph);
	sem_destroy(&flush_began);
	sem_destroy(&flush_may_end);
	options_free(&options);
	assert_int_equal(system(command), 0);
	free(command);
	free(path);
}

/* A file that becomes longer while somebody writes to a block that is new. */
static struct {
	const struct block_driver *driver;
	struct block *image;
	pthread_t writer;
} growth;

static void *write_new_block(void *opaque)
{
	assert_int_equal(block_pwrite(growth.image, 2 * MIB + 77, "new", 3, 0), 0);
	return NULL;
}

static int slow_truncate(struct block *block, uint64_t length, struct error *err)
{
	assert_int_equal(pthread_create(&growth.writer, NULL, write_new_block, NULL), 0);
	usleep(200000); /* time enough for a writer that nothing keeps */
	return growth.driver->truncate(block, length, err);
}

/* The file of a vdi is made longer by a flush: never is what was written meanwhile behind its end cut off. */
static void test_growth_during_writes(void **state)
{
	struct options options = {0};
	char path[] = "/tmp/xuni-formats-XXXXXX", got[3] = {0};
	struct block_graph *graph = block_graph_new(NULL);
	const struct block_create create = {.driver = block_driver_find("vdi"),
					    .graph = graph,
					    .filename = path,
					    .length = 5 * MIB,
					    .options = &options};
	const struct block_open how = {0};
	struct error err = {0};
	struct block_driver slow;
	struct block *block;

	close(mkstemp(path));
	assert_int_equal(block_create_image(&create, &err), 0);
	block = block_open_file(graph, path, "vdi", &how, &err);
	assert_non_null(block);
	growth.driver = block->file->driver;
	growth.image = block;
	slow = *growth.driver;
	slow.truncate = slow_truncate;
	assert_int_equal(block_pwrite(block, 3, "old", 3, 0), 0);
	block->file->driver = &slow;
	assert_int_equal(block_flush(block), 0);
	pthread_join(growth.writer, NULL);
	block->file->driver = growth.driver;
	assert_int_equal(block_pread(block, 2 * MIB + 77, got, 3), 0);
	assert_memory_equal(got, "new", 3);
	block_unref(block);
	unlink(path);
	block_graph_free(graph);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_large_table),
					   cmocka_unit_test(test_flush_of_many_extents),
					   cmocka_unit_test(test_growth_during_writes)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
