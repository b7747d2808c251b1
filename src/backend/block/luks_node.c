/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Format "luks": a LUKS version 1 volume as a disk image: header, key slots, and the encrypted disk behind them. Left
 * out: detached headers.
 */
#include "backend/block/cipher_io.h"
#include "backend/block/luks_options.h"

#include <stdlib.h>

struct luks_node {
	struct luks luks;
	struct cipher *cipher; /* NULL: opened for a description only */
	char *key_secret;      /* id of the secret, or NULL */
	uint64_t payload;      /* bytes */
	pthread_rwlock_t gate; /* see cipher_write_sectors */
};

static int luks_probe(const uint8_t *head, size_t length, const char *filename)
{
	return length >= 8 && !memcmp(head, "LUKS\xba\xbe\0\1", 8) ? 100 : 0;
}

static int luks_node_open(struct block *block, struct options *options, const struct block_open *how, struct error *err)
{
	struct luks_node *node = block->private_data;
	const char *secret = options_get(options, "key-secret");
	struct luks_place place = {.file = block->file, .bytes = UINT64_MAX};
	const struct luks_store store = luks_store_of(&place);
	int result = luks_load(&node->luks, &store, err);

	if (result)
		return result;
	node->payload = (uint64_t)node->luks.payload_sector * CIPHER_SECTOR;
	if (node->payload > block->file->length)
		return error_set(err, EINVAL, "the payload of '%s' lies behind its end", block->filename);
	if (!how->describe || secret)
		result = luks_open_with(&node->luks, &store, block->graph, "", secret, &node->cipher, err);
	if (result)
		return result;
	node->key_secret = secret ? xstrdup(secret) : NULL;
	pthread_rwlock_init(&node->gate, NULL);
	block->length = block->file->length - node->payload;
	return 0;
}

static void luks_close(struct block *block)
{
	struct luks_node *node = block->private_data;

	cipher_free(node->cipher);
	free(node->key_secret);
	pthread_rwlock_destroy(&node->gate);
}

static int luks_pread(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length)
{
	struct luks_node *node = block->private_data;

	if (!node->cipher)
		return -EIO;
	return cipher_file_read(node->cipher, block->file, node->payload + offset, offset / CIPHER_SECTOR, iov,
				iov_count, 0, length);
}

static int write_sectors(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length,
			 uint32_t flags)
{
	struct luks_node *node = block->private_data;
	int result = cipher_file_write(node->cipher, block->file, node->payload + offset, offset / CIPHER_SECTOR, iov,
				       iov_count, 0, length);

	return !result && flags & BLOCK_FUA ? block_flush(block->file) : result;
}

static int luks_pwrite(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length,
		       uint32_t flags)
{
	struct luks_node *node = block->private_data;

	if (!node->cipher)
		return -EIO;
	return cipher_write_sectors(block, &node->gate, write_sectors, offset, iov, iov_count, length, flags);
}

static int luks_flush(struct block *block)
{
	return block_flush(block->file);
}

static int luks_truncate(struct block *block, uint64_t length, struct error *err)
{
	struct luks_node *node = block->private_data;
	int result;

	if (length > INT64_MAX - node->payload)
		return error_set(err, EFBIG, "The requested file size is too large");
	result = block_truncate(block->file, node->payload + length, err);
	if (!result)
		block->length = block->file->length - node->payload;
	return result;
}

static int luks_preallocate(struct block *block, uint64_t from, enum block_preallocation mode, struct error *err)
{
	struct luks_node *node = block->private_data;

	if (!block->file->driver->preallocate)
		return error_set(err, ENOTSUP, "Unsupported preallocation mode '%s'", block_preallocation_names[mode]);
	return block->file->driver->preallocate(block->file, node->payload + from, mode, err);
}

static void luks_info(const struct block *block, struct block_info *info)
{
	info->encrypted = true;
}

static struct json_t *luks_specific_info(const struct block *block)
{
	const struct luks_node *node = block->private_data;

	return luks_describe(&node->luks, NULL);
}

/* --- new ones --- */

static const struct block_create_option luks_create_options[] = {
	{"size", BLOCK_OPTION_SIZE, "Virtual disk size", NULL},
	{"key-secret", BLOCK_OPTION_STRING, "ID of the secret that provides the keyslot passphrase", NULL},
	{"cipher-alg", BLOCK_OPTION_STRING, "Name of encryption cipher algorithm", NULL},
	{"cipher-mode", BLOCK_OPTION_STRING, "Name of encryption cipher mode", NULL},
	{"ivgen-alg", BLOCK_OPTION_STRING, "Name of IV generator algorithm", NULL},
	{"ivgen-hash-alg", BLOCK_OPTION_STRING, "Name of IV generator hash algorithm", NULL},
	{"hash-alg", BLOCK_OPTION_STRING, "Name of encryption hash algorithm", NULL},
	{"iter-time", BLOCK_OPTION_NUMBER, "Time to spend in PBKDF in milliseconds", NULL},
	{NULL},
};

static int luks_create_image(const struct block_create *create, struct error *err)
{
	struct luks_options options;
	struct luks_place place = {.bytes = UINT64_MAX};
	const struct luks_store store = luks_store_of(&place);
	const char *passphrase;
	struct luks luks;
	size_t length = 0;
	int result = luks_options_decode(create, "", &options, err);

	if (result)
		return result;
	passphrase = luks_passphrase(create->graph, "", options.secret, &length, err);
	if (!passphrase)
		return -EINVAL;
	place.file = block_create_file(create, NULL, luks_header_bytes(&options.spec) + create->length, err);
	if (!place.file)
		return -EIO;
	result = luks_create(&luks, &options.spec, options.hash, options.iter_time_ms, &store, passphrase, length, err);
	block_unref(place.file);
	if (result)
		block_create_undo(create->filename);
	return result;
}

static const struct block_create_option luks_amend_options[] = {
	{"state", BLOCK_OPTION_STRING, "Select new state of affected keyslots (active/inactive)", NULL},
	{"keyslot", BLOCK_OPTION_NUMBER, "Select a single keyslot to modify explicitly", NULL},
	{"old-secret", BLOCK_OPTION_STRING, "Select all keyslots that match this password", NULL},
	{"new-secret", BLOCK_OPTION_STRING, "New secret to set in the matching keyslots. Empty string to erase", NULL},
	{"iter-time", BLOCK_OPTION_NUMBER, "Time to spend in PBKDF in milliseconds", NULL},
	{NULL},
};

static int luks_node_amend(struct block *block, struct options *options, bool force, struct error *err)
{
	struct luks_node *node = block->private_data;
	struct luks_place place = {.file = block->file, .bytes = UINT64_MAX};
	const struct luks_store store = luks_store_of(&place);

	return luks_amend(&node->luks, &store, block->graph, "", node->key_secret, options, force, err);
}

static int luks_measure(const struct block_create *create, struct block_measure *measure, struct error *err)
{
	struct luks_options options;
	size_t length;
	int result = luks_options_decode(create, "", &options, err);

	if (result)
		return result;
	if (!luks_passphrase(create->graph, "", options.secret, &length, err))
		return -EINVAL;
	measure->full_bytes = measure->required_bytes = luks_header_bytes(&options.spec) + create->length;
	return 0;
}

static const char *const luks_known[] = {"key-secret", NULL};

const struct block_driver block_luks_driver = {
	.name = "luks",
	.size = sizeof(struct luks_node),
	.known = luks_known,
	.strong = luks_known,
	.probe = luks_probe,
	.open = luks_node_open,
	.close = luks_close,
	.pread = luks_pread,
	.pwrite = luks_pwrite,
	.flush = luks_flush,
	.truncate = luks_truncate,
	.preallocate = luks_preallocate,
	.create_options = luks_create_options,
	.create = luks_create_image,
	.measure = luks_measure,
	.amend_options = luks_amend_options,
	.amend = luks_node_amend,
	.info = luks_info,
	.specific_info = luks_specific_info,
};
