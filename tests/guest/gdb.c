/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest to be debugged (tests/gdb): functions to stop at, variables to watch, a second processor that starts in real
 * mode. It sums up its own code before and after: a debugger that patched it would be seen. With no debugger about it
 * just passes, in every engine. Two processors.
 */
#include "guest.h"

volatile u64 counter, table[4], looked_at, code_sum[2], rounds_of_other;
static volatile u32 other_on, other_stop, other_done;

extern char leaf_code[], leaf_end[];
__attribute__((noinline)) u64 leaf(u64 x);
__attribute__((noinline)) void tick(u64 i);
__attribute__((noinline)) void other_round(void);
__attribute__((noinline)) void after_ticks(void);

asm(".globl leaf\n.type leaf, @function\n"
    "leaf_code: leaf: lea (%rdi,%rdi,2), %rax\n inc %rax\n ret\n.size leaf, . - leaf\n"
    "leaf_end:\n");

void tick(u64 i)
{
	counter += leaf(i);
	if (i == 5)
		table[1] = counter;
	if (i == 7)
		looked_at = table[2];
}

void other_round(void) { rounds_of_other++; }

void after_ticks(void) { looked_at++; }

static void other_main(void)
{
	other_on = 1;
	while (!other_stop)
		other_round();
	other_done = 1;
	for (;;)
		asm volatile("cli; hlt");
}

static u64 sum_code(void)
{
	u64 sum = 0;
	const u8 *p;

	for (p = (const u8 *)leaf_code; p < (const u8 *)leaf_end; p++)
		sum = sum * 31 + *p;
	for (p = (const u8 *)(word)tick; p < (const u8 *)(word)tick + 64; p++)
		sum = sum * 31 + *p;
	return sum;
}

void guest_main(void)
{
	u64 rounds;
	u32 i;

	lapic_on();
	code_sum[0] = sum_code();
	check("the second processor starts", cpu_start(1, other_main));
	check("and runs", wait_for(&other_on, 1, 5000));
	for (i = 0; i < 10; i++)
		tick(i);
	after_ticks();
	for (rounds = rounds_of_other; rounds_of_other - rounds < 3;)
		pause_cpu();
	check_eq("ticks", counter, 3 * 45 + 10);
	other_stop = 1;
	check("the second processor ends", wait_for(&other_done, 1, 5000));
	code_sum[1] = sum_code();
	check_eq("code is as it was", code_sum[1], code_sum[0]);
	/* Which the linker's bytes say, too: see tests/gdb. */
	say("sum %x\n", code_sum[0]);
}
