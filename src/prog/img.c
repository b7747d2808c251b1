/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xuni-img: disk images, with qemu-img's grammar. All of it is in src/img/. */
#include "img/img.h"

#include "backend/block/block.h"

#include <string.h>

int main(int argc, char **argv)
{
	const char *slash = argc ? strrchr(argv[0], '/') : NULL;
	struct img img = {.program = slash ? slash + 1 : argc ? argv[0] : "xuni-img", .out = stdout, .err = stderr};
	int status;

	img.graph = block_graph_new(NULL);
	status = img_main(&img, argc, argv);
	block_graph_free(img.graph);
	if (fflush(stdout) && !status)
		status = 1;
	return status;
}
