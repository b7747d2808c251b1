/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef XUNI_DEVICE_PC_VMGENID_H
#define XUNI_DEVICE_PC_VMGENID_H

#include "core/device.h"

struct fw_cfg;
struct vmgenid;

extern const struct device_class vmgenid_class;

/* What firmware reserves memory for, and where it says where that is. */
#define VMGENID_GUID_FILE    "etc/vmgenid_guid"
#define VMGENID_ADDRESS_FILE "etc/vmgenid_addr"
/* The number's place in its page: what comes before keeps OVMF from taking it for a table. */
enum { VMGENID_OFFSET = 40, VMGENID_PAGE_BYTES = 4096 };

/* NULL when the device is of another class. */
struct vmgenid *vmgenid_of(struct device *device);
/* "324e6eaf-d1d1-4bf6-bf41-b9bb6c91fb87". */
void vmgenid_text(const struct vmgenid *v, char text[37]);
/* For firmware: the two files. Again after every reset. */
int vmgenid_add_files(struct vmgenid *v, struct fw_cfg *fw_cfg, struct error *err);
/* Without firmware: the number's address; writes it there. */
int vmgenid_place(struct vmgenid *v, uint64_t gpa, struct error *err);

#endif
