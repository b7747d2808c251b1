/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-kvm's command line (qemu's manual, "Invocation") -> struct domain_config. Nothing here opens what the options
 * name, except files that are part of the command line itself (-readconfig).
 */
#ifndef XUNI_CONFIG_ARGV_H
#define XUNI_CONFIG_ARGV_H

#include "config/domain.h"

/* What the person asks for: a machine, or a text. Texts about things that live in other folders (device classes, CPU
 * models, back ends) are the caller's to write. */
enum config_ask {
	ASK_RUN,
	ASK_HELP,
	ASK_VERSION,
	ASK_MACHINES,
	ASK_CPUS,
	ASK_ACCELS,
	ASK_DEVICES,
	ASK_DEVICE, /* properties of config_request.name */
	ASK_NETDEVS,
	ASK_NIC_MODELS,
	ASK_CHARDEVS,
	ASK_OBJECTS,
	ASK_OBJECT, /* properties of config_request.name */
	ASK_LOG_ITEMS,
	ASK_TRACE_EVENTS,
	ASK_DISPLAYS,
	ASK_VGAS,
	ASK_FIRMWARE_DIRS,
	ASK_KEY, /* what -help says of the option config_request.name */
};

struct config_request {
	enum config_ask ask;
	char *name; /* freed by the caller */
};

/* Fills *config (initialised here; to be freed by the caller whatever is returned) from argv[1..argc-1]. When
 * request->ask is not ASK_RUN, parsing stopped there and *config is not complete. On failure the message begins with
 * the option as typed: "-drive if=virtioo: ...". */
int config_from_argv(struct domain_config *config, struct config_request *request, int argc, char *const *argv,
		     struct error *err);

#endif
