/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Configuration space, BARs, INTx routing, MSI-X and the reset port, as a guest reaches them: through ports and memory. */
#include "device/pci/test_machine.h"

#include "base/util.h"
#include "core/state.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* A function with one BAR of each kind, MSI-X and a doorbell. */
struct toy {
	struct pci_device pci;
	uint64_t value;
	uint64_t highest_offset;
	unsigned reads, writes;
};

enum { DEVFN = 3 << 3, IO_BAR = 0, MSIX_BAR = 1, MEM_BAR = 2, MEM64_BAR = 4 };

static uint64_t toy_read(void *opaque, uint64_t offset, unsigned size)
{
	struct toy *toy = opaque;

	toy->reads++;
	toy->highest_offset = max_u64(toy->highest_offset, offset + size);
	return toy->value + offset;
}

static void toy_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct toy *toy = opaque;

	toy->writes++;
	toy->highest_offset = max_u64(toy->highest_offset, offset + size);
	toy->value = value;
}

static const struct region_ops toy_ops = {.read = toy_read, .write = toy_write};

static int toy_init(struct device *device, struct error *err)
{
	struct toy *toy = (struct toy *)device;
	struct pci_device *pci = &toy->pci;
	int rc = pci_bar_add(pci, IO_BAR, PCI_BAR_IO, "toy-io", &toy_ops, toy, 32, err);

	if (rc == 0)
		rc = pci_msix_init(pci, 3, MSIX_BAR, err);
	if (rc == 0)
		rc = pci_bar_add(pci, MEM_BAR, PCI_BAR_MEM32, "toy-mem", &toy_ops, toy, 4096, err);
	if (rc == 0)
		rc = pci_bar_add(pci, MEM64_BAR, PCI_BAR_MEM64 | PCI_BAR_PREFETCH, "toy-mem64", &toy_ops, toy, 1 << 20, err);
	return rc;
}

static const struct pci_class toy_pci = {
        .vendor = 0x1234, .device = 0x5678, .class_code = 0xff0102, .revision = 9, .interrupt_pin = 1};
static const struct state_field toy_fields[] = {
        STATE_SUB(pci_device_state, struct toy, pci, 1), STATE_FIELD(STATE_U64, struct toy, value), STATE_END};
static const struct state_table toy_state = {
        .name = "toy", .version = 1, .size = sizeof(struct toy), .fields = toy_fields};
static const struct device_class toy_class = {
        .name = "toy",
        .bus = DEVICE_PCI,
        .size = sizeof(struct toy),
        .state = &toy_state,
        .init = toy_init,
        .bus_class = &toy_pci,
};

struct fixture {
	struct test_machine *machine;
	struct toy *toy;
};

static int set_up(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	f->machine = test_machine_new(4 * MIB, true);
	f->toy = (struct toy *)test_device(f->machine, &toy_class, "addr=3", NULL);
	*state = f;
	return f->toy ? 0 : -1;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	device_destroy(&f->toy->pci.device);
	test_machine_free(f->machine);
	free(f);
	return 0;
}

static void command(struct fixture *f, uint16_t value)
{
	test_config_write(f->machine, DEVFN, 4, value, 2);
}

static void header(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(test_config_read(f->machine, 0, 0, 4), 0x12378086);
	assert_int_equal(test_config_read(f->machine, 1 << 3, 0, 4), 0x70008086);
	assert_int_equal(test_config_read(f->machine, DEVFN, 0, 4), 0x56781234);
	assert_int_equal(test_config_read(f->machine, DEVFN, 8, 4), 0xff010209);
	assert_int_equal(test_config_read(f->machine, DEVFN, 0x3d, 1), 1);
	/* Nothing there, another bus, or not enabled: all ones. */
	assert_int_equal(test_config_read(f->machine, 5 << 3, 0, 4), 0xffffffff);
	bus_write(f->machine->env.io, 0xcf8, 0x80010000, 4);
	assert_int_equal(bus_read(f->machine->env.io, 0xcfc, 4), 0xffffffff);
	bus_write(f->machine->env.io, 0xcf8, DEVFN << 8, 4);
	assert_int_equal(bus_read(f->machine->env.io, 0xcfc, 4), 0xffffffff);
	/* Read-only registers stay. */
	test_config_write(f->machine, DEVFN, 0, 0xdeadbeef, 4);
	test_config_write(f->machine, DEVFN, 8, 0xdeadbeef, 4);
	assert_int_equal(test_config_read(f->machine, DEVFN, 0, 4), 0x56781234);
	assert_int_equal(test_config_read(f->machine, DEVFN, 8, 4), 0xff010209);
	test_config_write(f->machine, DEVFN, 0x3c, 11, 1);
	assert_int_equal(test_config_read(f->machine, DEVFN, 0x3c, 2), 0x010b);
	/* The address register reads back; only a double word reaches it. */
	bus_write(f->machine->env.io, 0xcf8, 0x80001234, 4);
	bus_write(f->machine->env.io, 0xcf8, 0, 1);
	bus_write(f->machine->env.io, 0xcfa, 0, 2);
	assert_int_equal(bus_read(f->machine->env.io, 0xcf8, 4), 0x80001234);
}

static void bar_sizes(void **state)
{
	struct fixture *f = *state;
	static const struct {
		unsigned bar;
		uint32_t reads;
	} rows[] = {{0, 0xffffffe1}, {1, 0xfffff000}, {2, 0xfffff000}, {3, 0}, {4, 0xfff0000c}, {5, 0xffffffff}};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		test_config_write(f->machine, DEVFN, 0x10 + 4 * rows[i].bar, 0xffffffff, 4);
		assert_int_equal(test_config_read(f->machine, DEVFN, 0x10 + 4 * rows[i].bar, 4), rows[i].reads);
	}
	test_config_write(f->machine, DEVFN, 0x30, 0xffffffff, 4);
	assert_int_equal(test_config_read(f->machine, DEVFN, 0x30, 4), 0);
}

static void bars_follow_command_and_address(void **state)
{
	struct fixture *f = *state;
	struct bus *memory = f->machine->env.memory, *io = f->machine->env.io;
	uint64_t at = test_bar_assign(f->machine, DEVFN, MEM_BAR), port = test_bar_assign(f->machine, DEVFN, IO_BAR);

	f->toy->value = 0x1000;
	assert_true(bus_read(memory, at + 4, 4) == 0xffffffff);
	command(f, 2);
	assert_int_equal(bus_read(memory, at + 4, 4), 0x1004);
	assert_int_equal(bus_read(io, port, 4), 0xffffffff);
	command(f, 1);
	assert_int_equal(bus_read(memory, at + 4, 4), 0xffffffff);
	assert_int_equal(bus_read(io, port + 8, 4), 0x1008);
	command(f, 3);
	test_config_write(f->machine, DEVFN, 0x10 + 4 * MEM_BAR, 0xd0001fff, 4);
	assert_int_equal(bus_read(memory, at + 4, 4), 0xffffffff);
	assert_int_equal(bus_read(memory, 0xd0001010, 4), 0x1010);
	/* One byte of the address at a time, as some firmware does. */
	test_config_write(f->machine, DEVFN, 0x10 + 4 * MEM_BAR + 3, 0xd1, 1);
	assert_int_equal(bus_read(memory, 0xd1001010, 4), 0x1010);
	/* Above 4 GiB. */
	test_config_write(f->machine, DEVFN, 0x10 + 4 * MEM64_BAR, 0, 4);
	test_config_write(f->machine, DEVFN, 0x14 + 4 * MEM64_BAR, 0x12, 4);
	assert_int_equal(bus_read(memory, 0x1200000020, 4), 0x1020);
}

/* Whatever a guest programs, the device only ever sees offsets inside of its BAR, and the rest of the machine stays. */
static void hostile_bars(void **state)
{
	struct fixture *f = *state;
	struct bus *memory = f->machine->env.memory, *io = f->machine->env.io;
	static const uint32_t lows[] = {0, 0x10, 0xfffff000, 0xfee00000, 0x1000, 0x80000000, 0xfffffff0, 0xcf8, 0xffe0};
	static const uint32_t highs[] = {0, 0xffffffff, 0x100, 0x7fffffff};

	command(f, 7);
	for (unsigned i = 0; i < ARRAY_SIZE(lows); i++) {
		for (unsigned bar = 0; bar < 6; bar++)
			test_config_write(f->machine, DEVFN, 0x10 + 4 * bar,
			                  bar == 5 ? highs[i % ARRAY_SIZE(highs)] : lows[i], 4);
		for (unsigned at = 0; at < 64; at += 3) {
			bus_read(memory, lows[i] + at, 8);
			bus_write(memory, (uint64_t)lows[i] + 4096 - at, 0, 8);
			bus_write(io, (lows[i] + at) & 0xfff0, 0x5a, 2);
		}
		bus_read(memory, UINT64_MAX - 7, 8);
	}
	assert_true(f->toy->highest_offset <= 1 << 20);
	/* The configuration ports win over a BAR that was laid over them. */
	test_config_write(f->machine, DEVFN, 0x10, 0xce0, 4);
	assert_int_equal(test_config_read(f->machine, DEVFN, 0, 4), 0x56781234);
}

static void overlapping_bars(void **state)
{
	struct fixture *f = *state;
	struct bus *memory = f->machine->env.memory;

	command(f, 2);
	test_config_write(f->machine, DEVFN, 0x10 + 4 * MEM_BAR, 0xd0000000, 4);
	test_config_write(f->machine, DEVFN, 0x10 + 4 * MSIX_BAR, 0xd0000000, 4);
	test_config_write(f->machine, DEVFN, 0x10 + 4 * MEM64_BAR, 0xd0000000, 4);
	bus_read(memory, 0xd0000000, 4);
	/* Moved apart again, each is where it was put. */
	test_config_write(f->machine, DEVFN, 0x10 + 4 * MSIX_BAR, 0xd8000000, 4);
	test_config_write(f->machine, DEVFN, 0x10 + 4 * MEM64_BAR, 0xd9000000, 4);
	f->toy->value = 77;
	assert_int_equal(bus_read(memory, 0xd0000000, 4), 77);
	assert_int_equal(bus_read(memory, 0xd9000000, 4), 77);
	assert_int_equal(bus_read(memory, 0xd800000c, 4), 1);
}

static void doorbell_follows_bar(void **state)
{
	struct fixture *f = *state;
	struct bus *memory = f->machine->env.memory;
	int fd = eventfd(0, EFD_NONBLOCK);
	struct doorbell bell = {.offset = 0x40, .size = 2, .event_fd = fd};
	uint64_t count;

	command(f, 2);
	pci_doorbell_add(&f->toy->pci, MEM_BAR, &bell);
	for (unsigned i = 0; i < 2; i++) {
		uint64_t at = test_bar_assign(f->machine, DEVFN, MEM_BAR);

		bus_write(memory, at + 0x40, 1, 2);
		assert_int_equal(read(fd, &count, 8), 8);
		assert_int_equal(f->toy->writes, 0);
	}
	pci_doorbell_remove(&f->toy->pci, MEM_BAR, &bell);
	bus_write(memory, test_bar_address(f->machine, DEVFN, MEM_BAR) + 0x40, 1, 2);
	assert_int_equal(read(fd, &count, 8), -1);
	assert_int_equal(f->toy->writes, 1);
	close(fd);
}

static void intx(void **state)
{
	struct fixture *f = *state;
	struct toy *second = (struct toy *)test_device(f->machine, &toy_class, "addr=7", NULL);
	/* Slot 3 and slot 7, pin A, share a wire; another slot would not. */
	unsigned wire = pci_intx_wire(3, 1);

	assert_int_equal(wire, pci_intx_wire(7, 1));
	assert_int_not_equal(wire, pci_intx_wire(4, 1));
	test_config_write(f->machine, 1 << 3, 0x60 + wire, 11, 1);
	pci_intx(&f->toy->pci, true);
	assert_true(f->machine->isa_level[11]);
	assert_int_equal(test_config_read(f->machine, DEVFN, 6, 1) & 8, 8);
	pci_intx(&second->pci, true);
	pci_intx(&f->toy->pci, false);
	assert_true(f->machine->isa_level[11]);
	/* The wire moves to another line and is off while routing is. */
	test_config_write(f->machine, 1 << 3, 0x60 + wire, 10, 1);
	assert_false(f->machine->isa_level[11]);
	assert_true(f->machine->isa_level[10]);
	test_config_write(f->machine, 1 << 3, 0x60 + wire, 0x8a, 1);
	assert_false(f->machine->isa_level[10]);
	/* The timer's and other forbidden lines are never reached. */
	for (unsigned line = 0; line < 16; line++)
		test_config_write(f->machine, 1 << 3, 0x60 + wire, line, 1);
	assert_int_equal(f->machine->isa_edges[0] + f->machine->isa_edges[1] + f->machine->isa_edges[2] +
	                         f->machine->isa_edges[8] + f->machine->isa_edges[13],
	                 0);
	test_config_write(f->machine, 1 << 3, 0x60 + wire, 10, 1);
	/* Interrupt disable: the wire falls, the status bit stays. */
	test_config_write(f->machine, 7 << 3, 4, 1 << 10, 2);
	assert_false(f->machine->isa_level[10]);
	assert_int_equal(test_config_read(f->machine, 7 << 3, 6, 1) & 8, 8);
	test_config_write(f->machine, 7 << 3, 4, 0, 2);
	assert_true(f->machine->isa_level[10]);
	/* A device that goes takes its level with it. */
	device_destroy(&second->pci.device);
	assert_false(f->machine->isa_level[10]);
}

/* --- MSI-X --- */

static uint64_t msix_setup(struct fixture *f)
{
	unsigned cap = test_capability(f->machine, DEVFN, 0x11, 0);
	uint64_t table = test_bar_assign(f->machine, DEVFN, MSIX_BAR);

	assert_int_equal(test_config_read(f->machine, DEVFN, cap + 2, 2), 2);
	assert_int_equal(test_config_read(f->machine, DEVFN, cap + 4, 4), MSIX_BAR);
	command(f, 6);
	for (unsigned i = 0; i < 3; i++) {
		bus_write(f->machine->env.memory, table + 16 * i, 0xfee00000 + 0x1000 * i, 4);
		bus_write(f->machine->env.memory, table + 16 * i + 8, 0x40 + i, 4);
	}
	test_config_write(f->machine, DEVFN, cap + 2, 0x8000, 2);
	return table;
}

static void msix_masking(void **state)
{
	struct fixture *f = *state;
	struct bus *memory = f->machine->env.memory;
	unsigned cap = test_capability(f->machine, DEVFN, 0x11, 0);
	uint64_t table, pba;

	pci_msix_notify(&f->toy->pci, 1); /* not enabled: lost, not pending */
	table = msix_setup(f);
	pba = table + (test_config_read(f->machine, DEVFN, cap + 8, 4) & ~7u);
	assert_int_equal(f->machine->message_count, 0);
	/* Masked after reset: it becomes pending, and is sent at unmasking, once. */
	assert_int_equal(bus_read(memory, table + 12, 4), 1);
	pci_msix_notify(&f->toy->pci, 1);
	pci_msix_notify(&f->toy->pci, 1);
	assert_int_equal(bus_read(memory, pba, 8), 2);
	bus_write(memory, table + 16 + 12, 0, 4);
	assert_int_equal(f->machine->message_count, 1);
	assert_int_equal(f->machine->messages[0].address, 0xfee01000);
	assert_int_equal(f->machine->messages[0].data, 0x41);
	assert_int_equal(bus_read(memory, pba, 8), 0);
	pci_msix_notify(&f->toy->pci, 1);
	assert_int_equal(f->machine->message_count, 2);
	/* The function's mask. */
	test_config_write(f->machine, DEVFN, cap + 2, 0xc000, 2);
	pci_msix_notify(&f->toy->pci, 1);
	assert_int_equal(f->machine->message_count, 2);
	assert_int_equal(bus_read(memory, pba, 4), 2);
	test_config_write(f->machine, DEVFN, cap + 2, 0x8000, 2);
	assert_int_equal(f->machine->message_count, 3);
	/* A bus master that may not master sends nothing. */
	command(f, 2);
	pci_msix_notify(&f->toy->pci, 1);
	assert_int_equal(f->machine->message_count, 3);
	/* Out of range, and accesses that the specification does not allow. */
	pci_msix_notify(&f->toy->pci, 3);
	bus_write(memory, pba, UINT64_MAX, 8);
	assert_int_equal(bus_read(memory, pba, 8), 0);
	bus_write(memory, table, 0x11, 1);
	assert_int_equal(bus_read(memory, table, 4), 0xfee00000);
	bus_write(memory, table + 48, 0x11, 4);
	assert_int_equal(bus_read(memory, table + 48, 4), 0);
}

static struct {
	int fd, added, removed;
	struct msi_message message;
} route;

static int route_add(void *opaque, int event_fd, struct msi_message message)
{
	route.fd = event_fd;
	route.message = message;
	return ++route.added;
}

static void route_remove(void *opaque, int number, int event_fd)
{
	route.removed++;
	route.fd = -1;
}

static void msix_routes(void **state)
{
	struct fixture *f = *state;
	struct bus *memory = f->machine->env.memory;
	uint64_t table, one = 1;
	int fd;

	f->machine->env.msi.route_add = route_add;
	f->machine->env.msi.route_remove = route_remove;
	route.added = route.removed = 0;
	table = msix_setup(f);
	fd = pci_msix_eventfd(&f->toy->pci, 2);
	assert_true(fd >= 0);
	assert_int_equal(route.added, 0); /* still masked */
	bus_write(memory, table + 32 + 12, 0, 4);
	assert_int_equal(route.added, 1);
	assert_int_equal(route.fd, fd);
	assert_int_equal(route.message.data, 0x42);
	/* A changed message is routed anew. */
	bus_write(memory, table + 32 + 8, 0x99, 4);
	assert_int_equal(route.removed, 1);
	assert_int_equal(route.message.data, 0x99);
	/* While masked the eventfd keeps what comes, and it is pending. */
	bus_write(memory, table + 32 + 12, 1, 4);
	assert_int_equal(route.removed, 2);
	assert_int_equal(write(fd, &one, 8), 8);
	assert_int_equal(bus_read(memory, table + 0x800, 4), 4);
	bus_write(memory, table + 32 + 12, 0, 4);
	assert_int_equal(f->machine->message_count, 1);
	assert_int_equal(f->machine->messages[0].data, 0x99);
}

/* --- the rest --- */

static void placement(void **state)
{
	struct fixture *f = *state;
	struct error err = {0};
	static const struct {
		const char *options, *text;
	} bad[] = {
	        {"addr=3", "taken"},
	        {"addr=20", "not a PCI address"},
	        {"addr=4.9", "not a PCI address"},
	        {"addr=3.1", "multifunction"},
	        {"bus=pcie.7", "pci.0"},
	        {"adr=3", "addr"},
	        {"romfile=/nonexistent/rom", "romfile"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct device *device;

		err = (struct error){0};
		device = test_device(f->machine, &toy_class, bad[i].options, &err);
		assert_null(device);
		assert_non_null(strstr(err.msg, bad[i].text));
	}
}

static void reset_port(void **state)
{
	struct fixture *f = *state;
	struct bus *io = f->machine->env.io;

	bus_write(io, 0xcf9, 2, 1);
	assert_int_equal(bus_read(io, 0xcf9, 1), 2);
	assert_int_equal(f->machine->requests[MACHINE_RESET], 0);
	bus_write(io, 0xcf9, 6, 1);
	assert_int_equal(f->machine->requests[MACHINE_RESET], 1);
	/* A configuration address with these bits is no reset. */
	bus_write(io, 0xcf8, 0x80000600, 4);
	assert_int_equal(f->machine->requests[MACHINE_RESET], 1);
}

static void reset_clears(void **state)
{
	struct fixture *f = *state;
	uint64_t at = test_bar_assign(f->machine, DEVFN, MEM_BAR);

	msix_setup(f);
	device_reset(&f->toy->pci.device);
	assert_int_equal(test_config_read(f->machine, DEVFN, 4, 2), 0);
	assert_int_equal(test_config_read(f->machine, DEVFN, 0x10 + 4 * MEM_BAR, 4), 0);
	assert_int_equal(bus_read(f->machine->env.memory, at, 4), 0xffffffff);
	assert_false(pci_msix_enabled(&f->toy->pci));
	assert_int_equal(test_config_read(f->machine, DEVFN, 0, 4), 0x56781234);
}

static void save_and_load(void **state)
{
	struct fixture *f = *state;
	struct state_buffer saved = {0};
	struct error err = {0};
	uint64_t at = test_bar_assign(f->machine, DEVFN, MEM_BAR), table = msix_setup(f);

	pci_msix_notify(&f->toy->pci, 0);
	f->toy->value = 5;
	state_save(&toy_state, f->toy, &saved);
	device_reset(&f->toy->pci.device);
	f->toy->value = 0;
	assert_int_equal(state_load(&toy_state, f->toy, saved.data, saved.length, &err), saved.length);
	assert_int_equal(bus_read(f->machine->env.memory, at, 4), 5);
	assert_int_equal(bus_read(f->machine->env.memory, table + 0x800, 4), 1);
	bus_write(f->machine->env.memory, table + 12, 0, 4);
	assert_int_equal(f->machine->message_count, 1);
	/* A stream whose read-only bytes are not this device's is refused whole. */
	for (size_t i = 0; i + 4 < saved.length; i++) {
		if (load_le32(saved.data + i) == 0x56781234) {
			saved.data[i] ^= 1;
			break;
		}
	}
	f->toy->value = 6;
	assert_true(state_load(&toy_state, f->toy, saved.data, saved.length, &err) < 0);
	assert_int_equal(f->toy->value, 6);
	free(saved.data);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        TEST(header),       TEST(bar_sizes),    TEST(bars_follow_command_and_address),
	        TEST(hostile_bars), TEST(overlapping_bars), TEST(doorbell_follows_bar),
	        TEST(intx),         TEST(msix_masking), TEST(msix_routes),
	        TEST(placement),    TEST(reset_port),   TEST(reset_clears),
	        TEST(save_and_load),
	};

	return cmocka_run_group_tests_name("pci", tests, NULL, NULL);
}
