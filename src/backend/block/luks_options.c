/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See luks_options.h. */
#include "backend/block/luks_options.h"

#include <stdlib.h>

static int choose(const struct block_create *create, const char *prefix, const char *name, const char *const *words,
		  unsigned *value, struct error *err)
{
	char *full = xasprintf("%s%s", prefix, name);
	int result = block_create_choice(create, full, name, words, value, err);

	free(full);
	return result;
}

int luks_options_decode(const struct block_create *create, const char *prefix, struct luks_options *out,
			struct error *err)
{
	unsigned algorithm = CIPHER_AES_256, mode = CIPHER_XTS, ivgen = CIPHER_PLAIN64, hash = CIPHER_SHA256;
	unsigned ivgen_hash = CIPHER_SHA256;
	char *time = xasprintf("%siter-time", prefix), *secret = xasprintf("%skey-secret", prefix);
	int result;

	*out = (struct luks_options){.iter_time_ms = block_create_number(create, time, 2000),
				     .secret = block_create_text(create, secret)};
	free(time);
	free(secret);
	if ((result = choose(create, prefix, "cipher-alg", cipher_algorithms, &algorithm, err)) ||
	    (result = choose(create, prefix, "cipher-mode", cipher_modes, &mode, err)) ||
	    (result = choose(create, prefix, "ivgen-alg", cipher_ivgens, &ivgen, err)) ||
	    (result = choose(create, prefix, "ivgen-hash-alg", cipher_hashes, &ivgen_hash, err)) ||
	    (result = choose(create, prefix, "hash-alg", cipher_hashes, &hash, err)))
		return result;
	out->spec = (struct cipher_spec){.algorithm = (enum cipher_algorithm)algorithm,
					 .mode = (enum cipher_mode)mode,
					 .ivgen = (enum cipher_ivgen)ivgen,
					 .ivgen_hash = (enum cipher_hash)ivgen_hash};
	out->hash = (enum cipher_hash)hash;
	return 0;
}

/* --- the header in a file --- */

static int store_read(void *opaque, uint64_t offset, void *to, size_t bytes)
{
	const struct luks_place *place = opaque;

	return range_inside(offset, bytes, place->bytes)
		       ? image_file_read(place->file, place->offset + offset, to, bytes)
		       : -EINVAL;
}

static int store_write(void *opaque, uint64_t offset, const void *from, size_t bytes)
{
	const struct luks_place *place = opaque;

	return range_inside(offset, bytes, place->bytes)
		       ? image_file_write(place->file, place->offset + offset, from, bytes)
		       : -EINVAL;
}

static int store_sync(void *opaque)
{
	const struct luks_place *place = opaque;

	return block_flush(place->file);
}

struct luks_store luks_store_of(struct luks_place *place)
{
	return (struct luks_store){.opaque = place, .read = store_read, .write = store_write, .sync = store_sync};
}

/* --- the passphrase --- */

const char *luks_passphrase(const struct block_graph *graph, const char *prefix, const char *id, size_t *length,
			    struct error *err)
{
	if (id)
		return block_secret_find(graph, id, length, err);
	error_set(err, EINVAL, "Parameter '%skey-secret' is required for cipher", prefix);
	return NULL;
}

int luks_open_with(const struct luks *luks, const struct luks_store *store, const struct block_graph *graph,
		   const char *prefix, const char *id, struct cipher **cipher, struct error *err)
{
	uint8_t key[LUKS_MAX_KEY_BYTES];
	size_t length = 0;
	const char *passphrase = luks_passphrase(graph, prefix, id, &length, err);
	int result;

	if (!passphrase)
		return -EINVAL;
	result = luks_unlock(luks, store, passphrase, length, key, err);
	if (result >= 0) {
		*cipher = cipher_new(&luks->spec, key, luks->key_bytes, err);
		result = *cipher ? 0 : -EINVAL;
	}
	cipher_wipe(key, sizeof(key));
	return result;
}
