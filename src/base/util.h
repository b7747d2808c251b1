/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Small arithmetic and memory helpers that every folder uses. */
#ifndef XUNI_BASE_UTIL_H
#define XUNI_BASE_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define KIB 1024ull
#define MIB (1024ull * KIB)
#define GIB (1024ull * MIB)
#define TIB (1024ull * GIB)
#define NS_PER_S 1000000000ll
#define NS_PER_MS 1000000ll
#define NS_PER_US 1000ll

static inline uint64_t align_up(uint64_t value, uint64_t power_of_two)
{
	return (value + power_of_two - 1) & ~(power_of_two - 1);
}

static inline uint64_t align_down(uint64_t value, uint64_t power_of_two)
{
	return value & ~(power_of_two - 1);
}

static inline bool is_power_of_two(uint64_t value)
{
	return value && !(value & (value - 1));
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* True when [offset, offset + length) lies inside [0, size), without overflow. */
static inline bool range_inside(uint64_t offset, uint64_t length, uint64_t size)
{
	return offset <= size && length <= size - offset;
}

/* Little-endian values at any alignment: the form guest structures and file headers have. */
static inline uint16_t load_le16(const void *p)
{
	uint16_t v;
	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint32_t load_le32(const void *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint64_t load_le64(const void *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof(v));
	return v;
}

static inline void store_le16(void *p, uint16_t v)
{
	memcpy(p, &v, sizeof(v));
}

static inline void store_le32(void *p, uint32_t v)
{
	memcpy(p, &v, sizeof(v));
}

static inline void store_le64(void *p, uint64_t v)
{
	memcpy(p, &v, sizeof(v));
}

/* Big-endian ones: network packets and many image formats. */
static inline uint16_t load_be16(const void *p)
{
	return __builtin_bswap16(load_le16(p));
}

static inline uint32_t load_be32(const void *p)
{
	return __builtin_bswap32(load_le32(p));
}

static inline uint64_t load_be64(const void *p)
{
	return __builtin_bswap64(load_le64(p));
}

static inline void store_be16(void *p, uint16_t v)
{
	store_le16(p, __builtin_bswap16(v));
}

static inline void store_be32(void *p, uint32_t v)
{
	store_le32(p, __builtin_bswap32(v));
}

static inline void store_be64(void *p, uint64_t v)
{
	store_le64(p, __builtin_bswap64(v));
}

/* "1.5 GiB" into text, which it returns: three digits, as qemu's tools print sizes. */
char *format_bytes(char text[32], uint64_t bytes);

/* Whether all of these bytes are zero. */
bool buffer_is_zero(const void *data, size_t length);

/* Allocation that does not return NULL: a VMM out of memory for its own bookkeeping ends with a message.
 * Never used with a size that a guest, an image or a client chose; those use malloc and report. */
void *xcalloc(size_t count, size_t size);
void *xrealloc(void *p, size_t size);
char *xstrdup(const char *s);
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* CLOCK_MONOTONIC, ns. */
int64_t host_now_ns(void);

/* Memory and swap of the host; UINT64_MAX: unknown. */
uint64_t host_memory_bytes(void);

#endif
