/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ciphers, PBKDF2 and LUKS against vectors published elsewhere (IEEE 1619, RFC 6070, SP 800-38A) and against
 * themselves. */
#include "backend/block/luks.h"

#include "base/util.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* IEEE 1619-2007, vector 4: AES-128 XTS, data unit 0, 512 bytes 00 01 02 ... */
static void test_xts(void **state)
{
	static const uint8_t key[32] = {0x27, 0x18, 0x28, 0x18, 0x28, 0x45, 0x90, 0x45, 0x23, 0x53, 0x60,
					0x28, 0x74, 0x71, 0x35, 0x26, 0x31, 0x41, 0x59, 0x26, 0x53, 0x58,
					0x97, 0x93, 0x23, 0x84, 0x62, 0x64, 0x33, 0x83, 0x27, 0x95};
	static const uint8_t wanted[16] = {0x27, 0xa7, 0x47, 0x9b, 0xef, 0xa1, 0xd4, 0x76,
					   0x48, 0x9f, 0x30, 0x8c, 0xd4, 0xcf, 0xa6, 0xe2};
	const struct cipher_spec spec = {.algorithm = CIPHER_AES_128, .mode = CIPHER_XTS, .ivgen = CIPHER_PLAIN64};
	uint8_t data[1024];
	struct error err = {0};
	struct cipher *cipher = cipher_new(&spec, key, sizeof(key), &err);

	assert_non_null(cipher);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)i;
	assert_int_equal(cipher_encrypt(cipher, 0, data, sizeof(data)), 0);
	assert_memory_equal(data, wanted, sizeof(wanted));
	assert_memory_not_equal(data, data + 512, 512); /* sectors of one content differ */
	assert_int_equal(cipher_decrypt(cipher, 1, data + 512, 512), 0);
	assert_int_equal(data[512 + 77], 77);
	cipher_free(cipher);
}

/* RFC 6070: PBKDF2 with HMAC-SHA1. */
static void test_derive(void **state)
{
	static const uint8_t wanted[20] = {0x4b, 0x00, 0x79, 0x01, 0xb7, 0x65, 0x48, 0x9a, 0xbe, 0xad,
					   0x49, 0xd9, 0x26, 0xf7, 0x21, 0xd0, 0x65, 0xa4, 0x29, 0xc1};
	uint8_t key[20];

	assert_int_equal(cipher_derive(CIPHER_SHA1, "password", 8, "salt", 4, 4096, key, sizeof(key)), 0);
	assert_memory_equal(key, wanted, sizeof(key));
}

/* SP 800-38A F.2.6: CBC-AES256. */
static void test_cbc(void **state)
{
	static const uint8_t key[32] = {0x60, 0x3d, 0xeb, 0x10, 0x15, 0xca, 0x71, 0xbe, 0x2b, 0x73, 0xae,
					0xf0, 0x85, 0x7d, 0x77, 0x81, 0x1f, 0x35, 0x2c, 0x07, 0x3b, 0x61,
					0x08, 0xd7, 0x2d, 0x98, 0x10, 0xa3, 0x09, 0x14, 0xdf, 0xf4};
	uint8_t iv[16], data[16] = {0xf5, 0x8c, 0x4c, 0x04, 0xd6, 0xe5, 0xf1, 0xba,
				    0x77, 0x9e, 0xab, 0xfb, 0x5f, 0x7b, 0xfb, 0xd6};
	static const uint8_t wanted[16] = {0x6b, 0xc1, 0xbe, 0xe2, 0x2e, 0x40, 0x9f, 0x96,
					   0xe9, 0x3d, 0x7e, 0x11, 0x73, 0x93, 0x17, 0x2a};

	for (unsigned i = 0; i < 16; i++)
		iv[i] = (uint8_t)i;
	assert_int_equal(cipher_aes_cbc(key, iv, data, sizeof(data)), 0);
	assert_memory_equal(data, wanted, sizeof(wanted));
}

static void test_specifications(void **state)
{
	const struct cipher_spec no_xts = {.algorithm = CIPHER_CAST5_128, .mode = CIPHER_XTS};
	const struct cipher_spec short_key = {.algorithm = CIPHER_AES_256, .mode = CIPHER_CBC, .ivgen = CIPHER_ESSIV};
	uint8_t key[64] = {1};
	struct error err = {0};

	assert_null(cipher_new(&no_xts, key, 32, &err));
	assert_string_equal(err.msg, "Unsupported cipher mode xts");
	assert_null(cipher_new(&short_key, key, 16, &err));
	assert_int_equal(cipher_of_family("aes", 24), CIPHER_AES_192);
	assert_int_equal(cipher_of_family("aes", 17), -1);
	for (int a = 0; a < CIPHER_ALGORITHMS; a++) {
		for (int m = 0; m < CIPHER_MODES; m++) {
			const struct cipher_spec spec = {.algorithm = (enum cipher_algorithm)a,
							 .mode = (enum cipher_mode)m,
							 .ivgen = CIPHER_ESSIV,
							 .ivgen_hash =
								 a == CIPHER_CAST5_128 ? CIPHER_MD5 : CIPHER_SHA256};
			uint8_t data[1536] = {0}, zeroes[1536] = {0};
			struct cipher *cipher =
				cipher_new(&spec, key, cipher_key_bytes(spec.algorithm, spec.mode), &err);

			if (!cipher) {
				assert_true(a == CIPHER_TWOFISH_192 || (a == CIPHER_CAST5_128 && m == CIPHER_XTS));
				continue;
			}
			assert_int_equal(cipher_encrypt(cipher, 1ull << 40, data, sizeof(data)), 0);
			assert_memory_not_equal(data, zeroes, sizeof(data));
			assert_int_equal(cipher_decrypt(cipher, 1ull << 40, data, sizeof(data)), 0);
			assert_memory_equal(data, zeroes, sizeof(data));
			cipher_free(cipher);
		}
	}
}

/* --- a header in memory --- */

static uint8_t volume[4 << 20];

static int volume_read(void *opaque, uint64_t offset, void *to, size_t bytes)
{
	memcpy(to, volume + offset, bytes);
	return 0;
}

static int volume_write(void *opaque, uint64_t offset, const void *from, size_t bytes)
{
	memcpy(volume + offset, from, bytes);
	return 0;
}

static int volume_sync(void *opaque)
{
	return 0;
}

static void test_slots(void **state)
{
	const struct luks_store store = {.read = volume_read, .write = volume_write, .sync = volume_sync};
	const struct cipher_spec spec = {.algorithm = CIPHER_AES_256, .mode = CIPHER_XTS, .ivgen = CIPHER_PLAIN64};
	uint8_t key[LUKS_MAX_KEY_BYTES], other[LUKS_MAX_KEY_BYTES];
	struct error err = {0};
	struct luks luks, again;

	assert_int_equal(luks_create(&luks, &spec, CIPHER_SHA256, 1, &store, "first", 5, &err), 0);
	assert_int_equal(luks_load(&again, &store, &err), 0);
	assert_memory_equal(&luks, &again, sizeof(luks));
	assert_int_equal(luks_unlock(&luks, &store, "wrong", 5, key, &err), -EPERM);
	assert_int_equal(luks_unlock(&luks, &store, "first", 5, key, &err), 0);
	assert_int_equal(luks_set_slot(&luks, 5, 1, &store, key, "second", 6, &err), 0);
	assert_int_equal(luks_erase_slot(&luks, 0, &store, &err), 0);
	assert_int_equal(luks_load(&again, &store, &err), 0);
	assert_int_equal(luks_unlock(&again, &store, "first", 5, other, &err), -EPERM);
	assert_int_equal(luks_unlock(&again, &store, "second", 6, other, &err), 5);
	assert_memory_equal(key, other, sizeof(key));
}

/* --- threads --- */

static void *encrypt_much(void *opaque)
{
	static const uint8_t zeroes[4096];
	uint8_t data[4096];

	for (uint64_t i = 0; i < 200; i++) {
		memset(data, 0, sizeof(data));
		assert_int_equal(cipher_encrypt(opaque, i * 8, data, sizeof(data)), 0);
		assert_int_equal(cipher_decrypt(opaque, i * 8, data, sizeof(data)), 0);
		assert_memory_equal(data, zeroes, sizeof(data));
	}
	return NULL;
}

static void test_threads(void **state)
{
	const struct cipher_spec spec = {
		.algorithm = CIPHER_AES_128, .mode = CIPHER_CBC, .ivgen = CIPHER_ESSIV, .ivgen_hash = CIPHER_SHA256};
	static const uint8_t key[16] = {7};
	struct error err = {0};
	struct cipher *cipher = cipher_new(&spec, key, sizeof(key), &err);
	pthread_t threads[3];

	assert_non_null(cipher);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, encrypt_much, cipher), 0);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	cipher_free(cipher);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_xts),   cmocka_unit_test(test_derive),
					   cmocka_unit_test(test_cbc),   cmocka_unit_test(test_specifications),
					   cmocka_unit_test(test_slots), cmocka_unit_test(test_threads)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
