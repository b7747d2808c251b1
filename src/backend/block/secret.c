/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Secrets: passwords and passphrases that nodes name by an id (-object secret, --object secret of xuni-img). As in qemu
 * their text comes from the command line or a file, in base64 or not, and may be encrypted (AES-256-CBC, PKCS#7) with
 * the 32 bytes of another secret. They belong to the graph of the nodes that use them.
 */
#include "backend/block/cipher.h"
#include "backend/block/internal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum { MAX_SECRET_BYTES = 65536 };

struct block_secret {
	struct block_secret *next;
	char *id;
	uint8_t *data; /* with a NUL behind it */
	size_t length;
};

void block_secrets_free(struct block_secret *first)
{
	while (first) {
		struct block_secret *next = first->next;

		cipher_wipe(first->data, first->length);
		free(first->data);
		free(first->id);
		free(first);
		first = next;
	}
}

const char *block_secret_find(const struct block_graph *graph, const char *id, size_t *length, struct error *err)
{
	for (const struct block_secret *s = graph->secrets; s; s = s->next) {
		if (!strcmp(s->id, id)) {
			*length = s->length;
			return (const char *)s->data;
		}
	}
	error_set(err, ENOENT, "No secret with id '%s'", id);
	return NULL;
}

/* --- where the text comes from --- */

static int read_file(const char *path, uint8_t *data, size_t *length, struct error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = 1;

	if (fd < 0)
		return error_set(err, errno, "Unable to read %s: Failed to open file \u201c%s\u201d: %s", path, path,
				 strerror(errno));
	for (*length = 0; got > 0 && *length <= MAX_SECRET_BYTES; *length += got > 0 ? (size_t)got : 0)
		got = read(fd, data + *length, MAX_SECRET_BYTES + 1 - *length);
	close(fd);
	if (got < 0)
		return error_set_errno(err, errno, "Unable to read %s", path);
	return *length > MAX_SECRET_BYTES ? error_set(err, EFBIG, "Unable to read %s: a secret has at most %d bytes",
						      path, MAX_SECRET_BYTES)
					  : 0;
}

static int base64_digit(uint8_t c)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* In place. White space does not count; padding may be missing. */
static int decode_base64(uint8_t *data, size_t *length, struct error *err)
{
	size_t out = 0;
	uint32_t bits = 0, count = 0;

	for (size_t i = 0; i < *length; i++) {
		const int digit = base64_digit(data[i]);

		if (data[i] == ' ' || data[i] == '\n' || data[i] == '\r' || data[i] == '\t' || data[i] == '=')
			continue;
		if (digit < 0)
			return error_set(err, EINVAL, "Base64 data contains invalid characters");
		bits = bits << 6 | (uint32_t)digit;
		count += 6;
		if (count >= 8) {
			count -= 8;
			data[out++] = (uint8_t)(bits >> count);
		}
	}
	*length = out;
	return 0;
}

/* Decrypted in place with the secret keyid. */
static int decrypt(const struct block_graph *graph, const char *keyid, const char *iv_text, uint8_t *data,
		   size_t *length, struct error *err)
{
	uint8_t key[64] = {0}, iv[64] = {0};
	size_t key_bytes = 0, iv_bytes, padding;
	const char *text = block_secret_find(graph, keyid, &key_bytes, err);

	if (!text)
		return -ENOENT;
	if (!iv_text)
		return error_set(err, EINVAL, "IV is required to decrypt secret");
	iv_bytes = strlen(iv_text);
	if (iv_bytes > sizeof(iv))
		return error_set(err, EINVAL, "IV should be 16 bytes in length");
	memcpy(iv, iv_text, iv_bytes);
	if (decode_base64(iv, &iv_bytes, err) < 0)
		return -EINVAL;
	if (iv_bytes != 16)
		return error_set(err, EINVAL, "IV should be 16 bytes in length not %zu", iv_bytes);
	if (key_bytes != 32)
		return error_set(err, EINVAL, "Key should be 32 bytes in length not %zu", key_bytes);
	memcpy(key, text, key_bytes);
	if (*length % 16 || !*length || cipher_aes_cbc(key, iv, data, *length))
		return error_set(err, EINVAL, "the encrypted secret is not whole blocks of 16 bytes");
	cipher_wipe(key, sizeof(key));
	padding = data[*length - 1];
	if (padding < 1 || padding > 16)
		return error_set(err, EINVAL, "Incorrect number of padding bytes (%zu) found on decrypted data",
				 padding);
	*length -= padding;
	return 0;
}

static int load(const struct block_graph *graph, struct options *options, uint8_t *data, size_t *length,
		struct error *err)
{
	const char *text = options_get(options, "data"), *file = options_get(options, "file");
	const char *format = options_get(options, "format"), *keyid = options_get(options, "keyid");
	const char *iv = options_get(options, "iv");
	int result = 0;

	if (format && strcmp(format, "raw") && strcmp(format, "base64"))
		return error_set(err, EINVAL, "Parameter 'format' does not accept value '%s'", format);
	for (size_t i = 0; i < options->count; i++)
		if (!options->items[i].used)
			return error_set(err, EINVAL, "Parameter '%s' is unexpected", options->items[i].key);
	if (text && file)
		return error_set(err, EINVAL, "'file' and 'data' are mutually exclusive");
	if (!text && !file)
		return error_set(err, EINVAL, "Either 'file' or 'data' must be provided");
	if (file)
		result = read_file(file, data, length, err);
	else if ((*length = strlen(text)) > MAX_SECRET_BYTES)
		result = error_set(err, EFBIG, "a secret has at most %d bytes", MAX_SECRET_BYTES);
	else
		memcpy(data, text, *length);
	if (!result && format && !strcmp(format, "base64"))
		result = decode_base64(data, length, err);
	if (!result && keyid)
		result = decrypt(graph, keyid, iv, data, length, err);
	return result;
}

int block_secret_add(struct block_graph *graph, struct options *options, struct error *err)
{
	const char *id = options_get(options, "id");
	struct block_secret *secret;
	uint8_t *data;
	size_t length = 0;
	int result;

	if (!id)
		return error_set(err, EINVAL, "Parameter 'id' is missing");
	for (const struct block_secret *s = graph->secrets; s; s = s->next)
		if (!strcmp(s->id, id))
			return error_set(err, EEXIST,
					 "attempt to add duplicate property '%s' to object (type 'container')", id);
	data = xcalloc(1, MAX_SECRET_BYTES + 2);
	result = load(graph, options, data, &length, err);
	if (result) {
		cipher_wipe(data, MAX_SECRET_BYTES);
		free(data);
		return result;
	}
	secret = xcalloc(1, sizeof(*secret));
	data[length] = 0;
	*secret = (struct block_secret){.next = graph->secrets, .id = xstrdup(id), .data = data, .length = length};
	graph->secrets = secret;
	return 0;
}
