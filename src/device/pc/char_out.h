/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bytes on their way from a guest's port to a chardev. A vCPU only appends to a buffer; the first byte of a burst wakes
 * the loop, which writes what it finds and then looks again every millisecond until nothing more came. So a byte is not
 * delayed, and a stream of them costs a system call a millisecond instead of one each.
 */
#ifndef XUNI_DEVICE_PC_CHAR_OUT_H
#define XUNI_DEVICE_PC_CHAR_OUT_H

#include "base/loop.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct chardev;

enum { CHAR_OUT_BYTES = 8192 };

struct char_out {
	struct chardev *chardev;
	struct loop *loop;
	/* Called in the loop's thread, without locks, after a full buffer got room. May be NULL. */
	void (*drained)(void *opaque);
	void *opaque;

	pthread_mutex_t lock;
	uint8_t bytes[CHAR_OUT_BYTES];
	unsigned head, count;
	bool awake; /* the loop knows of the bytes */
	bool full;  /* somebody was turned away since drained was called */
	int wake_fd;
	struct loop_fd *watch;
	struct loop_timer timer;
};

/* chardev: NULL drops everything. loop: NULL (tests) writes through. In the loop's thread. */
int char_out_init(struct char_out *out, struct chardev *chardev, struct loop *loop, void (*drained)(void *opaque),
		  void *opaque, struct error *err);
/* Writes what is left as far as the chardev takes it. */
void char_out_fini(struct char_out *out);
/* Any thread. False when the byte did not fit; drained will follow. */
bool char_out_put(struct char_out *out, uint8_t byte);
/* Any thread: whether a byte would fit; if not, drained will follow. */
bool char_out_ready(struct char_out *out);
/* The chardev has room again (chardev_front.writable). */
void char_out_flush(struct char_out *out);

#endif
