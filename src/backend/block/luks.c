/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading LUKS headers and opening them with a passphrase. Everything in a header is checked before use; iterations are
 * limited, so that a header cannot keep a processor busy for hours.
 */
#include "backend/block/luks.h"

#include "base/util.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	HEADER_BYTES = 592,
	SLOT_ACTIVE = 0x00ac71f3,
	SLOT_DISABLED = 0x0000dead,
	MAX_STRIPES = 65536,
	MAX_ITERATIONS = 1 << 28
};

static uint32_t be32(const uint8_t *p)
{
	return __builtin_bswap32(load_le32(p));
}

/* --- names --- */

static int find_word(const char *const *words, const char *word)
{
	for (int i = 0; words[i]; i++)
		if (!strcmp(words[i], word))
			return i;
	return -1;
}

/* A text field: NUL somewhere inside. */
static int take_text(const uint8_t *from, char text[33], const char *what, struct error *err)
{
	memcpy(text, from, 32);
	text[32] = 0;
	return strlen(text) < 32 ? 0 : error_set(err, EINVAL, "LUKS header %s is not NULL terminated", what);
}

/* "xts-plain64", "cbc-essiv:sha256". */
static int parse_mode(struct cipher_spec *spec, char *text, struct error *err)
{
	char *ivgen = strchr(text, '-'), *hash;
	int value;

	if (!ivgen)
		return error_set(err, EINVAL, "Unexpected cipher mode string format '%s'", text);
	*ivgen++ = 0;
	hash = strchr(ivgen, ':');
	if (hash)
		*hash++ = 0;
	value = find_word(cipher_modes, text);
	if (value < 0)
		return error_set(err, EINVAL, "Cipher mode '%s' is not supported", text);
	spec->mode = (enum cipher_mode)value;
	value = find_word(cipher_ivgens, ivgen);
	if (value < 0)
		return error_set(err, EINVAL, "IV generator '%s' is not supported", ivgen);
	spec->ivgen = (enum cipher_ivgen)value;
	if (spec->ivgen != CIPHER_ESSIV)
		return 0;
	value = hash ? find_word(cipher_hashes, hash) : -1;
	if (value < 0)
		return error_set(err, EINVAL, "%s",
				 hash ? "Hash algorithm of the IV generator is not supported"
				      : "Missing IV generator hash specification");
	spec->ivgen_hash = (enum cipher_hash)value;
	return 0;
}

static int parse_names(struct luks *luks, const uint8_t *header, struct error *err)
{
	char family[33], mode[33], hash[33];
	size_t per_key = luks->key_bytes;
	int result, value;

	if ((result = take_text(header + 8, family, "cipher name", err)) ||
	    (result = take_text(header + 40, mode, "cipher mode", err)) ||
	    (result = take_text(header + 72, hash, "hash spec", err)) || (result = parse_mode(&luks->spec, mode, err)))
		return result;
	value = find_word(cipher_hashes, hash);
	if (value < 0)
		return error_set(err, EINVAL, "Hash algorithm '%s' is not supported", hash);
	luks->hash = (enum cipher_hash)value;
	if (luks->spec.mode == CIPHER_XTS)
		per_key = luks->key_bytes % 2 ? 0 : luks->key_bytes / 2;
	value = luks->key_bytes <= LUKS_MAX_KEY_BYTES ? cipher_of_family(family, per_key) : -1;
	if (value < 0)
		return error_set(err, EINVAL, "Algorithm '%s' with key size %u bytes not supported", family,
				 luks->key_bytes);
	luks->spec.algorithm = (enum cipher_algorithm)value;
	return 0;
}

/* --- slots --- */

static uint64_t material_sectors(const struct luks *luks, const struct luks_slot *slot)
{
	return ((uint64_t)luks->key_bytes * slot->stripes + CIPHER_SECTOR - 1) / CIPHER_SECTOR;
}

static int check_slot(const struct luks *luks, unsigned index, struct error *err)
{
	const struct luks_slot *slot = &luks->slots[index];
	const uint64_t end = slot->key_sector + material_sectors(luks, slot);

	if (!slot->stripes || slot->stripes > MAX_STRIPES)
		return error_set(err, EINVAL, "Keyslot %u is corrupted (stripes == %u)", index, slot->stripes);
	if (slot->key_sector < (HEADER_BYTES + CIPHER_SECTOR - 1) / CIPHER_SECTOR)
		return error_set(err, EINVAL, "Keyslot %u is overlapping with the LUKS header", index);
	if (luks->payload_sector && end > luks->payload_sector)
		return error_set(err, EINVAL, "Keyslot %u is overlapping with the encrypted payload", index);
	if (slot->active && (!slot->iterations || slot->iterations > MAX_ITERATIONS))
		return error_set(err, EINVAL, "Keyslot %u wants %u iterations: not between 1 and %d", index,
				 slot->iterations, MAX_ITERATIONS);
	for (unsigned i = 0; i < index; i++) {
		const struct luks_slot *other = &luks->slots[i];

		if (slot->key_sector < other->key_sector + material_sectors(luks, other) && other->key_sector < end)
			return error_set(err, EINVAL, "Keyslots %u and %u are overlapping in the header", i, index);
	}
	return 0;
}

static int parse_slots(struct luks *luks, const uint8_t *header, struct error *err)
{
	for (unsigned i = 0; i < LUKS_SLOTS; i++) {
		const uint8_t *from = header + 208 + i * 48;
		const uint32_t active = be32(from);
		struct luks_slot *slot = &luks->slots[i];
		int result;

		if (active != SLOT_ACTIVE && active != SLOT_DISABLED)
			return error_set(err, EINVAL, "Keyslot %u state (active/disable) is corrupted", i);
		slot->active = active == SLOT_ACTIVE;
		slot->iterations = be32(from + 4);
		memcpy(slot->salt, from + 8, sizeof(slot->salt));
		slot->key_sector = be32(from + 40);
		slot->stripes = be32(from + 44);
		result = check_slot(luks, i, err);
		if (result)
			return result;
	}
	return 0;
}

int luks_load(struct luks *luks, const struct luks_store *store, struct error *err)
{
	uint8_t header[HEADER_BYTES];
	int result = store->read(store->opaque, 0, header, sizeof(header));

	*luks = (struct luks){0};
	if (result)
		return error_set_errno(err, -result, "Unable to read LUKS header");
	if (memcmp(header, "LUKS\xba\xbe", 6))
		return error_set(err, EINVAL, "Volume is not in LUKS format");
	if (header[6] || header[7] != 1)
		return error_set(err, ENOTSUP, "LUKS version %u is not supported", header[6] << 8 | header[7]);
	luks->payload_sector = be32(header + 104);
	luks->key_bytes = be32(header + 108);
	memcpy(luks->digest, header + 112, sizeof(luks->digest));
	memcpy(luks->salt, header + 132, sizeof(luks->salt));
	luks->iterations = be32(header + 164);
	memcpy(luks->uuid, header + 168, sizeof(luks->uuid) - 1);
	if (!luks->iterations || luks->iterations > MAX_ITERATIONS)
		return error_set(err, EINVAL, "LUKS key iteration count %u is not between 1 and %d", luks->iterations,
				 MAX_ITERATIONS);
	result = parse_names(luks, header, err);
	return result ? result : parse_slots(luks, header, err);
}

/* --- passphrases --- */

/* 1: this is the master key; 0: it is not. */
static int is_master_key(const struct luks *luks, const uint8_t *key)
{
	uint8_t digest[LUKS_DIGEST_BYTES];

	if (cipher_derive(luks->hash, key, luks->key_bytes, luks->salt, sizeof(luks->salt), luks->iterations, digest,
			  sizeof(digest)))
		return -EIO;
	return !memcmp(digest, luks->digest, sizeof(digest));
}

int luks_try_slot(const struct luks *luks, unsigned index, const struct luks_store *store, const void *passphrase,
		  size_t length, uint8_t *key, struct error *err)
{
	const struct luks_slot *slot = &luks->slots[index];
	const size_t bytes = (size_t)material_sectors(luks, slot) * CIPHER_SECTOR;
	uint8_t *material = malloc(bytes), slot_key[LUKS_MAX_KEY_BYTES];
	struct cipher *cipher = NULL;
	int result;

	if (!material)
		return error_set(err, ENOMEM, "no memory for a key slot");
	result = cipher_derive(luks->hash, passphrase, length, slot->salt, sizeof(slot->salt), slot->iterations,
			       slot_key, luks->key_bytes);
	if (result)
		error_set(err, EIO, "the key of a slot cannot be derived");
	else if ((result = store->read(store->opaque, (uint64_t)slot->key_sector * CIPHER_SECTOR, material, bytes)))
		error_set_errno(err, -result, "Failed to read key material");
	else if (!(cipher = cipher_new(&luks->spec, slot_key, luks->key_bytes, err)))
		result = -EINVAL;
	else if ((result = cipher_decrypt(cipher, 0, material, bytes)))
		error_set(err, EIO, "the key material cannot be decrypted");
	if (!result) {
		luks_merge(luks->hash, luks->key_bytes, slot->stripes, material, key);
		result = is_master_key(luks, key);
	}
	cipher_free(cipher);
	cipher_wipe(material, bytes);
	cipher_wipe(slot_key, sizeof(slot_key));
	free(material);
	return result;
}

int luks_unlock(const struct luks *luks, const struct luks_store *store, const void *passphrase, size_t length,
		uint8_t *key, struct error *err)
{
	for (unsigned i = 0; i < LUKS_SLOTS; i++) {
		int result;

		if (!luks->slots[i].active)
			continue;
		result = luks_try_slot(luks, i, store, passphrase, length, key, err);
		if (result < 0)
			return result;
		if (result)
			return (int)i;
	}
	return error_set(err, EPERM, "Invalid password, cannot unlock any keyslot");
}

/* --- info --- */

json_t *luks_describe(const struct luks *luks, const char *format)
{
	json_t *data = json_object(), *slots = json_array();

	json_object_set_new(data, "ivgen-alg", json_string(cipher_ivgens[luks->spec.ivgen]));
	json_object_set_new(data, "hash-alg", json_string(cipher_hashes[luks->hash]));
	json_object_set_new(data, "cipher-alg", json_string(cipher_algorithms[luks->spec.algorithm]));
	json_object_set_new(data, "uuid", json_stringn_nocheck(luks->uuid, strlen(luks->uuid)));
	if (luks->spec.ivgen == CIPHER_ESSIV)
		json_object_set_new(data, "ivgen-hash-alg", json_string(cipher_hashes[luks->spec.ivgen_hash]));
	if (format)
		json_object_set_new(data, "format", json_string(format));
	json_object_set_new(data, "cipher-mode", json_string(cipher_modes[luks->spec.mode]));
	for (unsigned i = 0; i < LUKS_SLOTS; i++) {
		const struct luks_slot *slot = &luks->slots[i];
		json_t *row = json_object();

		json_object_set_new(row, "active", json_boolean(slot->active));
		if (slot->active)
			json_object_set_new(row, "iters", json_integer(slot->iterations));
		json_object_set_new(row, "key-offset", json_integer((json_int_t)slot->key_sector * CIPHER_SECTOR));
		if (slot->active)
			json_object_set_new(row, "stripes", json_integer(slot->stripes));
		json_array_append_new(slots, row);
	}
	json_object_set_new(data, "slots", slots);
	json_object_set_new(data, "payload-offset", json_integer((json_int_t)luks->payload_sector * CIPHER_SECTOR));
	json_object_set_new(data, "master-key-iters", json_integer(luks->iterations));
	return data;
}
