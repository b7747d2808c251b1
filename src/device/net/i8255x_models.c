/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 8255x family: what PCI identifier and revision promise to drivers. */
#include "device/net/i8255x.h"
#include "device/net/net_devices.h"

static const struct property properties[] = {
	NIC_PROPERTIES(struct i8255x, nic),
	PCI_ROMFILE_PROPERTY(struct i8255x, pci, "pxe-eepro100.rom"),
	{.name = NULL},
};

/* Counters: 64 bytes in the 82557, with pause frames from the 82558 on, with TCO frames from the 82559 on. */
#define MODEL(SYMBOL, NAME, HELP, DEVICE, REVISION, COUNTER_BYTES, EXTENDED)                                           \
	static const struct i8255x_model SYMBOL##_model = {.pci = {.vendor = 0x8086,                                   \
								   .device = DEVICE,                                   \
								   .subsystem_vendor = 0x1af4,                         \
								   .subsystem = 0x1100,                                \
								   .class_code = 0x020000,                             \
								   .revision = REVISION,                               \
								   .interrupt_pin = 1},                                \
							   .counter_bytes = COUNTER_BYTES,                             \
							   .extended_tcb = EXTENDED};                                  \
	const struct device_class SYMBOL##_class = {.name = NAME,                                                      \
						    .help = HELP,                                                      \
						    .bus = DEVICE_PCI,                                                 \
						    .size = sizeof(struct i8255x),                                     \
						    .properties = properties,                                          \
						    .state = &i8255x_state,                                            \
						    .init = i8255x_init,                                               \
						    .reset = i8255x_reset,                                             \
						    .fini = i8255x_fini,                                               \
						    .bus_class = &SYMBOL##_model}

MODEL(i82550, "i82550", "Intel i82550 Ethernet", 0x1229, 0x0e, 80, true);
MODEL(i82551, "i82551", "Intel i82551 Ethernet", 0x1209, 0x0f, 80, true);
MODEL(i82557a, "i82557a", "Intel i82557A Ethernet", 0x1229, 0x01, 64, false);
MODEL(i82557b, "i82557b", "Intel i82557B Ethernet", 0x1229, 0x02, 64, false);
MODEL(i82557c, "i82557c", "Intel i82557C Ethernet", 0x1229, 0x03, 64, false);
MODEL(i82558a, "i82558a", "Intel i82558A Ethernet", 0x1229, 0x04, 76, true);
MODEL(i82558b, "i82558b", "Intel i82558B Ethernet", 0x1229, 0x05, 76, true);
MODEL(i82559a, "i82559a", "Intel i82559A Ethernet", 0x1229, 0x06, 80, true);
MODEL(i82559b, "i82559b", "Intel i82559B Ethernet", 0x1229, 0x07, 80, true);
MODEL(i82559c, "i82559c", "Intel i82559C Ethernet", 0x1229, 0x08, 80, true);
MODEL(i82559er, "i82559er", "Intel i82559ER Ethernet", 0x1209, 0x09, 80, true);
MODEL(i82562, "i82562", "Intel i82562 Ethernet", 0x1209, 0x0e, 80, true);
MODEL(i82801, "i82801", "Intel i82801 Ethernet", 0x2449, 0x03, 80, true);
