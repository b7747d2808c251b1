/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Byte access to vectors of buffers (virtio.h). */
#include "base/util.h"
#include "device/virtio/virtio.h"

bool iov_skip(struct iovec **iov, unsigned *count, size_t bytes)
{
	if (iov_bytes(*iov, *count) < bytes)
		return false;
	while (*count && bytes >= (*iov)->iov_len) {
		bytes -= (*iov)->iov_len;
		(*iov)++;
		(*count)--;
	}
	if (bytes) {
		(*iov)->iov_base = (uint8_t *)(*iov)->iov_base + bytes;
		(*iov)->iov_len -= bytes;
	}
	return true;
}

bool iov_trim(struct iovec *iov, unsigned *count, size_t bytes)
{
	if (iov_bytes(iov, *count) < bytes)
		return false;
	while (*count && bytes >= iov[*count - 1].iov_len)
		bytes -= iov[--*count].iov_len;
	if (bytes)
		iov[*count - 1].iov_len -= bytes;
	return true;
}

/* Walks the bytes [offset, offset + length): what iov_read, iov_write and iov_fill have in common. */
struct iov_walk {
	const struct iovec *iov;
	unsigned count;
	size_t offset, length;
};

static uint8_t *next_piece(struct iov_walk *walk, size_t *bytes)
{
	while (walk->count && walk->length) {
		uint8_t *at = (uint8_t *)walk->iov->iov_base + walk->offset;
		size_t here = walk->iov->iov_len;

		walk->iov++;
		walk->count--;
		if (walk->offset >= here) {
			walk->offset -= here;
			continue;
		}
		*bytes = min_u64(here - walk->offset, walk->length);
		walk->offset = 0;
		walk->length -= *bytes;
		return at;
	}
	return NULL;
}

size_t iov_read(const struct iovec *iov, unsigned count, size_t offset, void *to, size_t length)
{
	struct iov_walk walk = {iov, count, offset, length};
	size_t done = 0, bytes;

	for (uint8_t *at = next_piece(&walk, &bytes); at; at = next_piece(&walk, &bytes)) {
		memcpy((uint8_t *)to + done, at, bytes);
		done += bytes;
	}
	return done;
}

size_t iov_write(const struct iovec *iov, unsigned count, size_t offset, const void *from, size_t length)
{
	struct iov_walk walk = {iov, count, offset, length};
	size_t done = 0, bytes;

	for (uint8_t *at = next_piece(&walk, &bytes); at; at = next_piece(&walk, &bytes)) {
		memcpy(at, (const uint8_t *)from + done, bytes);
		done += bytes;
	}
	return done;
}

size_t iov_fill(const struct iovec *iov, unsigned count, size_t offset, uint8_t byte, size_t length)
{
	struct iov_walk walk = {iov, count, offset, length};
	size_t done = 0, bytes;

	for (uint8_t *at = next_piece(&walk, &bytes); at; at = next_piece(&walk, &bytes)) {
		memset(at, byte, bytes);
		done += bytes;
	}
	return done;
}
