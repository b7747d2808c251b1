/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A client of the gdb server: any bytes at all, and packets with right checksums around the input's lines, against a
 * machine whose guest halts at once. What must hold: no crash, no hang, registers that the engine can go on with. The
 * monitor is out of it: what it does on the host is not for strangers.
 */
#include "fuzz.h"

#include "base/log.h"
#include "base/loop.h"
#include "base/util.h"
#include "config/argv.h"
#include "control/gdb/internal.h"
#include "control/monitor/monitor.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { INPUT_MOST = 1 << 16 };

/* What the vCPUs point to hangs on pages that the leak checker does not look at (interp_alloc). */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
	return 1;
}

char *monitor_human(struct machine *machine, unsigned *cpu, const char *line)
{
	return xstrdup(line);
}

/* A Multiboot kernel: hlt, and again. */
static char *make_kernel(void)
{
	static const uint32_t header[8] = {0x1badb002, 1 << 16, 0u - 0x1badb002 - (1 << 16), 0x100000, 0x100000, 0,
					   0,          0x100020};
	static const uint8_t code[480] = {0xf4, 0xeb, 0xfd};
	int fd = memfd_create("kernel", 0);

	if (write(fd, header, sizeof(header)) != sizeof(header) || write(fd, code, sizeof(code)) != sizeof(code))
		abort();
	return xasprintf("/proc/self/fd/%d", fd);
}

static struct gdb *build(void)
{
	static struct domain_config config;
	static struct log log = {.fd = -1};
	struct config_request request;
	struct error err = {0};
	char *kernel = make_kernel();
	const char *const argv[] = {"xuni-vmm", "-S", "-nodefaults", "-display", "none",    "-accel", "interp",
				    "-m",       "4",  "-smp",        "2",        "-kernel", kernel,   NULL};
	struct machine *machine;
	struct gdb *gdb;

	log.fd = memfd_create("log", 0);
	if (config_from_argv(&config, &request, ARRAY_SIZE(argv) - 1, (char **)argv, &err) < 0)
		abort();
	machine = machine_new(&config, loop_new(&err), &log, &err);
	if (!machine)
		abort();
	gdb = gdb_new(machine);
	if (gdb_serve(gdb, "none", &err) < 0)
		abort();
	return gdb;
}

static void packet(struct gdb *gdb, const uint8_t *data, size_t length)
{
	static const char digits[] = "0123456789abcdef";
	uint8_t sum = 0, end[3] = {'#'};

	for (size_t i = 0; i < length; i++)
		sum += data[i];
	end[1] = (uint8_t)digits[sum >> 4];
	end[2] = (uint8_t)digits[sum & 15];
	gdb_receive(gdb, (const uint8_t *)"$", 1);
	gdb_receive(gdb, data, length);
	gdb_receive(gdb, end, sizeof(end));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct gdb *gdb;

	if (!gdb)
		gdb = build();
	if (!size || size > INPUT_MOST)
		return 0;
	gdb->acks = true;
	gdb->going = gdb->multiprocess = gdb->physical_memory = false;
	gdb->cpu = gdb->go_cpu = 0;
	gdb->step_bits = 7;
	gdb->description = GDB_DESCRIBE_CPU;
	gdb_describe(gdb);
	gdb->receiving = GDB_IDLE;
	if (data[0] == '$') {
		gdb_receive(gdb, data, size);
	} else {
		while (size) {
			const uint8_t *line = memchr(data, '\n', size);
			size_t length = line ? (size_t)(line - data) : size;

			packet(gdb, data, length);
			length += line != NULL;
			data += length;
			size -= length;
		}
	}
	if (gdb->machine->state == RUN_RUNNING)
		machine_stop(gdb->machine, RUN_PAUSED);
	gdb_forget_points(gdb);
	loop_poll(gdb->machine->loop, 0);
	gdb->machine->state = RUN_PAUSED; /* also after a k */
	return 0;
}
