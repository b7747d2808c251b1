/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An image whose format is found in its first bytes: each format's, raw bytes that are written to, and what is refused. */
#include "image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return image_fuzz(NULL, data, size);
}
