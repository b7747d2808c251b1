/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "img/internal.h"

int img_verb_bench(struct img *img, int argc, char **argv)
{
	return img_fail(img, "bench is not supported yet");
}
