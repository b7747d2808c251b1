/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A running machine: built from a domain_config, it owns RAM, buses, clock, engine, vCPU threads, back ends and
 * devices. Everything here is called in the main loop's thread unless said otherwise.
 */
#ifndef XUNI_MACHINE_MACHINE_H
#define XUNI_MACHINE_MACHINE_H

#include "base/error.h"
#include "base/options.h"
#include "core/debug.h"
#include "core/device.h"
#include "core/x86_state.h"

struct block;
struct block_graph;
struct bus;
struct chardev;
struct clock;
struct domain_config;
struct engine;
struct input;
struct loop;
struct machine;
struct net_backend;
struct ram;
struct display;
struct display_ui;
struct vcpu;

/* QMP's RunState names, as far as this machine has them. */
enum run_state {
	RUN_PRELAUNCH,      /* "prelaunch": -S */
	RUN_RUNNING,        /* "running" */
	RUN_PAUSED,         /* "paused": stop */
	RUN_SHUTDOWN,       /* "shutdown": guest powered off, -no-shutdown */
	RUN_PANICKED,       /* "guest-panicked" */
	RUN_INTERNAL_ERROR, /* "internal-error" */
	RUN_IO_ERROR,       /* "io-error" */
	RUN_SUSPENDED,      /* "suspended" */
	RUN_WATCHDOG,       /* "watchdog" */
	RUN_DEBUG,          /* "debug" */
};
const char *run_state_name(enum run_state state);

/* Why the machine ends; also `reason` of the SHUTDOWN event. */
enum shutdown_cause {
	SHUTDOWN_NONE,
	SHUTDOWN_HOST_QMP_QUIT, SHUTDOWN_HOST_QMP_RESET, SHUTDOWN_HOST_SIGNAL, SHUTDOWN_HOST_UI,
	SHUTDOWN_GUEST_SHUTDOWN, SHUTDOWN_GUEST_RESET, SHUTDOWN_GUEST_PANIC, SHUTDOWN_HOST_ERROR,
	SHUTDOWN_DEBUG_EXIT,
};
const char *shutdown_cause_name(enum shutdown_cause cause);

/* What a QMP client hears about; data is a JSON object text or NULL. Main loop thread. */
struct machine_listener {
	void (*event)(void *opaque, const char *name, const char *data_json);
	void *opaque;
	struct machine_listener *next;
};

/* Who debugs the guest (control/gdb). Called in the main loop's thread. */
struct machine_debugger {
	/* A vCPU met a point or ended its step; the machine stands still in RUN_DEBUG. */
	void (*stopped)(void *opaque, struct vcpu *vcpu);
	/* The monitor's gdbserver: listens on another device ("tcp::1234"); "none": on nothing. */
	int (*serve)(void *opaque, const char *device, struct error *err);
	void *opaque;
};

/* How the last dump-guest-memory ended; bytes of memory. */
enum machine_dump_state { MACHINE_DUMP_NONE, MACHINE_DUMP_COMPLETED, MACHINE_DUMP_FAILED };
struct machine_dump {
	enum machine_dump_state state;
	uint64_t total, completed;
};

struct machine {
	const struct domain_config *config;
	struct log *log;
	struct loop *loop;
	struct clock *clock;
	struct ram *ram;
	struct bus *io, *memory;
	struct engine *engine;
	struct input *input;
	struct vcpu **vcpus;
	unsigned vcpu_count;
	struct block_graph *blocks;
	struct device_env env;
	struct device *devices;      /* list */
	const struct device_class **device_classes; /* what -device offers; NULL-ended */
	enum run_state state;
	struct machine_dump dump;
	struct machine_listener *listeners;
	const struct machine_debugger *debugger; /* may be NULL */
	struct machine_private *private_data;
};

/* Why each engine that was tried before the chosen one was passed over; one line each, for -v and `info accel`. */
const char *machine_accel_report(const struct machine *machine);

/* What -device offers on a board, as one NULL-ended array (heap, the caller's); for -device help. */
const struct device_class **machine_board_classes(const char *board_name, struct error *err);

/* May -nic model= name it? */
bool machine_nic_model(const struct device_class *class);

/* Builds everything; no guest code has run when it returns. The config outlives the machine. */
struct machine *machine_new(const struct domain_config *config, struct loop *loop, struct log *log, struct error *err);
void machine_free(struct machine *machine);
/* Starts (unless -S) and runs the loop until the machine ends; returns the process' exit status. */
int machine_run(struct machine *machine);

void machine_stop(struct machine *machine, enum run_state state); /* all vCPUs are outside run when it returns */
int machine_cont(struct machine *machine, struct error *err);
/* As machine_cont, but each vCPU goes on as steps[its index] says. clock: time goes on, too. */
int machine_cont_debug(struct machine *machine, const enum debug_step *steps, bool clock, struct error *err);
/* Any thread for the next three. */
void machine_request_reset(struct machine *machine, enum shutdown_cause cause);
void machine_request_powerdown(struct machine *machine); /* presses the ACPI power button */
void machine_request_quit(struct machine *machine, enum shutdown_cause cause);
void machine_nmi(struct machine *machine);
/* What happens from now on (-action said it until now). */
struct machine_actions {
	bool no_reboot, no_shutdown;
	int panic;    /* enum panic_action */
	int watchdog; /* enum watchdog_action */
};
struct machine_actions machine_actions(const struct machine *machine);
void machine_set_actions(struct machine *machine, struct machine_actions actions);
/* Letters as after -boot order=, for the next time the firmware looks. */
int machine_set_boot_order(struct machine *machine, const char *letters, struct error *err);

/* Firmware, option ROMs, and files that firmware is given; index from 0 until false. */
struct rom_info {
	const char *name;
	const char *file; /* of fw_cfg; NULL: memory of its own */
	uint64_t gpa;     /* 0: a BAR that is not mapped, or a file */
	size_t bytes;
	unsigned devfn;   /* of a BAR, else 0 */
};
bool machine_rom_at(struct machine *machine, size_t index, struct rom_info *rom);

void machine_listen(struct machine *machine, struct machine_listener *listener);
void machine_unlisten(struct machine *machine, struct machine_listener *listener);
void machine_emit(struct machine *machine, const char *name, const char *data_json);

/* Runs fn in the vCPU's thread between two runs (the guest waits); used by `info registers` and friends. */
void machine_vcpu_call(struct machine *machine, struct vcpu *vcpu, void (*fn)(struct vcpu *vcpu, void *opaque), void *opaque);
/* Host thread id of the vCPU, for query-cpus-fast. */
int machine_vcpu_tid(const struct machine *machine, const struct vcpu *vcpu);
bool machine_vcpu_halted(const struct machine *machine, const struct vcpu *vcpu);

/* The id of the -drive that opened this node; NULL for nodes of -blockdev. */
const char *machine_drive_id(const struct machine *machine, const struct block *block);
/* The id of the -drive that a disk device was given, also while it is empty; or NULL. */
const char *machine_device_drive(const struct machine *machine, const struct device *device);
struct chardev *machine_chardev(struct machine *machine, const char *id);
/* The consoles of all display devices (backend/display/display.h). */
struct display *machine_display(struct machine *machine);
/* The user interfaces in the order of the command line; NULL behind the last. */
struct display_ui *machine_display_ui(struct machine *machine, unsigned index);
struct net_backend *machine_netdev(struct machine *machine, const char *id);
/* Iterators for `info`: index from 0 until NULL. */
struct chardev *machine_chardev_at(struct machine *machine, size_t index);
struct net_backend *machine_netdev_at(struct machine *machine, size_t index);

#endif
