/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sector ciphers and hashes over libgcrypt. A cipher keeps a few library handles with the key set: a call takes one for
 * itself, so that any number of threads work side by side. Left out: Argon2 and other things of LUKS2, authenticated
 * modes, sectors that are not 512 bytes.
 */
#include "backend/block/cipher.h"

#include "base/util.h"

#include <gcrypt.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

const char *const cipher_algorithms[] = {"aes-128",     "aes-192",     "aes-256",     "cast5-128",
					 "serpent-128", "serpent-192", "serpent-256", "twofish-128",
					 "twofish-192", "twofish-256", NULL};
const char *const cipher_modes[] = {"ecb", "cbc", "xts", "ctr", NULL};
const char *const cipher_ivgens[] = {"plain", "plain64", "essiv", NULL};
const char *const cipher_hashes[] = {"md5", "sha1", "sha224", "sha256", "sha384", "sha512", "ripemd160", NULL};

/* Twofish with 192-bit keys is not in the library: -1. */
static const struct {
	int library;
	uint8_t key_bytes, block_bytes;
	const char *family, *called;
} algorithms[] = {
	[CIPHER_AES_128] = {GCRY_CIPHER_AES128, 16, 16, "aes", "AES"},
	[CIPHER_AES_192] = {GCRY_CIPHER_AES192, 24, 16, "aes", "AES"},
	[CIPHER_AES_256] = {GCRY_CIPHER_AES256, 32, 16, "aes", "AES"},
	[CIPHER_CAST5_128] = {GCRY_CIPHER_CAST5, 16, 8, "cast5", "CAST5"},
	[CIPHER_SERPENT_128] = {GCRY_CIPHER_SERPENT128, 16, 16, "serpent", "Serpent"},
	[CIPHER_SERPENT_192] = {GCRY_CIPHER_SERPENT192, 24, 16, "serpent", "Serpent"},
	[CIPHER_SERPENT_256] = {GCRY_CIPHER_SERPENT256, 32, 16, "serpent", "Serpent"},
	[CIPHER_TWOFISH_128] = {GCRY_CIPHER_TWOFISH128, 16, 16, "twofish", "Twofish"},
	[CIPHER_TWOFISH_192] = {-1, 24, 16, "twofish", "Twofish"},
	[CIPHER_TWOFISH_256] = {GCRY_CIPHER_TWOFISH, 32, 16, "twofish", "Twofish"},
};

static const int modes[] = {GCRY_CIPHER_MODE_ECB, GCRY_CIPHER_MODE_CBC, GCRY_CIPHER_MODE_XTS, GCRY_CIPHER_MODE_CTR};
static const int hashes[] = {GCRY_MD_MD5,    GCRY_MD_SHA1,   GCRY_MD_SHA224, GCRY_MD_SHA256,
			     GCRY_MD_SHA384, GCRY_MD_SHA512, GCRY_MD_RMD160};

struct handle {
	struct handle *next;
	gcry_cipher_hd_t library;
};

struct cipher {
	struct cipher_spec spec;
	uint8_t key[64];
	size_t key_bytes;
	gcry_cipher_hd_t essiv; /* encrypts sector numbers; under the lock */
	pthread_mutex_t lock;
	struct handle *idle;
};

/* The library wants to be started once; it says whether it was. */
static void start_library(void)
{
	if (gcry_control(GCRYCTL_INITIALIZATION_FINISHED_P))
		return;
	gcry_check_version(NULL);
	gcry_control(GCRYCTL_DISABLE_SECMEM, 0);
	gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
}

const char *cipher_family(enum cipher_algorithm algorithm)
{
	return algorithms[algorithm].family;
}

int cipher_of_family(const char *family, size_t key_bytes)
{
	for (int i = 0; i < CIPHER_ALGORITHMS; i++)
		if (!strcmp(algorithms[i].family, family) && algorithms[i].key_bytes == key_bytes)
			return i;
	return -1;
}

size_t cipher_key_bytes(enum cipher_algorithm algorithm, enum cipher_mode mode)
{
	return algorithms[algorithm].key_bytes * (mode == CIPHER_XTS ? 2u : 1u);
}

/* --- handles --- */

static struct handle *new_handle(const struct cipher *cipher)
{
	struct handle *handle = xcalloc(1, sizeof(*handle));

	if (gcry_cipher_open(&handle->library, algorithms[cipher->spec.algorithm].library, modes[cipher->spec.mode],
			     0)) {
		free(handle);
		return NULL;
	}
	if (gcry_cipher_setkey(handle->library, cipher->key, cipher->key_bytes)) {
		gcry_cipher_close(handle->library);
		free(handle);
		return NULL;
	}
	return handle;
}

static struct handle *take_handle(struct cipher *cipher)
{
	struct handle *handle;

	pthread_mutex_lock(&cipher->lock);
	handle = cipher->idle;
	if (handle)
		cipher->idle = handle->next;
	pthread_mutex_unlock(&cipher->lock);
	return handle ? handle : new_handle(cipher);
}

static void put_handle(struct cipher *cipher, struct handle *handle)
{
	pthread_mutex_lock(&cipher->lock);
	handle->next = cipher->idle;
	cipher->idle = handle;
	pthread_mutex_unlock(&cipher->lock);
}

/* --- making one --- */

/* The sector numbers are encrypted with a hash of the key, by the algorithm of this family that takes such a key. */
static int open_essiv(struct cipher *cipher, struct error *err)
{
	const size_t bytes = cipher_hash_bytes(cipher->spec.ivgen_hash);
	const int algorithm = cipher_of_family(cipher_family(cipher->spec.algorithm), bytes);
	uint8_t digest[64];
	int result = 0;

	if (algorithm < 0 || algorithms[algorithm].library < 0)
		return error_set(err, EINVAL, "No %s cipher with key size %zu available",
				 algorithms[cipher->spec.algorithm].called, bytes);
	cipher_hash(cipher->spec.ivgen_hash, cipher->key, cipher->key_bytes, digest);
	if (gcry_cipher_open(&cipher->essiv, algorithms[algorithm].library, GCRY_CIPHER_MODE_ECB, 0) ||
	    gcry_cipher_setkey(cipher->essiv, digest, bytes))
		result = error_set(err, EIO, "the cipher library refuses the key of the IV generator");
	cipher_wipe(digest, sizeof(digest));
	return result;
}

static int check_spec(const struct cipher_spec *spec, size_t key_bytes, struct error *err)
{
	if (spec->mode == CIPHER_XTS && algorithms[spec->algorithm].block_bytes != 16)
		return error_set(err, EINVAL, "Unsupported cipher mode xts");
	if (algorithms[spec->algorithm].library < 0)
		return error_set(err, ENOTSUP, "Algorithm '%s' is not supported here",
				 cipher_algorithms[spec->algorithm]);
	if (key_bytes != cipher_key_bytes(spec->algorithm, spec->mode))
		return error_set(err, EINVAL, "Cipher key length %zu should be %zu", key_bytes,
				 cipher_key_bytes(spec->algorithm, spec->mode));
	return 0;
}

struct cipher *cipher_new(const struct cipher_spec *spec, const void *key, size_t key_bytes, struct error *err)
{
	struct cipher *cipher;
	struct handle *handle;

	start_library();
	if (check_spec(spec, key_bytes, err))
		return NULL;
	cipher = xcalloc(1, sizeof(*cipher));
	cipher->spec = *spec;
	cipher->key_bytes = key_bytes;
	memcpy(cipher->key, key, key_bytes);
	pthread_mutex_init(&cipher->lock, NULL);
	handle = new_handle(cipher);
	if (!handle)
		error_set(err, EIO, "the cipher library refuses %s-%s", cipher_algorithms[spec->algorithm],
			  cipher_modes[spec->mode]);
	else
		put_handle(cipher, handle);
	if (!handle || (spec->ivgen == CIPHER_ESSIV && open_essiv(cipher, err))) {
		cipher_free(cipher);
		return NULL;
	}
	return cipher;
}

void cipher_free(struct cipher *cipher)
{
	struct handle *handle;

	if (!cipher)
		return;
	while ((handle = cipher->idle)) {
		cipher->idle = handle->next;
		gcry_cipher_close(handle->library);
		free(handle);
	}
	if (cipher->essiv)
		gcry_cipher_close(cipher->essiv);
	pthread_mutex_destroy(&cipher->lock);
	cipher_wipe(cipher, sizeof(*cipher));
	free(cipher);
}

/* --- sectors --- */

static gcry_error_t make_iv(struct cipher *cipher, uint64_t sector, uint8_t iv[16])
{
	gcry_error_t code = 0;

	memset(iv, 0, 16);
	if (cipher->spec.ivgen == CIPHER_PLAIN)
		store_le32(iv, (uint32_t)sector);
	else
		store_le64(iv, sector);
	if (cipher->spec.ivgen != CIPHER_ESSIV)
		return 0;
	pthread_mutex_lock(&cipher->lock);
	code = gcry_cipher_encrypt(cipher->essiv, iv, algorithms[cipher->spec.algorithm].block_bytes, NULL, 0);
	pthread_mutex_unlock(&cipher->lock);
	return code;
}

static gcry_error_t one_sector(struct cipher *cipher, gcry_cipher_hd_t library, uint64_t sector, uint8_t *data,
			       bool encrypt)
{
	const size_t block = algorithms[cipher->spec.algorithm].block_bytes;
	gcry_error_t code = 0;
	uint8_t iv[16];

	if (cipher->spec.mode != CIPHER_ECB)
		code = make_iv(cipher, sector, iv);
	if (!code && cipher->spec.mode == CIPHER_CTR)
		code = gcry_cipher_setctr(library, iv, block);
	else if (!code && cipher->spec.mode != CIPHER_ECB)
		code = gcry_cipher_setiv(library, iv, block);
	if (code)
		return code;
	return encrypt ? gcry_cipher_encrypt(library, data, CIPHER_SECTOR, NULL, 0)
		       : gcry_cipher_decrypt(library, data, CIPHER_SECTOR, NULL, 0);
}

static int run(struct cipher *cipher, uint64_t sector, uint8_t *data, size_t bytes, bool encrypt)
{
	struct handle *handle = take_handle(cipher);
	gcry_error_t code = 0;

	if (!handle)
		return -EIO;
	for (size_t at = 0; at + CIPHER_SECTOR <= bytes && !code; at += CIPHER_SECTOR)
		code = one_sector(cipher, handle->library, sector++, data + at, encrypt);
	put_handle(cipher, handle);
	return code ? -EIO : 0;
}

int cipher_encrypt(struct cipher *cipher, uint64_t sector, void *data, size_t bytes)
{
	return run(cipher, sector, data, bytes, true);
}

int cipher_decrypt(struct cipher *cipher, uint64_t sector, void *data, size_t bytes)
{
	return run(cipher, sector, data, bytes, false);
}

/* --- hashes and keys --- */

size_t cipher_hash_bytes(enum cipher_hash hash)
{
	return gcry_md_get_algo_dlen(hashes[hash]);
}

void cipher_hash(enum cipher_hash hash, const void *data, size_t bytes, void *digest)
{
	start_library();
	gcry_md_hash_buffer(hashes[hash], digest, data, bytes);
}

int cipher_derive(enum cipher_hash hash, const void *password, size_t password_bytes, const void *salt,
		  size_t salt_bytes, uint64_t iterations, void *key, size_t key_bytes)
{
	start_library();
	return gcry_kdf_derive(password, password_bytes, GCRY_KDF_PBKDF2, hashes[hash], salt, salt_bytes, iterations,
			       key_bytes, key)
		       ? -EIO
		       : 0;
}

static int64_t cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

uint64_t cipher_derive_rate(enum cipher_hash hash, size_t key_bytes)
{
	static const uint8_t salt[32] = {1};
	uint8_t key[64];

	if (key_bytes > sizeof(key))
		return 0;
	for (uint64_t iterations = 1 << 12; iterations < 1ull << 32; iterations *= 2) {
		const int64_t before = cpu_ns();
		int64_t took;

		if (cipher_derive(hash, "password", 8, salt, sizeof(salt), iterations, key, key_bytes))
			return 0;
		took = cpu_ns() - before;
		if (took > 50 * NS_PER_MS)
			return (uint64_t)((double)iterations * 1e9 / (double)took);
	}
	return 0;
}

int cipher_aes_cbc(const uint8_t key[32], const uint8_t iv[16], void *data, size_t bytes)
{
	gcry_cipher_hd_t library;
	gcry_error_t code;

	start_library();
	if (gcry_cipher_open(&library, GCRY_CIPHER_AES256, GCRY_CIPHER_MODE_CBC, 0))
		return -EIO;
	code = gcry_cipher_setkey(library, key, 32);
	if (!code)
		code = gcry_cipher_setiv(library, iv, 16);
	if (!code)
		code = gcry_cipher_decrypt(library, data, bytes, NULL, 0);
	gcry_cipher_close(library);
	return code ? -EIO : 0;
}

int cipher_random(void *to, size_t bytes)
{
	for (size_t got = 0; got < bytes;) {
		ssize_t more = getrandom((uint8_t *)to + got, bytes - got, 0);

		if (more < 0 && errno != EINTR)
			return -errno;
		got += more > 0 ? (size_t)more : 0;
	}
	return 0;
}

void cipher_wipe(void *data, size_t bytes)
{
	explicit_bzero(data, bytes);
}
