/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the qcow driver (version 1) share. */
#ifndef XUNI_BACKEND_BLOCK_QCOW_H
#define XUNI_BACKEND_BLOCK_QCOW_H

#include "backend/block/sparse.h"

#define QCOW_MAGIC        0x514649fbu /* "QFI\xfb" */
#define QCOW_HEADER_BYTES 48u

/* Offsets into the header; all numbers are big-endian. */
enum {
	QCOW_AT_MAGIC = 0,
	QCOW_AT_VERSION = 4,
	QCOW_AT_BACKING_OFFSET = 8,
	QCOW_AT_BACKING_LENGTH = 16,
	QCOW_AT_TIME = 20,
	QCOW_AT_SIZE = 24,
	QCOW_AT_CLUSTER_BITS = 32,
	QCOW_AT_L2_BITS = 33,
	QCOW_AT_CRYPT = 36,
	QCOW_AT_L1_OFFSET = 40,
};

enum qcow_kind {
	QCOW_ABSENT, /* reads from the backing image, or as zeroes */
	QCOW_NORMAL,
	QCOW_PACKED, /* compressed */
};

struct qcow_packer;
struct cipher;

struct qcow {
	/* Tables in memory and their flush; places: tables.next. Pages of the L1 table are among them. */
	struct sparse tables;
	struct block *block;
	uint64_t l1_offset, l1_entries;
	unsigned cluster_bits, l2_bits;
	uint64_t cluster_bytes;
	char *backing_name;
	bool encrypted;
	struct cipher *cipher;       /* NULL also when only described */
	pthread_rwlock_t crypt_gate; /* see cipher_write_sectors */
	/* Held by who gives a cluster a place, until it is linked; before tables.lock. */
	pthread_mutex_t allocating;
	struct qcow_packer *packers; /* under tables.lock */
};

struct qcow_run {
	enum qcow_kind kind;
	uint64_t bytes; /* how far it holds */
	uint64_t host;  /* NORMAL: place of the first byte; PACKED: of the compressed bytes */
	uint32_t packed_bytes;
};

/* Plain clusters begin at sectors of the file. */
static inline bool qcow_is_unaligned(const struct qcow_run *run, uint64_t offset)
{
	return (run->host ^ offset) & (BLOCK_SECTOR - 1);
}

/* --- qcow.c; tables.lock is held, and may be let go of meanwhile unless cached_only (-EAGAIN) --- */
int qcow_look_up(struct qcow *q, uint64_t offset, uint64_t length, bool cached_only, struct qcow_run *run);
/* Entries of `count` clusters in one L2 table, which is made when there is none. `allocating` is held. */
int qcow_link(struct qcow *q, uint64_t first_cluster, uint64_t count, uint64_t entry, uint64_t step);
/* Whether a write there would go where no cluster of the guest can be. */
bool qcow_is_out_of_place(const struct qcow *q, uint64_t host, uint64_t length);

/* --- qcow_io.c --- */
int qcow_pread(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length);
int qcow_pwrite(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length,
		uint32_t flags);
int qcow_write_zeroes(struct block *block, uint64_t offset, uint64_t length, uint32_t flags);
int qcow_flush(struct block *block);
int qcow_write_compressed(struct block *block, uint64_t offset, const void *data, uint64_t length);
void qcow_packers_free(struct qcow *q);

/* --- qcow_create.c --- */
extern const struct block_create_option qcow_create_options[];
int qcow_create(const struct block_create *create, struct error *err);
/* The cipher of the secret that encrypt.key-secret names. */
struct cipher *qcow_cipher_new(const struct block_graph *graph, const char *secret, struct error *err);

#endif
