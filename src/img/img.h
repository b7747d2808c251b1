/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xuni-img as a library: one function a verb, with qemu-img's grammar, texts and exit codes. Prints into the files of
 * struct img; src/prog/img.c gives it the terminal.
 */
#ifndef XUNI_IMG_IMG_H
#define XUNI_IMG_IMG_H

#include <stdbool.h>
#include <stdio.h>

struct block_graph;

struct img {
	const char *program; /* before every message */
	FILE *out, *err;
	struct block_graph *graph;
	bool image_opts; /* --image-opts: names of images are lists of options */
};

struct img_verb {
	const char *name;
	int (*run)(struct img *img, int argc, char **argv); /* argv[0] is the verb; returns the exit status */
	const char *usage;                                  /* behind the name */
};

/* NULL-ended by name. */
extern const struct img_verb img_verbs[];

/* argv[0] is the program. Uses getopt. */
int img_main(struct img *img, int argc, char **argv);

#endif
