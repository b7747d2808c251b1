/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return image_fuzz("qcow", data, size);
}
