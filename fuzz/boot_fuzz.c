/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any bytes as a kernel and an initrd. What must hold: the loaders neither crash nor write outside RAM; a refusal has a
 * message of one line; a kernel that was accepted starts inside RAM with its tables inside RAM.
 *
 * Input: one byte of shape (bits 1:0 RAM layout, bit 2: with initrd, bit 3: long command line), then the kernel file.
 */
#include "fuzz.h"

#include "base/util.h"
#include "core/ram.h"
#include "machine/boot/boot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LAYOUTS = 4, INITRD_BYTES = 10000 };

struct stage {
	struct ram *ram[LAYOUTS];
	int kernel_fd;
	char kernel[32], initrd[32], *append;
};

static struct ram *ram_of(uint64_t low, uint64_t high)
{
	struct ram_config config = {.size = low + high};
	struct ram *ram = ram_new(&config, NULL);

	if (!ram || ram_map(ram, 0, low, 0, false, NULL) || (high && ram_map(ram, 4 * GIB, high, low, false, NULL)))
		abort();
	return ram;
}

static struct stage *stage_new(void)
{
	struct stage *stage = xcalloc(1, sizeof(*stage));
	int initrd = memfd_create("initrd", 0);

	stage->kernel_fd = memfd_create("kernel", 0);
	if (stage->kernel_fd < 0 || initrd < 0 || ftruncate(initrd, INITRD_BYTES))
		abort();
	snprintf(stage->kernel, sizeof(stage->kernel), "/proc/self/fd/%d", stage->kernel_fd);
	snprintf(stage->initrd, sizeof(stage->initrd), "/proc/self/fd/%d", initrd);
	stage->append = xcalloc(1, 3001);
	memset(stage->append, 'a', 3000);
	stage->ram[0] = ram_of(2 * MIB, 0);
	stage->ram[1] = ram_of(20 * MIB, 0);
	stage->ram[2] = ram_of(3 * MIB, 8 * MIB);
	stage->ram[3] = ram_of(MIB, 0);
	return stage;
}

static void check_result(const struct ram *ram, const struct boot_result *result)
{
	struct x86_state *state = xcalloc(1, sizeof(*state));

	if (!ram_hva(ram, result->entry, 1) || !ram_hva(ram, result->gdt_gpa, result->gdt_bytes) || !result->protocol)
		abort();
	if (result->long_mode && !ram_hva(ram, result->cr3, 6 * PAGE_SIZE))
		abort();
	if (!ram_hva(ram, result->rsi ? result->rsi : result->rbx, 56))
		abort();
	boot_set_state(result, state);
	free(state);
}

/* The same kernel for firmware: what it would be told lies inside RAM. */
static void check_handover(const struct boot_source *source)
{
	const uint64_t low_bytes = 4 * MIB;
	struct boot_handover *handover = boot_handover_new(source, low_bytes, NULL);

	if (handover && (!handover->setup.size || !handover->kernel.size ||
			 handover->initrd.gpa + handover->initrd.size > low_bytes))
		abort();
	boot_handover_free(handover);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct stage *stage;
	const struct boot_memory tables = {0x1f0000, 0x10000, BOOT_MEMORY_ACPI};
	const struct boot_board board = {.rsdp_gpa = 0xe0000, .reserved = &tables, .reserved_count = 1};
	struct boot_source source;
	struct boot_result result;
	struct error err = {0};
	struct boot *boot;
	uint8_t shape;

	if (!size)
		return 0;
	if (!stage)
		stage = stage_new();
	shape = data[0];
	if (ftruncate(stage->kernel_fd, 0) || pwrite(stage->kernel_fd, data + 1, size - 1, 0) != (ssize_t)(size - 1))
		abort();
	source = (struct boot_source){.kernel = stage->kernel, .initrd = shape & 4 ? stage->initrd : NULL,
	                              .append = shape & 8 ? stage->append : "quiet"};
	boot = boot_open(&source, &err);
	if (boot && boot_place(boot, stage->ram[shape & 3], &board, &result, &err) == 0)
		check_result(stage->ram[shape & 3], &result);
	else if (!err.code || !err.msg[0] || strchr(err.msg, '\n'))
		abort();
	boot_close(boot);
	check_handover(&source);
	return 0;
}
