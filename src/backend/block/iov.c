/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Scatter-gather lists: copying and cutting. */
#include "backend/block/internal.h"

uint64_t iov_bytes(const struct iovec *iov, int count)
{
	uint64_t sum = 0;

	for (int i = 0; i < count; i++)
		sum += iov[i].iov_len;
	return sum;
}

int iov_window(struct iovec *out, int out_max, const struct iovec *iov, int count, uint64_t skip, uint64_t length,
	       uint64_t *covered)
{
	int used = 0;

	*covered = 0;
	for (int i = 0; i < count && used < out_max && *covered < length; i++) {
		uint64_t part;

		if (skip >= iov[i].iov_len) {
			skip -= iov[i].iov_len;
			continue;
		}
		part = min_u64(iov[i].iov_len - skip, length - *covered);
		out[used++] = (struct iovec){.iov_base = (char *)iov[i].iov_base + skip, .iov_len = part};
		*covered += part;
		skip = 0;
	}
	return used;
}

enum copy { GATHER, SPREAD, CLEAR };

static void copy(enum copy what, char *flat, const struct iovec *iov, int count, uint64_t skip, uint64_t length)
{
	for (int i = 0; i < count && length; i++) {
		uint64_t part;
		char *at;

		if (skip >= iov[i].iov_len) {
			skip -= iov[i].iov_len;
			continue;
		}
		at = (char *)iov[i].iov_base + skip;
		part = min_u64(iov[i].iov_len - skip, length);
		if (what == CLEAR)
			memset(at, 0, part);
		else if (what == GATHER)
			memcpy(flat, at, part);
		else
			memcpy(at, flat, part);
		flat = flat ? flat + part : NULL;
		length -= part;
		skip = 0;
	}
}

void iov_gather(void *to, const struct iovec *iov, int count, uint64_t skip, uint64_t length)
{
	copy(GATHER, to, iov, count, skip, length);
}

void iov_spread(const struct iovec *iov, int count, uint64_t skip, const void *from, uint64_t length)
{
	copy(SPREAD, (char *)(uintptr_t)from, iov, count, skip, length);
}

void iov_clear(const struct iovec *iov, int count, uint64_t skip, uint64_t length)
{
	copy(CLEAR, NULL, iov, count, skip, length);
}

bool iov_aligned(const struct iovec *iov, int count, uint32_t alignment)
{
	uint64_t bits = 0;

	for (int i = 0; i < count; i++)
		bits |= (uintptr_t)iov[i].iov_base | iov[i].iov_len;
	return !(bits & (alignment - 1));
}
