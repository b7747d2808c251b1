/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The server's life: its character back end, gdb's coming and going, what the machine does meanwhile. */
#include "control/gdb/gdb.h"

#include "base/log.h"
#include "base/util.h"
#include "control/gdb/internal.h"

#include <stdlib.h>
#include <string.h>

enum { SIGNAL_UNKNOWN = 143 };

static size_t can_receive(void *opaque)
{
	return GDB_PACKET_MAX;
}

static void receive(void *opaque, const uint8_t *data, size_t length)
{
	gdb_receive(opaque, data, length);
}

static void chardev_changed(void *opaque, enum chardev_event event)
{
	struct gdb *gdb = opaque;

	if (event == CHARDEV_OPENED) {
		gdb->open = gdb->acks = true;
		gdb->going = gdb->multiprocess = gdb->swbreak = gdb->hwbreak = gdb->physical_memory = false;
		gdb->step_bits = 7;
		gdb->cpu = gdb->go_cpu = gdb->monitor_cpu = gdb->monitor_thread = 0;
		gdb->receiving = GDB_IDLE;
		gdb->description = GDB_DESCRIBE_CPU;
		gdb_describe(gdb);
		gdb->sent_length = 0;
		if (gdb->machine->state == RUN_RUNNING)
			machine_stop(gdb->machine, RUN_PAUSED);
	} else if (event == CHARDEV_CLOSED && gdb->open) {
		/* A gdb that went without a word: the guest stands or runs as it does, but stops no more. */
		bool running = gdb->machine->state == RUN_RUNNING;

		gdb->open = gdb->going = false;
		if (running)
			machine_stop(gdb->machine, RUN_PAUSED);
		gdb_forget_points(gdb);
		if (running)
			machine_cont(gdb->machine, NULL);
	}
}

/* Why gdb is told that the machine stands still; a debugger's own points come by stopped(). */
static int signal_of(enum run_state state)
{
	switch (state) {
	case RUN_PAUSED:
		return GDB_SIGNAL_INT;
	case RUN_SHUTDOWN:
		return GDB_SIGNAL_QUIT;
	case RUN_IO_ERROR:
		return GDB_SIGNAL_STOP;
	case RUN_WATCHDOG:
		return GDB_SIGNAL_ALRM;
	case RUN_INTERNAL_ERROR:
		return GDB_SIGNAL_ABRT;
	default:
		return SIGNAL_UNKNOWN;
	}
}

static void machine_event(void *opaque, const char *name, const char *data_json)
{
	struct gdb *gdb = opaque;

	if (strcmp(name, "STOP") == 0 && gdb->machine->state != RUN_DEBUG)
		gdb_stopped(gdb, signal_of(gdb->machine->state));
}

static void vcpu_stopped(void *opaque, struct vcpu *vcpu)
{
	gdb_stopped_at(opaque, vcpu);
}

static int serve(void *opaque, const char *device, struct error *err)
{
	return gdb_serve(opaque, device, err);
}

struct gdb *gdb_new(struct machine *machine)
{
	struct gdb *gdb = xcalloc(1, sizeof(*gdb));

	gdb->machine = machine;
	gdb->step_bits = 7;
	gdb->listener = (struct machine_listener){.event = machine_event, .opaque = gdb};
	machine_listen(machine, &gdb->listener);
	gdb->debugger = (struct machine_debugger){.stopped = vcpu_stopped, .serve = serve, .opaque = gdb};
	machine->debugger = &gdb->debugger;
	return gdb;
}

static void end_serving(struct gdb *gdb)
{
	if (!gdb->chardev)
		return;
	chardev_changed(gdb, CHARDEV_CLOSED);
	chardev_detach(gdb->chardev);
	gdb->chardev = NULL;
	if (gdb->owned)
		chardev_close(gdb->owned);
	gdb->owned = NULL;
}

void gdb_free(struct gdb *gdb)
{
	if (!gdb)
		return;
	if (gdb->open)
		gdb_send(gdb, "W00", 3);
	gdb->machine->debugger = NULL;
	machine_unlisten(gdb->machine, &gdb->listener);
	/* The machine ends: nothing goes on. */
	gdb->open = false;
	end_serving(gdb);
	gdb_registers_free(gdb->registers);
	free(gdb);
}

/* A socket listens, and waits for nobody, unless it is told otherwise. */
static void listen_by_default(struct options *options)
{
	static const char *const defaults[][2] = {{"server", "on"}, {"wait", "off"}};

	for (size_t i = 0; i < ARRAY_SIZE(defaults); i++) {
		bool said = false;

		for (size_t j = 0; j < options->count; j++)
			said |= strcmp(options->items[j].key, defaults[i][0]) == 0 ||
				(i == 1 && strcmp(options->items[j].key, "server") == 0 &&
				 strcmp(options->items[j].value, "off") == 0);
		if (!said)
			options_add(options, defaults[i][0], defaults[i][1]);
	}
}

static struct chardev *open_device(struct gdb *gdb, const char *device, struct error *err)
{
	struct chardev *chardev = NULL;
	struct options options = {0};
	char *type = NULL;
	bool mux = false;

	if (chardev_parse_legacy(device, &type, &options, &mux, err) == 0 && type) {
		if (strcmp(type, "socket") == 0)
			listen_by_default(&options);
		chardev = chardev_open(type, "gdb", &options, gdb->machine->loop, gdb->machine->log, NULL, err);
	}
	options_free(&options);
	free(type);
	return chardev;
}

int gdb_serve(struct gdb *gdb, const char *device, struct error *err)
{
	static const char prefix[] = "chardev:";
	const struct chardev_front front = {.can_receive = can_receive,
					    .receive = receive,
					    .event = chardev_changed,
					    .opaque = gdb,
					    .background = true};
	struct chardev *chardev;

	if (gdb->executing)
		return error_set(err, EBUSY, "gdb cannot move the server that it talks to; use another monitor");
	end_serving(gdb);
	gdb->description = GDB_DESCRIBE_CPU;
	gdb_describe(gdb);
	if (strcmp(device, "none") == 0)
		return 0;
	if (strncmp(device, prefix, strlen(prefix)) == 0) {
		chardev = machine_chardev(gdb->machine, device + strlen(prefix));
		if (!chardev)
			return error_set(err, ENOENT, "there is no chardev '%s'", device + strlen(prefix));
	} else {
		chardev = gdb->owned = open_device(gdb, device, err);
		if (!chardev)
			return -EINVAL;
	}
	gdb->chardev = chardev_attach(chardev, &front, err);
	if (gdb->chardev)
		return 0;
	if (gdb->owned)
		chardev_close(gdb->owned);
	gdb->owned = NULL;
	return -EBUSY;
}
