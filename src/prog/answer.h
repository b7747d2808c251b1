/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Texts that the command line can ask for instead of a machine: -help, -version, -device help, ... */
#ifndef XUNI_PROG_ANSWER_H
#define XUNI_PROG_ANSWER_H

#include "config/argv.h"

/* Prints to standard output. config: as far as it was read. */
int answer_print(const struct config_request *request, const struct domain_config *config, struct error *err);

#endif
