/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "img/internal.h"

int img_verb_commit(struct img *img, int argc, char **argv)
{
	return img_fail(img, "commit is not supported yet");
}
