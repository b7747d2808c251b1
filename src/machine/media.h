/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Media of drives, as people and QMP clients change them. Main loop thread. Errors are in qemu's words. */
#ifndef XUNI_MACHINE_MEDIA_H
#define XUNI_MACHINE_MEDIA_H

#include "base/error.h"

#include <stdbool.h>

struct block;
struct device;
struct machine;

/* qemu's path of a device ("/machine/peripheral/ID"); heap. */
char *machine_device_path(const struct machine *machine, const struct device *device);
/* What queries call the device of a disk; heap. */
char *machine_disk_name(const struct machine *machine, const struct device *device);

/* The drive with removable media that the id of its -drive, or its own id or path, names; either may be NULL. */
struct device *media_find(struct machine *machine, const char *drive, const char *id, struct error *err);

/* Opens the tray. Locked and not forced: the guest is asked, -EINPROGRESS. Without a tray: nothing, 0. */
int media_open_tray(struct machine *machine, struct device *device, const char *name, bool force, struct error *err);
void media_close_tray(struct machine *machine, struct device *device);
/* The tray, where there is one, must be open. */
int media_remove(struct machine *machine, struct device *device, const char *name, struct error *err);
int media_insert(struct machine *machine, struct device *device, const char *name, struct block *block,
		 struct error *err);
/* Opens an image and puts it in, tray and all. mode: "retain", "read-only", "read-write". */
int media_change(struct machine *machine, struct device *device, const char *name, const char *filename,
		 const char *format, const char *mode, bool force, struct error *err);

#endif
