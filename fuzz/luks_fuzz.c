/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A LUKS header and key slots of foreign bytes: parsed, described, and tried with a passphrase where that costs little.
 */
#include "backend/block/luks.h"
#include "base/util.h"
#include "fuzz.h"

#include <jansson.h>
#include <string.h>

enum { MAX_BYTES = 1 << 21, CHEAP = 100 };

struct image {
	const uint8_t *data;
	size_t size;
};

static int image_read(void *opaque, uint64_t offset, void *to, size_t bytes)
{
	const struct image *image = opaque;
	const size_t there = offset < image->size ? (size_t)min_u64(bytes, image->size - offset) : 0;

	memset(to, 0, bytes);
	if (there)
		memcpy(to, image->data + offset, there);
	return 0;
}

static bool is_cheap(const struct luks *luks)
{
	bool cheap = luks->iterations <= CHEAP;

	for (unsigned i = 0; i < LUKS_SLOTS; i++)
		if (luks->slots[i].active)
			cheap &= luks->slots[i].iterations <= CHEAP && luks->slots[i].stripes <= 4000;
	return cheap;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct image image = {data, size};
	const struct luks_store store = {.opaque = &image, .read = image_read};
	uint8_t key[LUKS_MAX_KEY_BYTES];
	struct error err = {0};
	struct luks luks;
	int result;

	if (size > MAX_BYTES)
		return 0;
	result = luks_load(&luks, &store, &err);
	if (result) {
		if (!err.code || !err.msg[0])
			abort(); /* a failure without a message */
		return 0;
	}
	json_decref(luks_describe(&luks, NULL));
	if (!is_cheap(&luks))
		return 0;
	result = luks_unlock(&luks, &store, "abc", 3, key, &err);
	if (result < 0 && !err.msg[0])
		abort();
	return 0;
}
