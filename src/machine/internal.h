/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of src/machine/ share about a machine, beyond machine.h. */
#ifndef XUNI_MACHINE_INTERNAL_H
#define XUNI_MACHINE_INTERNAL_H

#include "base/loop.h"
#include "config/domain.h"
#include "core/cpuid.h"
#include "machine/boot/boot.h"
#include "machine/machine.h"
#include "machine/vcpu_thread.h"

#include <pthread.h>
#include <stdatomic.h>

struct backends;
struct chardev;
struct chardev_console;
struct board_state;
struct machine_private;

/* A board: what is soldered on. build runs with RAM, buses, clock, engine and vCPUs in place. */
struct board {
	const char *name;
	const char *help;
	/* Lays out RAM: maps slots. */
	int (*map_ram)(struct machine *machine, struct error *err);
	int (*build)(struct machine *machine, struct error *err);
	/* Once all devices exist: writes the tables that describe the machine (ACPI, SMBIOS) and says where they lie. Called
	 * again at every reset, since the guest may have overwritten its RAM. */
	int (*describe)(struct machine *machine, struct boot_board *out, struct error *err);
	void (*power_button)(struct machine *machine);
	/* May be NULL, as what follows. */
	int (*set_boot_order)(struct machine *machine, const char *letters, struct error *err);
	bool (*rom_at)(struct machine *machine, size_t index, struct rom_info *rom);
	void (*free)(struct machine *machine);
	/* What can be plugged into this board: class arrays (each NULL-ended), ended by NULL. */
	const struct device_class *const *const *class_groups;
};

extern const struct board board_pc;
const struct board *board_find(const char *name, struct error *err);
/* All classes of a board as one NULL-ended array; heap, the caller's. */
const struct device_class **board_classes(const struct board *board);

struct machine_private {
	const struct board *board;
	struct board_state *board_state;
	struct backends *backends;
	struct screens *screens;
	struct vcpu_crew *crew;
	char *accel_report;
	struct cpuid_table cpuid;
	struct boot *boot; /* the kernel that starts without firmware, or NULL */

	struct loop_timer clock_timer;
	_Atomic bool clock_rearm_posted;

	/* Requests of any thread, carried out by the main loop. */
	pthread_mutex_t request_lock;
	bool request_posted;
	bool want_reset, want_power_off, want_powerdown, want_debug_exit, want_quit, want_panic, want_failed,
		want_balloon_event, want_io_error_stop, want_tray_events;
	enum shutdown_cause reset_cause, quit_cause;
	struct error failure;
	bool want_watchdog, want_crash_loaded;
	struct machine_actions actions; /* under request_lock where another thread looks: panic */
	struct vcpu *debug_vcpu; /* met a debugger's point, or ended a step */
	int debug_exit_status;

	bool ended;
	enum shutdown_cause cause;
	int exit_status;
};

/* Adds to the machine's list of devices (reset in this order, destroyed in the opposite one). */
void machine_add_device(struct machine *machine, struct device *device);
/* Creates from a class name, as -device does. */
struct device *machine_create_device(struct machine *machine, const char *class_name, struct options *options,
                                     struct error *err);
/* A request of a device or a vCPU; any thread. */
void machine_device_request(void *opaque, int request, int argument);

/* --- machine.c, for build.c --- */
/* Runs the clock's due timers and arms the loop for the next; the waker asks for that from any thread. */
void machine_clock_serve(void *opaque);
void machine_clock_waker(void *opaque);
/* vcpu_report_fn: in the vCPU's thread. */
void machine_vcpu_reported(void *opaque, struct vcpu *vcpu, enum vcpu_exit why, const struct error *err);
void machine_reset_devices(struct machine *machine);
/* Puts what was loaded into RAM back and sets every vCPU's first state. vCPUs stand still. */
int machine_load(struct machine *machine, struct error *err);

/* text_screen.c: puts the first display adapter into a text mode; false: there is none. vCPUs stand still. */
bool machine_text_screen(struct machine *machine);
/* The font of the installed video BIOS: 256 glyphs of 16 lines; zero, which cannot be seen, where there is none. */
enum { MACHINE_FONT_BYTES = 4096 };
void machine_read_font(const struct machine *machine, uint8_t font[MACHINE_FONT_BYTES]);
/* text_console.c: for struct chardev_host, whose opaque is the machine. */
struct chardev_console *machine_text_console(void *opaque, struct chardev *chardev, uint16_t columns, uint16_t rows);

/* --- backends.c: everything that -chardev, -netdev, -drive, -blockdev and -object made --- */
struct backends *backends_open(struct machine *machine, struct error *err);
void backends_close(struct backends *backends);
/* disk_events.c: from now on failed requests are told as events. */
void machine_watch_disks(struct machine *machine);
struct backend_lookup backends_lookup(struct backends *backends);
/* media.c: tells of trays that guests moved. */
void machine_tell_trays(struct machine *machine);
/* Puts block into the drive, NULL: takes out what is there; the drive then holds a reference of its own where it was made
 * by -drive. */
bool backends_in_use(const struct machine *machine, const struct block *block);
int backends_set_medium(struct machine *machine, struct device *device, struct block *block, struct error *err);
struct object;
struct object *backends_object(struct backends *backends, const char *id);

#endif
