/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * LUKS version 1 (LUKS On-Disk Format Specification 1.2.3): header, key slots, passphrases. The image of format "luks"
 * and the encryption "luks" of qcow2 are built on it; each says where its header lies. Numbers of sectors and bytes
 * count from there. Control thread.
 */
#ifndef XUNI_BACKEND_BLOCK_LUKS_H
#define XUNI_BACKEND_BLOCK_LUKS_H

#include "backend/block/cipher.h"

#include <stdbool.h>

#define LUKS_SLOTS         8
#define LUKS_SALT_BYTES    32
#define LUKS_DIGEST_BYTES  20
#define LUKS_MAX_KEY_BYTES 64

struct json_t;

/* Where the header is. Return 0 or a negative errno. */
struct luks_store {
	void *opaque;
	int (*read)(void *opaque, uint64_t offset, void *to, size_t bytes);
	int (*write)(void *opaque, uint64_t offset, const void *from, size_t bytes);
	int (*sync)(void *opaque);
};

struct luks_slot {
	bool active;
	uint32_t iterations, stripes;
	uint8_t salt[LUKS_SALT_BYTES];
	uint32_t key_sector; /* of the key material */
};

struct luks {
	struct cipher_spec spec;
	enum cipher_hash hash;
	uint32_t payload_sector;
	uint32_t key_bytes;
	uint8_t digest[LUKS_DIGEST_BYTES], salt[LUKS_SALT_BYTES]; /* of the master key */
	uint32_t iterations;
	char uuid[40];
	struct luks_slot slots[LUKS_SLOTS];
};

/* Reads and checks the header. */
int luks_load(struct luks *luks, const struct luks_store *store, struct error *err);
/* Finds the slot that this passphrase opens; key has room for LUKS_MAX_KEY_BYTES. Returns the slot or a negative errno.
 */
int luks_unlock(const struct luks *luks, const struct luks_store *store, const void *passphrase, size_t length,
		uint8_t *key, struct error *err);
/* Whether it opens this slot, which is active: 1 with the key, 0, or a negative errno. */
int luks_try_slot(const struct luks *luks, unsigned slot, const struct luks_store *store, const void *passphrase,
		  size_t length, uint8_t *key, struct error *err);
/* The format-specific part of info; format: of an image that has LUKS inside, or NULL. */
struct json_t *luks_describe(const struct luks *luks, const char *format);

/* --- luks_write.c --- */
/* Bytes of header and all key slots. */
uint64_t luks_header_bytes(const struct cipher_spec *spec);
/* A new header with a random master key in slot 0. iter_time_ms: what a try of a passphrase is to cost. */
int luks_create(struct luks *luks, const struct cipher_spec *spec, enum cipher_hash hash, uint64_t iter_time_ms,
		const struct luks_store *store, const void *passphrase, size_t length, struct error *err);
/* Puts the master key into a slot that is not active, for a passphrase. */
int luks_set_slot(struct luks *luks, unsigned slot, uint64_t iter_time_ms, const struct luks_store *store,
		  const uint8_t *key, const void *passphrase, size_t length, struct error *err);
/* Overwrites a slot's key material and makes it inactive. */
int luks_erase_slot(struct luks *luks, unsigned slot, const struct luks_store *store, struct error *err);

/* --- luks_split.c: the anti-forensic splitter (4.2.4 and 5.1 of the specification) --- */
/* material: bytes times stripes. */
void luks_merge(enum cipher_hash hash, uint32_t bytes, uint32_t stripes, const uint8_t *material, uint8_t *key);
int luks_split(enum cipher_hash hash, uint32_t bytes, uint32_t stripes, const uint8_t *key, uint8_t *material);

#endif
