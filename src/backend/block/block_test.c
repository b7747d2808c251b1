/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The block layer on real files: both ways of asynchronous I/O, direct I/O, faults of the host, locks, opening. */
#include "backend/block/file.h"

#include "base/log.h"
#include "base/loop.h"
#include "base/util.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/loop.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
	struct log log;
	struct loop *loop;
	struct block_graph *graph;
	char directory[64];
};

static char *path_of(const struct fixture *f, const char *name)
{
	return xasprintf("%s/%s", f->directory, name);
}

static int setup(void **fixture)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	f->log.fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	f->loop = loop_new(NULL);
	f->graph = block_graph_new(&f->log);
	strcpy(f->directory, "/tmp/xuni-block-XXXXXX");
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
	close(f->log.fd);
	assert_int_equal(system(command), 0);
	free(command);
	free(f);
	return 0;
}

static void make_file(const char *path, uint64_t bytes)
{
	int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	close(fd);
}

static struct block *open_raw(struct fixture *f, const char *path, const struct block_open *how)
{
	static const struct block_open plain;
	struct error err = {0};
	struct block *block = block_open_file(f->graph, path, "raw", how ? how : &plain, &err);

	if (!block)
		fail_msg("%s", err.msg);
	return block;
}

static struct block *open_text(struct fixture *f, const char *text, struct error *err)
{
	struct options options;
	struct block *block;

	assert_int_equal(options_parse(&options, text, NULL, NULL), 0);
	block = block_open_options(f->graph, &options, err);
	options_free(&options);
	return block;
}

/* --- requests --- */

struct wait {
	struct block_request request;
	struct iovec iov[3];
	int result;
	bool done;
	bool submitting;
};

static void on_done(struct block_request *request, int result)
{
	struct wait *wait = request->opaque;

	assert_false(wait->submitting);
	assert_false(wait->done);
	wait->result = result;
	wait->done = true;
}

static void start(struct block_queue *queue, struct wait *wait, enum block_op op, uint64_t offset, void *data,
		  uint64_t length, uint32_t flags)
{
	*wait = (struct wait){.request = {.op = op, .flags = flags, .offset = offset, .length = length}};
	if (data) {
		/* Three pieces, as a guest would give them. */
		wait->iov[0] = (struct iovec){data, length / 512 / 3 * 512};
		wait->iov[1] = (struct iovec){(char *)data + wait->iov[0].iov_len, wait->iov[0].iov_len};
		wait->iov[2] =
			(struct iovec){(char *)data + 2 * wait->iov[0].iov_len, length - 2 * wait->iov[0].iov_len};
		wait->request.iov = wait->iov;
		wait->request.iov_count = 3;
	}
	wait->request.done = on_done;
	wait->request.opaque = wait;
	wait->submitting = true;
	block_submit(queue, &wait->request);
	wait->submitting = false;
}

static int perform(struct fixture *f, struct block_queue *queue, enum block_op op, uint64_t offset, void *data,
		   uint64_t length, uint32_t flags)
{
	struct wait wait;

	start(queue, &wait, op, offset, data, length, flags);
	block_queue_kick(queue);
	for (int64_t deadline = host_now_ns() + 20 * NS_PER_S; !wait.done;) {
		loop_poll(f->loop, NS_PER_S);
		assert_true(host_now_ns() < deadline);
	}
	return wait.result;
}

static struct block_queue *new_queue(struct fixture *f, struct block *block, const char *aio)
{
	struct error err = {0};
	struct block_queue *queue = block_queue_new(block, f->loop, aio, &err);

	if (!queue && !strcmp(aio, "io_uring")) {
		print_message("SKIPPED: no io_uring here: %s\n", err.msg);
		return NULL;
	}
	assert_non_null(queue);
	assert_string_equal(block_queue_aio(queue), aio);
	return queue;
}

static uint8_t pattern(uint64_t at)
{
	return (uint8_t)(at * 2654435761u >> 13);
}

static void fill(uint8_t *data, uint64_t offset, uint64_t length)
{
	for (uint64_t i = 0; i < length; i++)
		data[i] = pattern(offset + i);
}

static void check_filled(const uint8_t *data, uint64_t offset, uint64_t length)
{
	for (uint64_t i = 0; i < length; i++)
		if (data[i] != pattern(offset + i))
			fail_msg("byte %llu is wrong", (unsigned long long)(offset + i));
}

static void check_zero(const uint8_t *data, uint64_t length)
{
	for (uint64_t i = 0; i < length; i++)
		if (data[i])
			fail_msg("byte %llu is not zero", (unsigned long long)i);
}

static void async_on(struct fixture *f, const char *aio)
{
	const uint64_t size = 8 * MIB, piece = 96 * KIB;
	char *path = path_of(f, aio);
	struct block_open how = {.discard = true};
	struct block *block;
	struct block_queue *queue;
	struct block_stats stats;
	struct stat status;
	struct wait waits[8];
	uint8_t *data = malloc(size);

	make_file(path, size);
	block = open_raw(f, path, &how);
	assert_int_equal(block->length, size);
	queue = new_queue(f, block, aio);
	if (!queue)
		goto out;
	fill(data, 0, size);
	for (unsigned i = 0; i < 8; i++) /* a batch, sent at once */
		start(queue, &waits[i], BLOCK_WRITE, i * piece, data + i * piece, piece, i & 1 ? BLOCK_FUA : 0);
	block_queue_kick(queue);
	block_queue_drain(queue);
	for (unsigned i = 0; i < 8; i++)
		assert_true(waits[i].done && waits[i].result == 0);
	assert_int_equal(perform(f, queue, BLOCK_FLUSH, 0, NULL, 0, 0), 0);
	memset(data, 0xee, size);
	assert_int_equal(perform(f, queue, BLOCK_READ, 0, data, 8 * piece, 0), 0);
	check_filled(data, 0, 8 * piece);
	assert_int_equal(perform(f, queue, BLOCK_WRITE_ZEROES, 4096, NULL, 8192, 0), 0);
	assert_int_equal(perform(f, queue, BLOCK_READ, 0, data, 16384, 0), 0);
	check_filled(data, 0, 4096);
	check_zero(data + 4096, 8192);
	check_filled(data + 12288, 12288, 4096);

	assert_int_equal(perform(f, queue, BLOCK_FLUSH, 0, NULL, 0, 0), 0);
	assert_int_equal(stat(path, &status), 0);
	assert_true(status.st_blocks > 0);
	assert_int_equal(perform(f, queue, BLOCK_DISCARD, 0, NULL, size, 0), 0);
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_size, size);
	if (status.st_blocks)
		print_message("SKIPPED: the file system of /tmp punches no holes\n");
	else
		check_zero((assert_int_equal(perform(f, queue, BLOCK_READ, 0, data, piece, 0), 0), data), piece);

	assert_int_equal(perform(f, queue, BLOCK_READ, size - 512, data, 1024, 0), -EINVAL);
	assert_int_equal(perform(f, queue, BLOCK_WRITE, UINT64_MAX - 511, data, 1024, 0), -EINVAL);
	assert_int_equal(perform(f, queue, BLOCK_READ, 0, data, 0, 0), 0);
	block_get_stats(block, &stats);
	assert_int_equal(stats.write_bytes, 8 * piece + 8192);
	assert_int_equal(stats.flush_ops, 2);
	assert_int_equal(stats.discard_ops, 1);
	block_queue_free(queue);
out:
	block_unref(block);
	free(data);
	free(path);
}

static void test_async(void **fixture)
{
	async_on(*fixture, "io_uring");
	async_on(*fixture, "threads");
}

/* More requests than the ring has entries, all in flight at once. */
static void test_many(void **fixture)
{
	struct fixture *f = *fixture;
	static const char *const modes[] = {"io_uring", "threads"};
	char *path = path_of(f, "many");
	struct wait *waits = xcalloc(2000, sizeof(*waits));
	uint8_t *data = xcalloc(2000, 512);

	make_file(path, 2000 * 512);
	for (unsigned m = 0; m < 2; m++) {
		struct block *block = open_raw(f, path, NULL);
		struct block_queue *queue = new_queue(f, block, modes[m]);

		fill(data, 0, 2000 * 512);
		for (unsigned i = 0; queue && i < 2000; i++)
			start(queue, &waits[i], BLOCK_WRITE, i * 512, data + i * 512, 512, 0);
		if (queue)
			block_queue_drain(queue);
		for (unsigned i = 0; queue && i < 2000; i++)
			assert_true(waits[i].done && waits[i].result == 0);
		memset(data, 0, 2000 * 512);
		assert_int_equal(block_pread(block, 0, data, 2000 * 512), 0);
		if (queue)
			check_filled(data, 0, 2000 * 512);
		block_queue_free(queue);
		block_unref(block);
	}
	free(waits);
	free(data);
	free(path);
}

/* A file that does not end at a sector, and one that shrinks while it is open: reads give zeroes. */
static void test_short_reads(void **fixture)
{
	struct fixture *f = *fixture;
	static const char *const modes[] = {"io_uring", "threads"};
	char *path = path_of(f, "short");
	uint8_t data[4096];

	for (unsigned m = 0; m < 2; m++) {
		struct block_queue *queue;
		struct block *block;

		make_file(path, 0);
		assert_int_equal(truncate(path, 1000), 0);
		block = open_raw(f, path, NULL);
		assert_int_equal(block->length, 1024);
		queue = new_queue(f, block, modes[m]);
		if (queue) {
			fill(data, 0, 1024);
			assert_int_equal(perform(f, queue, BLOCK_WRITE, 0, data, 1024, 0), 0);
			assert_int_equal(truncate(path, 700), 0);
			memset(data, 0xff, sizeof(data));
			assert_int_equal(perform(f, queue, BLOCK_READ, 0, data, 1024, 0), 0);
			check_filled(data, 0, 700);
			check_zero(data + 700, 1024 - 700);
			assert_int_equal(truncate(path, 0), 0);
			assert_int_equal(perform(f, queue, BLOCK_READ, 512, data, 512, 0), 0);
			check_zero(data, 512);
			block_queue_free(queue);
		}
		block_unref(block);
	}
	free(path);
}

static void test_direct(void **fixture)
{
	struct fixture *f = *fixture;
	static const char *const modes[] = {"io_uring", "threads"};
	const struct block_open how = {.no_cache = true};
	char *path = path_of(f, "direct");
	uint8_t *data = aligned_alloc(4096, MIB + 4096);
	struct error err = {0};
	struct block *block;

	make_file(path, 4 * MIB);
	block = block_open_file(f->graph, path, "raw", &how, &err);
	if (!block) {
		print_message("SKIPPED: %s\n", err.msg);
		goto out;
	}
	assert_true(block->request_alignment >= 512);
	for (unsigned m = 0; m < 2; m++) {
		struct block_queue *queue = new_queue(f, block, modes[m]);

		if (!queue)
			continue;
		fill(data, 0, MIB);
		assert_int_equal(perform(f, queue, BLOCK_WRITE, 0, data, MIB, 0), 0);
		/* Address, length and offset out of alignment, one after the other. */
		fill(data + 1, 8192, 8192);
		assert_int_equal(perform(f, queue, BLOCK_WRITE, 8192, data + 1, 8192, 0), 0);
		fill(data, 20480, 100);
		assert_int_equal(perform(f, queue, BLOCK_WRITE, 20480, data, 100, 0), 0);
		fill(data, 30001, 5000);
		assert_int_equal(perform(f, queue, BLOCK_WRITE, 30001, data, 5000, 0), 0);
		memset(data, 0, MIB);
		assert_int_equal(perform(f, queue, BLOCK_READ, 0, data, MIB, 0), 0);
		check_filled(data, 0, MIB);
		memset(data, 0, MIB);
		assert_int_equal(perform(f, queue, BLOCK_READ, 777, data + 3, 99999, 0), 0);
		check_filled(data + 3, 777, 99999);
		block_queue_free(queue);
	}
	block_unref(block);
out:
	free(data);
	free(path);
}

/* Concurrent small writes under O_DIRECT inside the same units: none may undo another. */
static void test_direct_neighbours(void **fixture)
{
	struct fixture *f = *fixture;
	const struct block_open how = {.no_cache = true};
	char *path = path_of(f, "neighbours");
	uint8_t *data = aligned_alloc(4096, 64 * KIB);
	struct wait waits[256];
	struct error err = {0};
	struct block_queue *queue;
	struct block *block;

	make_file(path, 64 * KIB);
	block = block_open_file(f->graph, path, "raw", &how, &err);
	if (!block) {
		print_message("SKIPPED: %s\n", err.msg);
		goto out;
	}
	queue = block_queue_new(block, f->loop, NULL, NULL);
	fill(data, 0, 64 * KIB);
	for (unsigned i = 0; i < 256; i++) {
		const unsigned slot = i * 37 % 256;

		start(queue, &waits[i], BLOCK_WRITE, slot * 256, data + slot * 256, 256, 0);
	}
	block_queue_drain(queue);
	memset(data, 0, 64 * KIB);
	assert_int_equal(block_pread(block, 0, data, 64 * KIB), 0);
	check_filled(data, 0, 64 * KIB);
	block_queue_free(queue);
	block_unref(block);
out:
	free(data);
	free(path);
}

/* A loop device over a file; -1 where there is no right to make one. */
static int attach_loop(const char *path, char *device, size_t size)
{
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), file = open(path, O_RDWR | O_CLOEXEC);
	int number = control >= 0 ? ioctl(control, LOOP_CTL_GET_FREE) : -1, fd = -1;

	if (number >= 0) {
		snprintf(device, size, "/dev/loop%d", number);
		fd = open(device, O_RDWR | O_CLOEXEC);
		if (fd >= 0 && ioctl(fd, LOOP_SET_FD, file) < 0) {
			close(fd);
			fd = -1;
		}
	}
	if (control >= 0)
		close(control);
	close(file);
	return fd;
}

static void test_host_device(void **fixture)
{
	struct fixture *f = *fixture;
	const struct block_open how = {.no_cache = true, .discard = true};
	char *path = path_of(f, "backing"), device[32], *text;
	uint8_t *data = aligned_alloc(4096, 64 * KIB);
	struct error err = {0};
	struct block *block, *wrong;
	struct block_queue *queue;
	int loop_fd;

	make_file(path, 4 * MIB);
	loop_fd = attach_loop(path, device, sizeof(device));
	if (loop_fd < 0) {
		print_message("SKIPPED: no loop device to be had\n");
		goto out;
	}
	block = block_open_file(f->graph, device, "raw", &how, &err);
	if (!block)
		fail_msg("%s", err.msg);
	assert_string_equal(block->file->driver->name, "host_device");
	assert_int_equal(block->length, 4 * MIB);
	queue = block_queue_new(block, f->loop, NULL, NULL);
	fill(data, 0, 64 * KIB);
	assert_int_equal(perform(f, queue, BLOCK_WRITE, 0, data, 64 * KIB, BLOCK_FUA), 0);
	assert_int_equal(perform(f, queue, BLOCK_WRITE_ZEROES, 8192, NULL, 4096, BLOCK_MAY_UNMAP), 0);
	assert_int_equal(perform(f, queue, BLOCK_DISCARD, 32 * KIB, NULL, 16 * KIB, 0), 0);
	assert_int_equal(perform(f, queue, BLOCK_FLUSH, 0, NULL, 0, 0), 0);
	assert_int_equal(perform(f, queue, BLOCK_READ, 0, data, 32 * KIB, 0), 0);
	check_filled(data, 0, 8192);
	check_zero(data + 8192, 4096);
	check_filled(data + 12288, 12288, 32 * KIB - 12288);
	block_queue_free(queue);
	block_unref(block);
	text = xasprintf("driver=file,filename=%s", device);
	wrong = open_text(f, text, &err);
	assert_null(wrong);
	assert_non_null(strstr(err.msg, "use driver 'host_device'"));
	free(text);
	ioctl(loop_fd, LOOP_CLR_FD);
	close(loop_fd);
out:
	free(data);
	free(path);
}

/* --- faults of the host, each in a child process --- */

static int in_child(struct fixture *f, int (*fn)(struct fixture *))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		/* The pool of the parent has no threads here. */
		f->graph = block_graph_new(&f->log);
		f->loop = loop_new(NULL);
		_exit(fn(f));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

enum { CHILD_OK = 0, CHILD_WRONG = 1, CHILD_SKIP = 77 };

static int write_both_ways(struct fixture *f, const char *path, uint64_t offset, uint64_t length, int expected)
{
	static const char *const modes[] = {"io_uring", "threads"};
	static const struct block_open plain;
	struct block *block = block_open_file(f->graph, path, "raw", &plain, NULL);
	uint8_t *data = malloc(length);

	memset(data, 0x5a, length);
	for (unsigned m = 0; m < 2; m++) {
		struct block_queue *queue = block ? block_queue_new(block, f->loop, modes[m], NULL) : NULL;
		int result;

		if (!queue && m == 0 && block)
			continue;
		if (!queue)
			return CHILD_WRONG;
		result = perform(f, queue, BLOCK_WRITE, offset, data, length, 0);
		if (result != expected) {
			fprintf(stderr, "%s: result %d, not %d\n", modes[m], result, expected);
			return CHILD_WRONG;
		}
		if (perform(f, queue, BLOCK_READ, 0, data, 512, 0)) /* the queue still works */
			return CHILD_WRONG;
		block_queue_free(queue);
	}
	block_unref(block);
	free(data);
	return CHILD_OK;
}

static int file_size_limit(struct fixture *f)
{
	const struct rlimit limit = {MIB, MIB};
	char *path = path_of(f, "limit");

	make_file(path, 4 * MIB);
	signal(SIGXFSZ, SIG_IGN);
	if (setrlimit(RLIMIT_FSIZE, &limit))
		return CHILD_SKIP;
	return write_both_ways(f, path, MIB - 4096, 64 * KIB, -EFBIG);
}

static int full_file_system(struct fixture *f)
{
	char *path = path_of(f, "small/disk");
	char *directory = path_of(f, "small");

	if (mkdir(directory, 0700) || unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", directory, "tmpfs", 0, "size=1M"))
		return CHILD_SKIP;
	make_file(path, 8 * MIB);
	return write_both_ways(f, path, 0, 4 * MIB, -ENOSPC);
}

static void test_file_size_limit(void **fixture)
{
	int result = in_child(*fixture, file_size_limit);

	if (result == CHILD_SKIP)
		print_message("SKIPPED: RLIMIT_FSIZE cannot be set\n");
	else
		assert_int_equal(result, CHILD_OK);
}

static void test_full_file_system(void **fixture)
{
	int result = in_child(*fixture, full_file_system);

	if (result == CHILD_SKIP)
		print_message("SKIPPED: no right to mount a small tmpfs\n");
	else
		assert_int_equal(result, CHILD_OK);
}

/* --- locks --- */

static int second_writer(struct fixture *f)
{
	static const struct block_open plain;
	char *path = path_of(f, "locked");
	struct error err = {0};

	if (block_open_file(f->graph, path, "raw", &plain, &err))
		return CHILD_WRONG;
	return strstr(err.msg, "Failed to get \"write\" lock") && strstr(err.msg, path) ? CHILD_OK : CHILD_WRONG;
}

static int second_reader(struct fixture *f)
{
	const struct block_open how = {.read_only = true}, shared = {.read_only = true, .force_share = true};
	char *path = path_of(f, "locked");
	struct error err = {0};

	if (block_open_file(f->graph, path, "raw", &how, &err) ||
	    !strstr(err.msg, "Failed to get shared \"write\" lock"))
		return CHILD_WRONG;
	return block_open_file(f->graph, path, "raw", &shared, &err) ? CHILD_OK : CHILD_WRONG;
}

static int another_reader(struct fixture *f)
{
	const struct block_open how = {.read_only = true};
	char *path = path_of(f, "locked");

	return block_open_file(f->graph, path, "raw", &how, NULL) ? CHILD_OK : CHILD_WRONG;
}

static void test_locks(void **fixture)
{
	struct fixture *f = *fixture;
	const struct block_open reader = {.read_only = true};
	char *path = path_of(f, "locked");
	struct block *block;

	make_file(path, MIB);
	block = open_raw(f, path, NULL);
	assert_int_equal(in_child(f, second_writer), CHILD_OK);
	assert_int_equal(in_child(f, second_reader), CHILD_OK);
	block_unref(block);
	block = open_raw(f, path, &reader);
	assert_int_equal(in_child(f, another_reader), CHILD_OK);
	assert_int_equal(in_child(f, second_writer), CHILD_OK);
	block_unref(block);
	block_unref(open_raw(f, path, NULL)); /* free again */
	free(path);
}

/* --- opening --- */

static void expect_open_error(struct fixture *f, const char *path, const char *format, const struct block_open *how,
			      const char *expected)
{
	struct error err = {0};

	assert_null(block_open_file(f->graph, path, format, how, &err));
	if (!strstr(err.msg, expected))
		fail_msg("'%s' does not contain '%s'", err.msg, expected);
	assert_null(block_next(f->graph, NULL)); /* nothing is left behind */
}

static void test_open_errors(void **fixture)
{
	struct fixture *f = *fixture;
	const struct block_open plain = {0};
	char *path = path_of(f, "q.img"), *fifo = path_of(f, "fifo");
	FILE *file;

	expect_open_error(f, "/nonexistent/x.img", "raw", &plain,
			  "Could not open '/nonexistent/x.img': No such file or directory");
	expect_open_error(f, f->directory, "raw", &plain, "Is a directory");
	expect_open_error(f, "/dev/null", "raw", &plain, "needs a regular file");
	expect_open_error(f, "nosuch://host/x", "raw", &plain, "unknown protocol 'nosuch'");
	expect_open_error(f, "x", "qcow9", &plain, "Unknown driver 'qcow9'");
	assert_int_equal(mkfifo(fifo, 0600), 0);
	expect_open_error(f, fifo, "raw", &plain, "needs a regular file"); /* and does not wait for a writer */
	file = fopen(path, "w");
	fwrite("WithoutFreeSpace", 1, 16, file);
	fclose(file);
	expect_open_error(f, path, NULL, &plain, "is a parallels image");
	block_unref(open_raw(f, path, NULL));
	free(path);
	free(fifo);
}

static void test_read_only(void **fixture)
{
	struct fixture *f = *fixture;
	const struct block_open how = {.read_only = true};
	char *path = path_of(f, "ro");
	uint8_t data[512] = {0};
	struct block *block;

	make_file(path, MIB);
	block = open_raw(f, path, &how);
	assert_int_equal(block_pwrite(block, 0, data, 512, 0), -EPERM);
	assert_int_equal(block_execute(block, BLOCK_DISCARD, 0, 512, NULL, 0, 0), -EPERM);
	assert_int_equal(block_pread(block, 0, data, 512), 0);
	assert_int_equal(block_pread(block, MIB - 1, data, 2), -EINVAL);
	block_unref(block);
	free(path);
}

/* A guest cannot turn a guessed raw image into another format. */
static void test_probed_raw(void **fixture)
{
	struct fixture *f = *fixture;
	static const struct block_open plain;
	char *path = path_of(f, "probed");
	uint8_t data[1024] = "QFI\xfb\0\0\0\3";
	struct block_queue *queue;
	struct block *block;

	make_file(path, MIB);
	block = block_open_file(f->graph, path, NULL, &plain, NULL);
	assert_non_null(block);
	assert_string_equal(block->driver->name, "raw");
	assert_int_equal(block_pwrite(block, 0, data, 512, 0), -EPERM);
	queue = block_queue_new(block, f->loop, NULL, NULL);
	assert_int_equal(perform(f, queue, BLOCK_WRITE, 0, data, 1024, 0), -EPERM);
	assert_int_equal(perform(f, queue, BLOCK_WRITE, 4096, data, 1024, 0), 0);
	data[0] = 'X';
	assert_int_equal(perform(f, queue, BLOCK_WRITE, 0, data, 1024, 0), 0);
	data[0] = 'Q';
	assert_int_equal(block_pwrite(block, 0, data, 1, 0), -EPERM); /* the rest of the magic is there already */
	block_queue_free(queue);
	block_unref(block);
	block = open_raw(f, path, NULL);
	assert_int_equal(block_pwrite(block, 0, data, 512, 0), 0);
	block_unref(block);
	free(path);
}

static void test_blockdev(void **fixture)
{
	struct fixture *f = *fixture;
	char *path = path_of(f, "dev"), *text, data[512], expected[512];
	struct block *file, *window, *nested;
	struct error err = {0};

	make_file(path, MIB);
	text = xasprintf("driver=file,node-name=f0,filename=%s,cache.direct=off,discard=unmap,aio=threads", path);
	file = open_text(f, text, &err);
	if (!file)
		fail_msg("%s", err.msg);
	assert_ptr_equal(block_find(f->graph, "f0"), file);
	window = open_text(f, "driver=raw,node-name=w,file=f0,offset=4096,size=8192", &err);
	assert_non_null(window);
	assert_int_equal(window->length, 8192);
	memset(expected, 7, sizeof(expected));
	assert_int_equal(block_pwrite(window, 512, expected, 512, 0), 0);
	assert_int_equal(block_pread(file, 4608, data, 512), 0);
	assert_memory_equal(data, expected, 512);
	assert_int_equal(block_pread(window, 8192 - 256, data, 512), -EINVAL);
	block_unref(file); /* the window still holds it */
	assert_non_null(block_find(f->graph, "f0"));
	assert_null(open_text(f, "driver=raw,node-name=w,file=f0", &err));
	assert_non_null(strstr(err.msg, "'w' is already in use"));
	block_unref(window);
	assert_null(block_next(f->graph, NULL));

	free(text);
	text = xasprintf("driver=raw,node-name=n,read-only=on,file.driver=file,file.filename=%s", path);
	nested = open_text(f, text, &err);
	assert_non_null(nested);
	assert_true(nested->file->read_only);
	block_unref(nested);

	assert_null(open_text(f, "driver=raw,file=nope", &err));
	assert_non_null(strstr(err.msg, "'nope'"));
	assert_null(open_text(f, "driver=fiel,filename=x", &err));
	assert_non_null(strstr(err.msg, "did you mean 'file'"));
	assert_null(open_text(f, "driver=null-co,sizze=1M", &err));
	assert_non_null(strstr(err.msg, "sizze"));
	assert_null(open_text(f, "driver=file,filename=x,aio=fast", &err));
	assert_non_null(strstr(err.msg, "aio=fast"));
	free(text);
	text = xasprintf("driver=file,filename=%s,aio=native", path);
	assert_null(open_text(f, text, &err));
	assert_non_null(strstr(err.msg, "requires cache.direct=on"));
	assert_null(block_next(f->graph, NULL));
	free(text);
	free(path);
}

static void test_null(void **fixture)
{
	struct fixture *f = *fixture;
	struct error err = {0};
	struct block *block = open_text(f, "driver=null-co,size=1M,read-zeroes=on", &err);
	struct block_queue *queue = block_queue_new(block, f->loop, NULL, NULL);
	uint8_t data[4096];

	memset(data, 1, sizeof(data));
	assert_int_equal(perform(f, queue, BLOCK_READ, 0, data, 4096, 0), 0);
	check_zero(data, 4096);
	assert_int_equal(perform(f, queue, BLOCK_WRITE, MIB - 4096, data, 4096, 0), 0);
	assert_int_equal(perform(f, queue, BLOCK_FLUSH, 0, NULL, 0, 0), 0);
	assert_int_equal(perform(f, queue, BLOCK_DISCARD, 0, NULL, 4096, 0), 0);
	block_queue_free(queue);
	block_unref(block);
}

/* A flush that fails through the page cache has lost data, and the host says so once: no later one may succeed. */
static void test_failed_flush(void **fixture)
{
	struct fixture *f = *fixture;
	static const struct block_open cases[] = {{.aio = "threads"}, {.aio = "io_uring"}, {.no_cache = true}};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		char *path = path_of(f, "flush.raw");
		struct block *block;
		struct block_queue *queue;
		int fd, saved, ends[2];

		make_file(path, 65536);
		block = open_raw(f, path, &cases[i]);
		queue = block_queue_new(block, f->loop, NULL, NULL);
		assert_non_null(queue);
		assert_int_equal(perform(f, queue, BLOCK_FLUSH, 0, NULL, 0, 0), 0);
		fd = ((struct file_block *)block->file->private_data)->fd;
		assert_int_equal(pipe(ends), 0);
		saved = dup(fd);
		assert_int_equal(dup2(ends[0], fd), fd); /* which cannot be flushed */
		assert_int_equal(perform(f, queue, BLOCK_FLUSH, 0, NULL, 0, 0), -EINVAL);
		assert_int_equal(dup2(saved, fd), fd);
		assert_int_equal(perform(f, queue, BLOCK_FLUSH, 0, NULL, 0, 0), cases[i].no_cache ? 0 : -EINVAL);
		assert_int_equal(block_flush(block), cases[i].no_cache ? 0 : -EINVAL);
		close(saved);
		close(ends[0]);
		close(ends[1]);
		block_queue_free(queue);
		block_unref(block);
		free(path);
	}
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_async),
		TEST(test_many),
		TEST(test_short_reads),
		TEST(test_direct),
		TEST(test_direct_neighbours),
		TEST(test_host_device),
		TEST(test_file_size_limit),
		TEST(test_full_file_system),
		TEST(test_locks),
		TEST(test_open_errors),
		TEST(test_read_only),
		TEST(test_probed_raw),
		TEST(test_blockdev),
		TEST(test_null),
		TEST(test_failed_flush),
	};

	return cmocka_run_group_tests_name("block", tests, NULL, NULL);
}
