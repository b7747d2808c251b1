/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a machine is to be: the one immutable description that every dialect (qemu's command line, -readconfig, later
 * xl.cfg, libvirt XML, JSON) is turned into and that the machine is built from. Everything that can be checked without
 * touching the host has been checked when this exists.
 */
#ifndef XUNI_CONFIG_DOMAIN_H
#define XUNI_CONFIG_DOMAIN_H

#include "base/error.h"
#include "base/options.h"

#include <stddef.h>
#include <stdint.h>
#include <time.h>

enum { DOMAIN_MAX_VCPUS = 64 };

/* One thing with a type, an id and parameters: a device, netdev, chardev, object, block node, SMBIOS or fw_cfg entry.
 * Ids are unique within a list; those made up here begin with '#' where a person cannot have typed them. The old
 * spellings arrive as what they mean: -serial N is a chardev "serialN" and a device isa-serial,index=N,chardev=serialN;
 * -debugcon a device isa-debugcon; -nic and -net a netdev and a device. Defaults (without -nodefaults) likewise. */
struct config_item {
	char *type;             /* driver, or qom type; for -blockdev the driver; smbios: NULL; fw_cfg: the name */
	char *id;               /* or NULL; for -blockdev the node-name */
	struct options options; /* without type and id */
	char *typed; /* for messages: the other option that brought it, "-nic user,model=foo"; NULL: its own, or a default */
	bool nic;    /* a device that -nic or -net nic named: it must be a network card */
};

struct config_list {
	struct config_item *items;
	size_t count;
};

enum drive_interface { DRIVE_NONE, DRIVE_VIRTIO, DRIVE_IDE, DRIVE_SCSI, DRIVE_FLOPPY, DRIVE_PFLASH };

/* -drive, -hda, -cdrom, ...: a block node plus how it is attached. For DRIVE_VIRTIO `devices` holds a virtio-blk-pci
 * with drive=ID already, for DRIVE_IDE an ide-hd or ide-cd; DRIVE_NONE is attached by a -device with drive=ID: the machine
 * only opens the node. Others are refused until there are such controllers. What concerns the device (serial, werror, rerror, write cache) is in its
 * options. */
struct drive_config {
	char *id; /* never NULL: qemu's default names, "ide0-hd0", "virtio0" */
	char *typed; /* for messages: "-hda FILE"; NULL: a default */
	enum drive_interface interface;
	int bus, unit; /* where index= or "next free" lands; never -1 */
	char *file;    /* may be NULL: an empty removable drive */
	char *format;  /* NULL: probe */
	bool cdrom;
	bool read_only;
	bool snapshot, snapshot_given;
	bool copy_on_read;
	bool cache_direct, cache_no_flush, cache_writeback;
	char *aio; /* NULL: best */
	bool discard_unmap;
	char *node_name; /* or NULL */
	char *serial;
	char *werror, *rerror;
	/* What goes to the image's node as it is (detect-zeroes, file.driver, backing...), and throttling.*. */
	struct options rest;
};

struct monitor_config {
	char *chardev; /* id */
	bool qmp;
	bool pretty;
};

struct rtc_config {
	enum { RTC_BASE_UTC, RTC_BASE_LOCALTIME, RTC_BASE_DATE } base;
	time_t date; /* RTC_BASE_DATE */
	enum { RTC_CLOCK_HOST, RTC_CLOCK_VM, RTC_CLOCK_RT } clock;
	bool drift_slew;
};

enum watchdog_action {
	WATCHDOG_RESET,
	WATCHDOG_SHUTDOWN,
	WATCHDOG_POWEROFF,
	WATCHDOG_INJECT_NMI,
	WATCHDOG_PAUSE,
	WATCHDOG_DEBUG,
	WATCHDOG_NONE,
};
/* NULL-ended. */
extern const char *const watchdog_action_names[];

/* -action panic=, in the order of panic_action_names, which ends with NULL. */
enum panic_action { PANIC_SHUTDOWN, PANIC_PAUSE, PANIC_EXIT_FAILURE, PANIC_NONE };
extern const char *const panic_action_names[];

struct domain_config {
	char *name;         /* NULL: none */
	char *process_name; /* -name process=: what ps shows; NULL: leave it */
	bool debug_threads; /* -name debug-threads=on: threads get names (they have them anyway) */
	char *uuid;         /* 36 characters, or NULL */
	char *board;        /* "pc", "microvm", "none" (aliases resolved) */
	/* -machine's other keys: kernel-irqchip, acpi, usb, graphics, memory-backend ... */
	struct options board_options;
	char **accels; /* in order; NULL-ended; empty: the default order */
	struct options accel_options;
	char *cpu; /* -cpu as typed; NULL: default */
	uint64_t ram_bytes;
	bool ram_prealloc; /* -mem-prealloc */
	char *ram_path;    /* -mem-path */
	unsigned vcpus, max_vcpus, sockets, dies, cores, threads;

	char *kernel, *initrd, *append, *dtb, *bios;
	bool firmware; /* the machine starts by firmware: no kernel, or -bios or a flash chip is given with it */
	char **firmware_dirs; /* -L, in order; NULL-ended or NULL */
	struct drive_config *drives;
	size_t drive_count;
	struct config_list blockdevs, devices, netdevs, chardevs, objects, smbios, fw_cfg, option_roms;
	struct options globals; /* key "class.property" */
	struct monitor_config *monitors;
	size_t monitor_count;
	char *boot_order, *boot_once; /* letters a, b, c, d, n; NULL: default */
	bool boot_menu, boot_strict;
	char *boot_splash;     /* a picture for the boot menu; NULL: none */
	int boot_menu_wait_ms; /* -boot splash-time=; -1: the firmware's own */
	int boot_fail_wait_ms; /* -boot reboot-timeout=; -1: never */
	struct rtc_config rtc;
	enum panic_action panic_action;
	enum watchdog_action watchdog_action;

	bool no_reboot, no_shutdown, start_paused, snapshot, daemonize, no_defaults, no_graphic, no_user_config;
	char *keyboard; /* -k: name of a key map, or NULL */
	char *display; /* -display's type, "none" included, or NULL */
	/* User interfaces to open, in this order: of -display, -vnc, -curses; type "vnc" has its address in the key "vnc". */
	struct config_list displays; /* id NULL: the one of -display */
	char *vga; /* the board's own card: "none", "std", "cirrus"; never NULL */
	char *pidfile, *run_as, *chroot_dir;
	char *incoming;
	char *gdb;                          /* device for gdbstub or NULL */
	bool stepped;                       /* -icount: deterministic clock */
	uint32_t log_items;                 /* -d, -v, -trace: enum log_item */
	char *log_path;                     /* -D */
	bool perf_map;                      /* -perfmap */
	char **trace_patterns;              /* NULL-ended or NULL */
	bool msg_timestamp, msg_guest_name; /* -msg: what messages to people begin with */
};

/* qemu's defaults: board pc, 128 MiB, one CPU. */
void domain_config_init(struct domain_config *config);
/* Frees what the structure holds, not the structure. */
void domain_config_free(struct domain_config *config);

/* Takes over the contents of options. id may be NULL. The returned item is valid until the next one is added. */
struct config_item *config_list_add(struct config_list *list, const char *type, const char *id,
				    struct options *options);
struct config_item *config_list_find(const struct config_list *list, const char *id);

#endif
