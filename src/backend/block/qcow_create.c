/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * New qcow images of version 1: clusters of 4 KiB and L2 tables of 512 entries; over a backing file clusters of 512
 * bytes and L2 tables of 4096 entries, so that little is copied.
 */
#include "backend/block/cipher.h"
#include "backend/block/luks_options.h"
#include "backend/block/qcow.h"

#include <stdlib.h>

enum { AES_KEY_BYTES = 16, MAX_BACKING_NAME = 1023 };

const struct block_create_option qcow_create_options[] = {
	{"size", BLOCK_OPTION_SIZE, "Virtual disk size", NULL},
	{"backing_file", BLOCK_OPTION_STRING, "File name of a base image", NULL},
	{"backing_fmt", BLOCK_OPTION_STRING, "Format of the backing image", NULL},
	{"encryption", BLOCK_OPTION_BOOL,
	 "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)", NULL},
	{"encrypt.format", BLOCK_OPTION_STRING, "Encrypt the image, format choices: 'aes'", NULL},
	{"encrypt.key-secret", BLOCK_OPTION_STRING, "ID of the secret that provides the AES encryption key", NULL},
	{NULL},
};

struct cipher *qcow_cipher_new(const struct block_graph *graph, const char *secret, struct error *err)
{
	const struct cipher_spec spec = {.algorithm = CIPHER_AES_128, .mode = CIPHER_CBC, .ivgen = CIPHER_PLAIN64};
	uint8_t key[AES_KEY_BYTES] = {0};
	struct cipher *cipher;
	size_t length = 0;
	const char *password = luks_passphrase(graph, "encrypt.", secret, &length, err);

	if (!password)
		return NULL;
	memcpy(key, password, min_u64(length, sizeof(key)));
	cipher = cipher_new(&spec, key, sizeof(key), err);
	cipher_wipe(key, sizeof(key));
	return cipher;
}

static int decode_encryption(const struct block_create *create, bool *encrypted, struct error *err)
{
	const char *format = block_create_text(create, "encrypt.format"),
		   *old = block_create_text(create, "encryption"),
		   *secret = block_create_text(create, "encrypt.key-secret");
	struct cipher *cipher;

	if (format && old)
		return error_set(err, EINVAL,
				 "'encrypt.format' and its alias 'encryption' can't be used at the same time");
	if (format && !strcmp(format, "luks"))
		return error_set(err, EINVAL, "Unsupported encryption format");
	if (format && strcmp(format, "aes"))
		return error_set(err, EINVAL, "Parameter 'format' does not accept value '%s'", format);
	*encrypted = format || block_create_bool(create, "encryption");
	if (!*encrypted && secret)
		return error_set(err, EINVAL, "Parameter 'encrypt.format' is missing");
	if (!*encrypted)
		return 0;
	cipher = qcow_cipher_new(create->graph, secret, err);
	if (!cipher)
		return -EINVAL;
	cipher_free(cipher);
	return 0;
}

int qcow_create(const struct block_create *create, struct error *err)
{
	const size_t name_bytes = create->backing ? strlen(create->backing) : 0;
	const unsigned cluster_bits = create->backing ? 9 : 12, l2_bits = create->backing ? 12 : 9;
	const uint64_t l1_offset = align_up(QCOW_HEADER_BYTES + name_bytes, 8), span = 1ull << (cluster_bits + l2_bits);
	uint8_t *head;
	bool encrypted = false;
	struct block *file;
	uint64_t l1_entries;
	int result;

	if (create->length == 0)
		return error_set(err, EINVAL, "Image size is too small, cannot be zero length");
	result = decode_encryption(create, &encrypted, err);
	if (result)
		return result;
	if (create->backing_format && !block_driver_find(create->backing_format))
		return error_set(err, EINVAL, "unrecognized backing format '%s'", create->backing_format);
	if (name_bytes > MAX_BACKING_NAME)
		return error_set(err, EINVAL, "Backing file name is too long");
	l1_entries = create->length / span + !!(create->length % span);
	if (l1_entries > INT32_MAX / 8)
		return error_set(err, EFBIG, "an image of %llu bytes would need too large a table",
				 (unsigned long long)create->length);
	file = block_create_file(create, NULL, 0, err);
	if (!file)
		return -EIO;
	/* The L1 table is a hole, but of a device, which has what was there before. */
	if (file->driver->truncate)
		result = block_truncate(file, l1_offset + align_up(l1_entries * 8, BLOCK_SECTOR), err);
	else if ((result = block_execute(file, BLOCK_WRITE_ZEROES, 0,
					 l1_offset + align_up(l1_entries * 8, BLOCK_SECTOR), NULL, 0, 0)))
		error_set_errno(err, -result, "Could not write '%s'", create->filename);
	if (result) {
		block_unref(file);
		return result;
	}
	head = xcalloc(1, l1_offset);
	store_be32(head + QCOW_AT_MAGIC, QCOW_MAGIC);
	store_be32(head + QCOW_AT_VERSION, 1);
	store_be64(head + QCOW_AT_BACKING_OFFSET, name_bytes ? QCOW_HEADER_BYTES : 0);
	store_be32(head + QCOW_AT_BACKING_LENGTH, (uint32_t)name_bytes);
	store_be64(head + QCOW_AT_SIZE, create->length);
	head[QCOW_AT_CLUSTER_BITS] = (uint8_t)cluster_bits;
	head[QCOW_AT_L2_BITS] = (uint8_t)l2_bits;
	store_be32(head + QCOW_AT_CRYPT, encrypted);
	store_be64(head + QCOW_AT_L1_OFFSET, l1_offset);
	if (name_bytes)
		memcpy(head + QCOW_HEADER_BYTES, create->backing, name_bytes);
	result = image_file_write(file, 0, head, l1_offset);
	free(head);
	block_unref(file);
	return result ? error_set_errno(err, -result, "Could not write '%s'", create->filename) : 0;
}
