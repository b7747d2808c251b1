/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A device: one const class per model, one structure per instance that begins with struct device. A device meets the
 * machine only through its device_env (buses, RAM, clock, loop, log, wires) and through what its bus kind adds
 * (struct pci_device, ...). The registry is one explicit array of classes per board.
 */
#ifndef XUNI_CORE_DEVICE_H
#define XUNI_CORE_DEVICE_H

#include "base/error.h"
#include "base/log.h"
#include "base/options.h"
#include "core/irq.h"

#include <stddef.h>
#include <stdint.h>

struct bus;
struct clock;
struct device;
struct isa_dma;
struct display;
struct input;
struct loop;
struct ram;
struct state_table;

enum device_bus {
	DEVICE_SYSTEM,
	DEVICE_ISA,
	DEVICE_PCI,
	DEVICE_VIRTIO_SERIAL,
	DEVICE_IDE,
	DEVICE_FLOPPY,
	DEVICE_SCSI,
	DEVICE_USB,
	DEVICE_BUS_KINDS,
};

enum property_type {
	PROPERTY_BOOL,   /* bool */
	PROPERTY_U8,     /* uint8_t; likewise below */
	PROPERTY_U16,
	PROPERTY_U32,
	PROPERTY_U64,
	PROPERTY_I32,    /* int32_t */
	PROPERTY_SIZE,   /* uint64_t, accepts K M G T */
	PROPERTY_STRING, /* char *, owned by the device */
	PROPERTY_ONOFFAUTO, /* int: 0 off, 1 on, -1 auto */
	PROPERTY_MAC,    /* uint8_t[6] */
	PROPERTY_BLOCK,  /* struct block *: id of a -drive or -blockdev */
	PROPERTY_MEDIUM, /* the same, of a drive that may be empty: NULL then */
	PROPERTY_NET,    /* struct net_backend *: id of a -netdev */
	PROPERTY_CHAR,   /* struct chardev *: id of a -chardev */
	PROPERTY_OBJECT, /* void *: id of an -object; checked by the device's init */
};

/* One row gives parsing, -device NAME,help, -global and documentation. */
struct property {
	const char *name;
	enum property_type type;
	uint32_t offset;
	const char *fallback; /* default in text form; NULL: zero */
	uint64_t max;         /* for numbers; 0: the type's own */
	const char *help;
};

/* For the classes that can be booted from; their init sets boot_name. */
#define DEVICE_BOOTINDEX_PROPERTY                                                                                      \
	{                                                                                                              \
		.name = "bootindex", .type = PROPERTY_I32, .offset = offsetof(struct device, bootindex),              \
		.fallback = "-1", .help = "place in the firmware's boot order"                                         \
	}

/* Resolves ids of back ends for properties; implemented by the machine. The result stays owned by the machine;
 * NULL and *err when there is none such or it is already in use by another device; ENOMEDIUM: a drive without an image. */
struct backend_lookup {
	void *(*find)(void *opaque, enum property_type type, const char *id, struct device *user, struct error *err);
	/* The device is gone (or its creation failed): all it holds is free again. May be NULL. */
	void (*release)(void *opaque, struct device *user);
	void *opaque;
};

/* What a kind of bus adds to every device on it; the owner of the bus (device/pci for DEVICE_PCI) defines one const
 * table and the board points device_env.bus_ops[kind] to it. A kind without a table needs nothing done. */
struct device_bus_ops {
	/* Options of every device on the bus (addr=...), beside the class' own; offsets into the bus' device structure
	 * (struct pci_device). NULL: none. */
	const struct property *properties;
	/* After all properties are set and before class->init: takes a place on the bus. On failure it leaves nothing
	 * behind. device->bus_name is what bus= said, or NULL. */
	int (*attach)(struct device *device, struct error *err);
	/* After class->fini, or when class->init failed: undoes attach. */
	void (*detach)(struct device *device);
	/* Before class->reset; may be NULL. */
	void (*reset)(struct device *device);
	/* Where the device is, in the terms of OpenFirmware and as qemu writes it ("/pci@i0cf8/ide@1,1/drive@0"), for the
	 * firmware's boot order; heap. NULL: nothing on this bus boots. */
	char *(*boot_path)(const struct device *device);
};

/* What the board gives to every device it makes. */
struct device_env {
	struct log *log;
	struct loop *loop;   /* the main loop */
	struct clock *clock;
	struct ram *ram;
	struct bus *io;
	struct bus *memory;
	struct input *input; /* backend/display/input.h: where keys and movements come from; NULL: nowhere */
	struct msi_sink msi;
	/* The 16 ISA interrupt lines (each reaches 8259 and IOAPIC). */
	struct irq isa_irq[16];
	struct backend_lookup backends;
	struct display *display; /* where display devices put their consoles */
	void *pci_bus;       /* struct pci_bus * of the root bus, for DEVICE_PCI */
	void *ata_ports;     /* struct ata_port_list *, for DEVICE_IDE */
	void *scsi_buses;    /* struct scsi_bus_list *, for DEVICE_SCSI */
	void *floppy_controller; /* struct fdc *, for DEVICE_FLOPPY */
	const struct isa_dma *isa_dma; /* core/isa_dma.h; NULL: none */
	const struct device_bus_ops *bus_ops[DEVICE_BUS_KINDS]; /* NULL where the kind needs nothing done */
	/* Requests to the machine; any thread. */
	void (*request)(void *opaque, int request /* enum machine_request */, int argument);
	void *request_opaque;
	/* Option ROMs: the path of the file that romfile= names, heap; NULL and *err when there is none. NULL: as given. */
	char *(*find_rom)(void *opaque, const char *name, struct error *err);
	void *find_rom_opaque;
	bool firmware;       /* the machine starts with firmware: who has an option ROM shows it */
	bool eventfds;       /* doorbells should go through eventfd to the loop (true except in deterministic runs) */
};

/* What a device may ask of its machine. */
enum machine_request {
	MACHINE_RESET,        /* reset everything */
	MACHINE_POWER_OFF,    /* ACPI S5 */
	MACHINE_SUSPEND,      /* ACPI S3 */
	MACHINE_DEBUG_EXIT,   /* isa-debug-exit: end the VMM with exit status `argument` */
	MACHINE_PANIC,        /* the guest reports that it crashed; argument 1: and that a crash kernel takes over */
	MACHINE_A20,          /* argument: level of the A20 gate */
	MACHINE_WATCHDOG,     /* a watchdog has run out */
	MACHINE_BALLOON_CHANGED,
	MACHINE_TRAY_MOVED,   /* the guest opened or closed the tray of a drive */
	MACHINE_IO_ERROR,     /* a disk with werror or rerror=stop failed: stop in "io-error"; it retries after cont */
};

struct block;

/* What is to be said of a drive whose medium can be taken out. */
struct device_medium {
	struct block *block; /* NULL: none */
	bool has_tray, tray_open, locked;
};

/* Drives with such media. Control thread. */
struct device_medium_ops {
	void (*get)(const struct device *device, struct device_medium *medium);
	/* By hand: opens or closes the tray. */
	void (*move_tray)(struct device *device, bool open);
	/* Puts in another medium or, with NULL, takes it out; nothing of the old one is in use when it returns. */
	int (*set)(struct device *device, struct block *block, struct error *err);
	/* Somebody pressed the button of a locked drive: the guest hears of it. May be NULL. */
	void (*ask_eject)(struct device *device);
	/* True once after the guest moved the tray (MACHINE_TRAY_MOVED). NULL: it cannot. */
	bool (*moved)(struct device *device);
};

struct device_class {
	const char *name;   /* as typed after -device */
	const char *alias;  /* a second accepted name, or NULL */
	const char *help;
	enum device_bus bus;
	bool internal;      /* made by the board only: not offered by -device */
	size_t size;        /* of the instance; it begins with struct device (or struct pci_device, ...) */
	const struct property *properties; /* ended by name NULL; may be NULL */
	const struct state_table *state;
	/* Properties are set. Adds regions, claims back ends. On failure it leaves nothing behind. */
	int (*init)(struct device *device, struct error *err);
	/* Power-on and machine reset; vCPUs stand still. */
	void (*reset)(struct device *device);
	/* Unplug or end of the machine: undoes init; no callback of the device is running any more. May be NULL. */
	void (*fini)(struct device *device);
	/* Bus-specific constants (struct pci_class, ...) or NULL. */
	const void *bus_class;
	const struct device_medium_ops *medium; /* NULL: it has none, or one for good */
};

struct device {
	const struct device_class *class;
	char *id;        /* as given, or NULL */
	char *bus_name;  /* bus=, or NULL */
	/* Whose bus it is on and that bus' name (the owner's), set by the bus' attach; NULL: one of the board's own. */
	const struct device *parent;
	const char *parent_bus;
	int32_t bootindex; /* place in the firmware's boot order; -1: none */
	const char *boot_name; /* of what can be booted from: what follows the bus' boot_path ("/disk@0,0"); set by init */
	const struct device_env *env;
	struct device *next; /* the machine's list */
};

/* Allocates, applies defaults, globals ("class.prop=value" list; may be NULL) and options, attaches to the bus and calls
 * init. id, bus and the bus' own keys are taken from options too (may be NULL); an unused key is an error naming the
 * nearest property. Marks the globals that applied as used. */
struct device *device_create(const struct device_class *class, const struct device_env *env, struct options *options,
                             struct options *globals, struct error *err);
void device_destroy(struct device *device);
void device_reset(struct device *device);

/* The same in two steps, for devices that a board makes with a constructor of their own (i8259_new...): alloc applies
 * the defaults, the constructor fills in wires and parameters, realize attaches and calls init. realize frees the
 * device when it fails; returns 0 or -errno. */
struct device *device_alloc(const struct device_class *class, const struct device_env *env);
int device_realize(struct device *device, struct error *err);

/* Sets one property from its text form; -ENOENT when neither class nor bus has it. Before realize. */
int device_set_property(struct device *device, const char *name, const char *value, struct error *err);

/* The properties of a class and behind them those of its bus (ops: NULL for none), from index 0; what the class has of its
 * own instead of the bus is not repeated. NULL: no more. */
const struct property *device_property_at(const struct device_class *class, const struct device_bus_ops *ops, size_t index);
/* The type's name in lists for people and programs, as qemu's. */
const char *property_type_name(enum property_type type);

/* The class of that name or alias in a NULL-ended array. */
const struct device_class *device_class_find(const struct device_class *const *classes, const char *name);

#endif
