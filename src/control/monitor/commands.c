/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "control/monitor/commands.h"

const struct command *const command_groups[] = {
	commands_control, commands_query, commands_topology, commands_disks, commands_disk_change, commands_media, commands_backends, commands_devices, commands_input, commands_vnc, commands_memory, commands_mtree, commands_dump, commands_absent, commands_paging, commands_display, commands_jit, NULL};
