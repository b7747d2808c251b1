/* SPDX-License-Identifier: GPL-2.0-or-later */
/* LUKS's anti-forensic splitter: a key spread over so many sectors that losing any of them loses the key. */
#include "backend/block/luks.h"

#include "base/util.h"

#include <string.h>

/* Hashes the block in place, digest by digest, each with its number in front. */
static void diffuse(enum cipher_hash hash, uint8_t *block, uint32_t bytes)
{
	const uint32_t unit = (uint32_t)cipher_hash_bytes(hash);
	uint8_t input[4 + 64], digest[64];

	for (uint32_t i = 0, at = 0; at < bytes; i++, at += unit) {
		const uint32_t part = (uint32_t)min_u64(unit, bytes - at);

		store_le32(input, __builtin_bswap32(i));
		memcpy(input + 4, block + at, part);
		cipher_hash(hash, input, 4 + part, digest);
		memcpy(block + at, digest, part);
	}
	cipher_wipe(input, sizeof(input));
	cipher_wipe(digest, sizeof(digest));
}

static void mix(uint8_t *block, const uint8_t *with, uint32_t bytes)
{
	for (uint32_t i = 0; i < bytes; i++)
		block[i] ^= with[i];
}

void luks_merge(enum cipher_hash hash, uint32_t bytes, uint32_t stripes, const uint8_t *material, uint8_t *key)
{
	memset(key, 0, bytes);
	for (uint32_t i = 0; i < stripes; i++) {
		mix(key, material + (size_t)i * bytes, bytes);
		if (i + 1 < stripes)
			diffuse(hash, key, bytes);
	}
}

int luks_split(enum cipher_hash hash, uint32_t bytes, uint32_t stripes, const uint8_t *key, uint8_t *material)
{
	uint8_t block[LUKS_MAX_KEY_BYTES] = {0}, *last = material + (size_t)(stripes - 1) * bytes;
	int result = cipher_random(material, (size_t)(stripes - 1) * bytes);

	for (uint32_t i = 0; i + 1 < stripes && !result; i++) {
		mix(block, material + (size_t)i * bytes, bytes);
		diffuse(hash, block, bytes);
	}
	memcpy(last, block, bytes);
	mix(last, key, bytes);
	cipher_wipe(block, sizeof(block));
	return result;
}
