/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's half of kill_test.py: threads that write known patterns to /dev/vda as fast as they can until the machine
 * is killed, each to a part of the disk of its own. What a thread does follows from its seed alone, so that the host
 * knows it too: see Stream in kill_test.py, whose every step this does.
 *
 *	kill-writer SEED THREADS BLOCKS
 *
 * A block of 4 KiB holds 256 times { magic, block, seed of the thread, number of the operation }. After each batch of
 * operations and a flush a line says how far it is: "flushed THREAD OPERATIONS".
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

enum { BLOCK = 4096, MOST = 64, RECORDS = BLOCK / 16, THREADS_MAX = 8 };

struct record {
	uint32_t magic, block, seed, operation;
};

struct thread {
	pthread_t id;
	unsigned number;
	uint32_t seed, state, first, count;
	int fd;
};

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint32_t next(struct thread *t)
{
	t->state ^= t->state << 13;
	t->state ^= t->state >> 17;
	t->state ^= t->state << 5;
	return t->state;
}

static void fill(struct record *to, uint32_t block, uint32_t seed, uint32_t operation)
{
	for (unsigned i = 0; i < RECORDS; i++)
		to[i] = (struct record){0x4b494c4c, block, seed, operation};
}

static void *run(void *opaque)
{
	struct thread *t = opaque;
	struct record *buffer;
	uint32_t operation = 0;

	if (posix_memalign((void **)&buffer, BLOCK, (size_t)MOST * BLOCK))
		die("memory");
	for (;;) {
		const uint32_t batch = 1 + next(t) % 24;

		for (uint32_t i = 0; i < batch; i++) {
			/* Whatever comes last has no later write to carry it to the disk. */
			const uint32_t kind = i + 1 == batch ? 12 + next(t) % 4 : next(t) % 16;
			const uint32_t length = 1 + next(t) % (kind < 8 ? 4 : MOST);
			const uint32_t block = t->first + next(t) % (t->count - length);
			uint64_t range[2] = {(uint64_t)block * BLOCK, (uint64_t)length * BLOCK};

			operation++;
			for (uint32_t j = 0; kind < 14 && j < length; j++)
				fill(buffer + (size_t)j * RECORDS, block + j, t->seed, operation);
			if (kind < 14 && pwrite(t->fd, buffer, range[1], (off_t)range[0]) != (ssize_t)range[1])
				die("write");
			if (kind >= 14 && ioctl(t->fd, kind == 14 ? BLKDISCARD : BLKZEROOUT, range) < 0)
				die("discard");
		}
		if (fdatasync(t->fd) < 0)
			die("flush");
		dprintf(1, "flushed %u %u\n", t->number, operation);
		tcdrain(1); /* or it would run ahead of what it says */
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct thread threads[THREADS_MAX] = {0};
	const unsigned count = argc == 4 ? (unsigned)atoi(argv[2]) : 0;

	if (count < 1 || count > THREADS_MAX)
		return 2;
	for (unsigned i = 0; i < count; i++) {
		const uint32_t share = (uint32_t)atoi(argv[3]) / count;

		threads[i] = (struct thread){.number = i,
					     .seed = (uint32_t)atoi(argv[1]) * THREADS_MAX + i + 1,
					     .first = i * share,
					     .count = share,
					     .fd = open("/dev/vda", O_RDWR | O_DIRECT | O_CLOEXEC)};
		threads[i].state = threads[i].seed * 2654435761u;
		if (threads[i].fd < 0)
			die("/dev/vda");
	}
	for (unsigned i = 0; i < count; i++)
		if (pthread_create(&threads[i].id, NULL, run, &threads[i]))
			die("thread");
	pause();
}
