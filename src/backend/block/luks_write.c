/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * New LUKS headers and changed key slots. A slot's key material is on disk before the header names it active, and the
 * header says inactive before the material is overwritten: what an interruption leaves has one way in too few, never a
 * header that opens nothing.
 */
#include "backend/block/luks.h"

#include "base/util.h"

#include <stdio.h>
#include <stdlib.h>

enum {
	HEADER_BYTES = 592,
	SLOT_ACTIVE = 0x00ac71f3,
	SLOT_DISABLED = 0x0000dead,
	STRIPES = 4000,
	ALIGN_SECTORS = 8,
	MIN_ITERATIONS = 1000,
	ERASE_PASSES = 40 /* with random data, as qemu and cryptsetup do */
};

static void put_be32(uint8_t *to, uint32_t value)
{
	store_le32(to, __builtin_bswap32(value));
}

/* Sectors of one slot, rounded so that the next is aligned. */
static uint32_t slot_sectors(uint32_t key_bytes)
{
	return (uint32_t)align_up((key_bytes * STRIPES + CIPHER_SECTOR - 1) / CIPHER_SECTOR, ALIGN_SECTORS);
}

uint64_t luks_header_bytes(const struct cipher_spec *spec)
{
	const uint32_t key_bytes = (uint32_t)cipher_key_bytes(spec->algorithm, spec->mode);

	return (ALIGN_SECTORS + (uint64_t)LUKS_SLOTS * slot_sectors(key_bytes)) * CIPHER_SECTOR;
}

/* --- the header --- */

static void encode(const struct luks *luks, uint8_t *header)
{
	const struct cipher_spec *spec = &luks->spec;
	const bool essiv = spec->ivgen == CIPHER_ESSIV;

	memset(header, 0, HEADER_BYTES);
	memcpy(header, "LUKS\xba\xbe\0\1", 8);
	snprintf((char *)header + 8, 32, "%s", cipher_family(spec->algorithm));
	snprintf((char *)header + 40, 32, "%s-%s%s%s", cipher_modes[spec->mode], cipher_ivgens[spec->ivgen],
		 essiv ? ":" : "", essiv ? cipher_hashes[spec->ivgen_hash] : "");
	snprintf((char *)header + 72, 32, "%s", cipher_hashes[luks->hash]);
	put_be32(header + 104, luks->payload_sector);
	put_be32(header + 108, luks->key_bytes);
	memcpy(header + 112, luks->digest, sizeof(luks->digest));
	memcpy(header + 132, luks->salt, sizeof(luks->salt));
	put_be32(header + 164, luks->iterations);
	memcpy(header + 168, luks->uuid, sizeof(luks->uuid));
	for (unsigned i = 0; i < LUKS_SLOTS; i++) {
		const struct luks_slot *slot = &luks->slots[i];
		uint8_t *to = header + 208 + i * 48;

		put_be32(to, slot->active ? SLOT_ACTIVE : SLOT_DISABLED);
		put_be32(to + 4, slot->iterations);
		memcpy(to + 8, slot->salt, sizeof(slot->salt));
		put_be32(to + 40, slot->key_sector);
		put_be32(to + 44, slot->stripes);
	}
}

static int write_header(const struct luks *luks, const struct luks_store *store, struct error *err)
{
	uint8_t header[HEADER_BYTES];
	int result;

	encode(luks, header);
	result = store->write(store->opaque, 0, header, sizeof(header));
	if (!result)
		result = store->sync(store->opaque);
	return result ? error_set_errno(err, -result, "Unable to write LUKS header") : 0;
}

/* --- keys --- */

/* Iterations that take this time. */
static int count_iterations(const struct luks *luks, size_t key_bytes, uint64_t time_ms, uint32_t *iterations,
			    struct error *err)
{
	const uint64_t rate = cipher_derive_rate(luks->hash, key_bytes);

	if (!rate)
		return error_set(err, EIO, "Unable to get accurate CPU usage");
	if (time_ms > UINT64_MAX / rate || rate * time_ms / 1000 > UINT32_MAX)
		return error_set(err, ERANGE, "PBKDF iterations %llu larger than %u",
				 time_ms > UINT64_MAX / rate ? ~0ull : (unsigned long long)(rate * time_ms / 1000),
				 UINT32_MAX);
	*iterations = (uint32_t)max_u64(MIN_ITERATIONS, rate * time_ms / 1000);
	return 0;
}

/* The slot's key material for the master key, encrypted with the passphrase. */
static int make_material(const struct luks *luks, const struct luks_slot *slot, const uint8_t *key,
			 const void *passphrase, size_t length, uint8_t *material, size_t bytes, struct error *err)
{
	uint8_t slot_key[LUKS_MAX_KEY_BYTES];
	struct cipher *cipher = NULL;
	int result = cipher_derive(luks->hash, passphrase, length, slot->salt, sizeof(slot->salt), slot->iterations,
				   slot_key, luks->key_bytes);

	if (!result)
		result = luks_split(luks->hash, luks->key_bytes, slot->stripes, key, material);
	if (!result) {
		cipher = cipher_new(&luks->spec, slot_key, luks->key_bytes, err);
		result = cipher ? cipher_encrypt(cipher, 0, material, bytes) : -EINVAL;
	}
	cipher_free(cipher);
	cipher_wipe(slot_key, sizeof(slot_key));
	if (result && !(err && err->code))
		error_set_errno(err, -result, "the key of a slot cannot be made");
	return result;
}

int luks_set_slot(struct luks *luks, unsigned index, uint64_t iter_time_ms, const struct luks_store *store,
		  const uint8_t *key, const void *passphrase, size_t length, struct error *err)
{
	struct luks_slot *slot = &luks->slots[index];
	const size_t bytes = align_up((size_t)luks->key_bytes * STRIPES, CIPHER_SECTOR);
	uint8_t *material;
	int result;

	slot->stripes = STRIPES;
	result = cipher_random(slot->salt, sizeof(slot->salt));
	if (result)
		return error_set_errno(err, -result, "no random numbers");
	result = count_iterations(luks, luks->key_bytes, iter_time_ms, &slot->iterations, err);
	if (result)
		return result;
	material = xcalloc(1, bytes);
	result = make_material(luks, slot, key, passphrase, length, material, bytes, err);
	if (!result) {
		result = store->write(store->opaque, (uint64_t)slot->key_sector * CIPHER_SECTOR, material, bytes);
		if (!result)
			result = store->sync(store->opaque);
		if (result)
			error_set_errno(err, -result, "Unable to write key material");
	}
	free(material);
	if (result)
		return result;
	slot->active = true;
	return write_header(luks, store, err);
}

int luks_erase_slot(struct luks *luks, unsigned index, const struct luks_store *store, struct error *err)
{
	struct luks_slot *slot = &luks->slots[index];
	const size_t bytes = align_up((size_t)luks->key_bytes * slot->stripes, CIPHER_SECTOR);
	uint8_t *garbage;
	int result;

	slot->active = false;
	slot->iterations = 0;
	memset(slot->salt, 0, sizeof(slot->salt));
	result = write_header(luks, store, err);
	if (result)
		return result;
	garbage = xcalloc(1, bytes);
	for (unsigned pass = 0; pass < ERASE_PASSES && !result; pass++) {
		result = cipher_random(garbage, bytes);
		if (!result)
			result =
				store->write(store->opaque, (uint64_t)slot->key_sector * CIPHER_SECTOR, garbage, bytes);
		if (!result)
			result = store->sync(store->opaque);
	}
	free(garbage);
	return result ? error_set_errno(err, -result, "Unable to erase the key slot") : 0;
}

/* --- a new one --- */

static int make_uuid(char text[40])
{
	uint8_t u[16];
	int result = cipher_random(u, sizeof(u));

	u[6] = (u[6] & 0x0f) | 0x40;
	u[8] = (u[8] & 0x3f) | 0x80;
	snprintf(text, 40, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1], u[2],
		 u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
	return result;
}

/* Digest of the master key, by which a try is known to be right. */
static int make_digest(struct luks *luks, const uint8_t *key, uint64_t iter_time_ms, struct error *err)
{
	int result = count_iterations(luks, LUKS_DIGEST_BYTES, iter_time_ms / 8, &luks->iterations, err);

	if (result)
		return result;
	if (cipher_random(luks->salt, sizeof(luks->salt)) ||
	    cipher_derive(luks->hash, key, luks->key_bytes, luks->salt, sizeof(luks->salt), luks->iterations,
			  luks->digest, sizeof(luks->digest)))
		return error_set(err, EIO, "the digest of the master key cannot be made");
	return 0;
}

int luks_create(struct luks *luks, const struct cipher_spec *spec, enum cipher_hash hash, uint64_t iter_time_ms,
		const struct luks_store *store, const void *passphrase, size_t length, struct error *err)
{
	uint8_t key[LUKS_MAX_KEY_BYTES];
	struct cipher *cipher;
	int result;

	*luks = (struct luks){.spec = *spec,
			      .hash = hash,
			      .key_bytes = (uint32_t)cipher_key_bytes(spec->algorithm, spec->mode),
			      .payload_sector = (uint32_t)(luks_header_bytes(spec) / CIPHER_SECTOR)};
	for (unsigned i = 0; i < LUKS_SLOTS; i++)
		luks->slots[i] = (struct luks_slot){.key_sector = ALIGN_SECTORS + i * slot_sectors(luks->key_bytes),
						    .stripes = STRIPES};
	if (make_uuid(luks->uuid) || cipher_random(key, sizeof(key)))
		return error_set(err, EIO, "no random numbers");
	cipher = cipher_new(spec, key, luks->key_bytes, err); /* refuses what cannot be */
	result = cipher ? make_digest(luks, key, iter_time_ms, err) : -EINVAL;
	cipher_free(cipher);
	if (!result)
		result = luks_set_slot(luks, 0, iter_time_ms, store, key, passphrase, length, err);
	cipher_wipe(key, sizeof(key));
	return result;
}
