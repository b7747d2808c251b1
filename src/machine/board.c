/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/util.h"
#include "machine/internal.h"

static const struct board *const boards[] = {&board_pc, NULL};

const struct board *board_find(const char *name, struct error *err)
{
	for (size_t i = 0; boards[i]; i++)
		if (!strcmp(boards[i]->name, name))
			return boards[i];
	error_set(err, EINVAL, "-machine %s: no such board; there is: pc", name);
	return NULL;
}

const struct device_class **board_classes(const struct board *board)
{
	const struct device_class **classes = NULL;
	size_t count = 0;

	for (size_t group = 0; board->class_groups[group]; group++) {
		for (size_t i = 0; board->class_groups[group][i]; i++) {
			classes = xrealloc(classes, (count + 2) * sizeof(*classes));
			classes[count++] = board->class_groups[group][i];
			classes[count] = NULL;
		}
	}
	return classes ? classes : xcalloc(1, sizeof(*classes));
}

const struct device_class **machine_board_classes(const char *board_name, struct error *err)
{
	const struct board *board = board_find(board_name, err);

	return board ? board_classes(board) : NULL;
}
