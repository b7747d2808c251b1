/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Encryption of guest data: LUKS, with its header in clusters of the image and sectors numbered by their place in the
 * file; and the legacy AES of version 1 (AES-128-CBC, the password as key, sectors numbered as the guest does). Tables
 * and compressed clusters are never encrypted.
 */
#include "backend/block/luks_options.h"
#include "backend/block/qcow2_internal.h"

#include <jansson.h>
#include <stdlib.h>

enum { METHOD_AES = 1, METHOD_LUKS = 2, AES_KEY_BYTES = 16 };

/* The header of LUKS, where the image's extension says. */
static int find_header(struct qcow2 *q, struct luks_place *place, struct error *err)
{
	const uint8_t *extension = qcow2_extension_find(q, QCOW2_EXT_CRYPTO, 16);

	if (!extension)
		return error_set(err, EINVAL, "Missing CRYPTO header for crypt method 2");
	*place = (struct luks_place){
		.file = q->block->file, .offset = load_be64(extension), .bytes = load_be64(extension + 8)};
	if (place->offset & (q->cluster_bytes - 1) || !place->offset)
		return error_set(err, EINVAL, "Encryption header offset '%llu' is not a multiple of cluster size '%u'",
				 (unsigned long long)place->offset, q->cluster_bytes);
	if (place->bytes > QCOW2_MAX_CRYPTO_BYTES ||
	    !range_inside(place->offset, place->bytes, align_up(q->file_end, q->cluster_bytes)))
		return error_set(err, EINVAL, "The encryption header lies outside of the image file");
	q->crypto_offset = place->offset;
	q->crypto_bytes = place->bytes;
	return 0;
}

static int open_luks(struct qcow2 *q, const char *secret, bool describe, struct error *err)
{
	struct luks_place place;
	struct luks_store store = luks_store_of(&place);
	int result = find_header(q, &place, err);

	if (result)
		return result;
	q->luks = xcalloc(1, sizeof(*q->luks));
	result = luks_load(q->luks, &store, err);
	if (!result && (!describe || secret))
		result = luks_open_with(q->luks, &store, q->block->graph, "encrypt.", secret, &q->cipher, err);
	return result;
}

static int open_aes(struct qcow2 *q, const char *secret, bool describe, struct error *err)
{
	const struct cipher_spec spec = {.algorithm = CIPHER_AES_128, .mode = CIPHER_CBC, .ivgen = CIPHER_PLAIN64};
	uint8_t key[AES_KEY_BYTES] = {0};
	const char *password;
	size_t length = 0;

	if (describe && !secret)
		return 0;
	password = luks_passphrase(q->block->graph, "encrypt.", secret, &length, err);
	if (!password)
		return -EINVAL;
	memcpy(key, password, min_u64(length, sizeof(key)));
	q->cipher = cipher_new(&spec, key, sizeof(key), err);
	cipher_wipe(key, sizeof(key));
	q->guest_sectors = true;
	return q->cipher ? 0 : -EINVAL;
}

int qcow2_crypt_open(struct qcow2 *q, struct options *options, const struct block_open *how, struct error *err)
{
	static const char *const names[] = {"none", "aes", "luks"};
	const char *format = options_get(options, "encrypt.format"),
		   *secret = options_get(options, "encrypt.key-secret");
	const uint32_t method = q->header.crypt_method;

	if (method > METHOD_LUKS)
		return error_set(err, EINVAL, "Unsupported encryption method %u", method);
	if (!method)
		return format || secret ? error_set(err, EINVAL,
						    "No encryption in image header, but options specified "
						    "format '%s'",
						    format ? format : "")
					: 0;
	if (format && strcmp(format, names[method]))
		return error_set(err, EINVAL, "Header reported '%s' encryption format but options specify '%s'",
				 names[method], format);
	q->key_secret = secret ? xstrdup(secret) : NULL;
	pthread_rwlock_init(&q->crypt_gate, NULL);
	return method == METHOD_LUKS ? open_luks(q, secret, how->describe, err)
				     : open_aes(q, secret, how->describe, err);
}

void qcow2_crypt_close(struct qcow2 *q)
{
	cipher_free(q->cipher);
	q->cipher = NULL;
	free(q->luks);
	q->luks = NULL;
	free(q->key_secret);
	q->key_secret = NULL;
}

json_t *qcow2_crypt_describe(const struct qcow2 *q)
{
	return q->luks ? luks_describe(q->luks, "luks") : json_pack("{s:s}", "format", "aes");
}
