/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Encryption of disk sectors, and the hash functions around it; libgcrypt does the arithmetic. LUKS, qcow2 and qcow are
 * built on it. Names are those of qemu's options ("aes-256", "xts", "plain64", "sha256").
 */
#ifndef XUNI_BACKEND_BLOCK_CIPHER_H
#define XUNI_BACKEND_BLOCK_CIPHER_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

#define CIPHER_SECTOR 512u

enum cipher_algorithm {
	CIPHER_AES_128,
	CIPHER_AES_192,
	CIPHER_AES_256,
	CIPHER_CAST5_128,
	CIPHER_SERPENT_128,
	CIPHER_SERPENT_192,
	CIPHER_SERPENT_256,
	CIPHER_TWOFISH_128,
	CIPHER_TWOFISH_192,
	CIPHER_TWOFISH_256,
	CIPHER_ALGORITHMS
};
enum cipher_mode { CIPHER_ECB, CIPHER_CBC, CIPHER_XTS, CIPHER_CTR, CIPHER_MODES };
/* How the initial vector of a sector comes from its number. */
enum cipher_ivgen { CIPHER_PLAIN, CIPHER_PLAIN64, CIPHER_ESSIV, CIPHER_IVGENS };
enum cipher_hash {
	CIPHER_MD5,
	CIPHER_SHA1,
	CIPHER_SHA224,
	CIPHER_SHA256,
	CIPHER_SHA384,
	CIPHER_SHA512,
	CIPHER_RIPEMD160,
	CIPHER_HASHES
};

/* NULL-ended, in the order of the enumerations. */
extern const char *const cipher_algorithms[], *const cipher_modes[], *const cipher_ivgens[], *const cipher_hashes[];

struct cipher_spec {
	enum cipher_algorithm algorithm;
	enum cipher_mode mode;
	enum cipher_ivgen ivgen;
	enum cipher_hash ivgen_hash; /* ESSIV */
};

/* "aes" and the like, as in a LUKS header. */
const char *cipher_family(enum cipher_algorithm algorithm);
/* The algorithm of a family with a key of these bytes (per key: XTS has two). -1: there is none. */
int cipher_of_family(const char *family, size_t key_bytes);
/* Bytes of the whole key: twice the algorithm's for XTS. */
size_t cipher_key_bytes(enum cipher_algorithm algorithm, enum cipher_mode mode);

struct cipher;
/* The key is copied. NULL with a message when library or specification do not allow it. */
struct cipher *cipher_new(const struct cipher_spec *spec, const void *key, size_t key_bytes, struct error *err);
void cipher_free(struct cipher *cipher);
/* In place; whole sectors, the first of which has this number. 0 or -EIO. Any thread. */
int cipher_encrypt(struct cipher *cipher, uint64_t sector, void *data, size_t bytes);
int cipher_decrypt(struct cipher *cipher, uint64_t sector, void *data, size_t bytes);

size_t cipher_hash_bytes(enum cipher_hash hash);
/* `digest` has room for cipher_hash_bytes. */
void cipher_hash(enum cipher_hash hash, const void *data, size_t bytes, void *digest);
/* PBKDF2 with HMAC (RFC 8018 5.2). */
int cipher_derive(enum cipher_hash hash, const void *password, size_t password_bytes, const void *salt,
		  size_t salt_bytes, uint64_t iterations, void *key, size_t key_bytes);
/* Iterations of the above that take one second of this CPU; 0: it cannot be told. */
uint64_t cipher_derive_rate(enum cipher_hash hash, size_t key_bytes);
/* AES-256-CBC decryption of whole blocks in place, for secrets that are encrypted. */
int cipher_aes_cbc(const uint8_t key[32], const uint8_t iv[16], void *data, size_t bytes);

/* From the host, not predictable. */
int cipher_random(void *to, size_t bytes);
/* Overwrites what was secret. */
void cipher_wipe(void *data, size_t bytes);

#endif
