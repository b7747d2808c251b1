/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "device/storage/test_disks.h"

#include "base/loop.h"
#include "base/util.h"
#include "core/bus.h"
#include "core/clock.h"
#include "core/ram.h"
#include "device/storage/storage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static void make_image(struct test_disks *t, unsigned i, uint64_t bytes)
{
	struct block_open how = {.discard = true, .log = &t->machine->log};

	strcpy(t->paths[i], "/tmp/xuni-storage-XXXXXX");
	t->fds[i] = mkstemp(t->paths[i]);
	assert_true(t->fds[i] >= 0);
	assert_int_equal(ftruncate(t->fds[i], (off_t)bytes), 0);
	for (uint32_t sector = 0; sector < bytes / 512 && sector < 4096; sector++)
		assert_int_equal(pwrite(t->fds[i], &sector, 4, (off_t)sector * 512), 4);
	t->blocks[i] = block_open_file(t->graph, t->paths[i], "raw", &how, NULL);
	assert_non_null(t->blocks[i]);
}

struct test_disks *test_disks_new(const uint64_t bytes[TEST_DISKS])
{
	struct test_disks *t = xcalloc(1, sizeof(*t));
	struct device_env *env;

	t->machine = test_machine_new(4 * MIB, true);
	t->graph = block_graph_new(&t->machine->log);
	for (unsigned i = 0; i < TEST_DISKS; i++)
		if (bytes[i])
			make_image(t, i, bytes[i]);
	env = &t->machine->env;
	env->ata_ports = ata_port_list_new();
	env->scsi_buses = scsi_bus_list_new();
	env->bus_ops[DEVICE_IDE] = &ata_bus_ops;
	env->bus_ops[DEVICE_SCSI] = &scsi_bus_ops;
	env->bus_ops[DEVICE_FLOPPY] = &floppy_bus_ops;
	return t;
}

void test_disks_free(struct test_disks *t)
{
	while (t->count)
		device_destroy(t->devices[--t->count]);
	for (unsigned i = 0; i < TEST_DISKS; i++) {
		if (!t->blocks[i])
			continue;
		block_unref(t->blocks[i]);
		close(t->fds[i]);
		unlink(t->paths[i]);
	}
	block_graph_free(t->graph);
	free(t->machine->env.ata_ports);
	free(t->machine->env.scsi_buses);
	test_machine_free(t->machine);
	free(t);
}

struct device *test_disks_add(struct test_disks *t, const struct device_class *class, int disk, const char *options)
{
	struct error err = {0};
	char *text = disk < 0 ? xstrdup(options) : xasprintf("drive=d%s%s", *options ? "," : "", options);

	t->machine->backend = disk < 0 ? NULL : t->blocks[disk];
	t->devices[t->count] = test_device(t->machine, class, text, &err);
	free(text);
	if (!t->devices[t->count])
		fail_msg("%s: %s", class->name, err.msg);
	return t->devices[t->count++];
}

void port_out(struct test_disks *t, uint16_t port, uint32_t value, unsigned size)
{
	bus_write(t->machine->env.io, port, value, size);
}

uint32_t port_in(struct test_disks *t, uint16_t port, unsigned size)
{
	return (uint32_t)bus_read(t->machine->env.io, port, size);
}

void port_wait(struct test_disks *t, uint16_t port, uint8_t mask, uint8_t value)
{
	for (unsigned i = 0; i < 5000; i++) {
		if ((port_in(t, port, 1) & mask) == value)
			return;
		loop_poll(t->machine->env.loop, NS_PER_MS);
	}
	fail_msg("port 0x%x stays 0x%x", port, port_in(t, port, 1));
}

void memory_put(struct test_disks *t, uint64_t gpa, const void *from, size_t bytes)
{
	assert_int_equal(ram_write(t->machine->env.ram, gpa, from, bytes), 0);
}

void memory_get(struct test_disks *t, uint64_t gpa, void *to, size_t bytes)
{
	assert_int_equal(ram_read(t->machine->env.ram, gpa, to, bytes), 0);
}

uint32_t memory_word(struct test_disks *t, uint64_t gpa)
{
	uint32_t word;

	memory_get(t, gpa, &word, sizeof(word));
	return word;
}
