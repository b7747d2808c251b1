/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Several processors: start by INIT and start-up IPIs, IPIs both ways and by all destinations, locked counters, message
 * order, TLB shoot-down, cross-modifying code. SDM 3A 8.2, 8.1.3, 9.4.4, 10.6. Needs four CPUs.
 */
#include "guest.h"

#define VA     0x4000000000ull
#define CPUS   4
#define ROUNDS 20000

static volatile u32 running, ids[CPUS], command, done_count, ipis[CPUS], bsp_ipis, go;
static volatile u32 locked_count, plain_xadd, cmpxchg_count;
static volatile u64 pair[2] __attribute__((aligned(16)));
static u32 bsp_id;

static u32 my_id(void) { return lapic_read(0x20) >> 24; }

static void ipi(u32 id, u32 low)
{
	lapic_write(0x310, id << 24);
	lapic_write(0x300, low);
	while (lapic_read(0x300) & 0x1000)
		pause_cpu();
}

static void on_ipi(struct frame *f)
{
	u32 id = my_id();

	if (id == bsp_id)
		asm volatile("lock incl %0" : "+m"(bsp_ipis));
	else
		ipis[id]++;
	lapic_write(0xb0, 0);
}

static void on_nmi(struct frame *f) { ipis[my_id()] += 0x100; }

static void on_flush(struct frame *f)
{
	write_cr3(read_cr3());
	asm volatile("lock incl %0" : "+m"(done_count));
	lapic_write(0xb0, 0);
}

/* --- the work of the other processors --- */
static void count(void)
{
	int i;
	u32 v;

	for (i = 0; i < ROUNDS; i++) {
		asm volatile("lock incl %0" : "+m"(locked_count));
		v = 1;
		asm volatile("lock xaddl %1, %0" : "+m"(plain_xadd), "+r"(v));
		do
			v = cmpxchg_count;
		while (!__sync_bool_compare_and_swap(&cmpxchg_count, v, v + 1));
	}
}

static void count16(void)
{
	int i;

	for (i = 0; i < ROUNDS / 10; i++) {
		u64 a = pair[0], d = pair[1];
		u8 ok;

		do
			asm volatile("lock cmpxchg16b %1; setz %0"
				     : "=q"(ok), "+m"(*(volatile struct { u64 v[2]; } *)pair), "+a"(a), "+d"(d)
				     : "b"(a + 1), "c"(d + 2)
				     : "memory");
		while (!ok);
	}
}

static void other_main(void)
{
	u32 seen = 0, me = my_id();

	lapic_on();
	ids[me] = 1;
	asm volatile("lock incl %0" : "+m"(running));
	for (;;) {
		sti();
		while (go == seen)
			pause_cpu();
		cli();
		seen = go;
		switch (command) {
		case 1:
			count();
			break;
		case 2:
			count16();
			break;
		case 3: /* answer to the first */
			ipi(bsp_id, 0x4051);
			break;
		case 4:
			asm volatile("lock incl %0" : "+m"(done_count));
			sti();
			asm volatile("hlt");
			cli();
			break;
		case 5: { /* read through a mapping until it changes */
			u32 n;

			sti();
			for (n = 0; n < 100000000 && load32(VA) == 1; n++)
				pause_cpu();
			cli();
			if (load32(VA) != 2)
				ids[me] = 0;
			break;
		}
		case 6: { /* run code that another changes */
			u32 n;
			int (*code)(void) = (int (*)(void))(VA + 0x1000);

			for (n = 0; n < 100000000; n++) {
				int got;

				asm volatile("call *%1" : "=a"(got) : "r"(code) : "memory");
				if (got == 2)
					break;
				if (got != 1)
					ids[me] = 0;
			}
			break;
		}
		}
		asm volatile("lock incl %0" : "+m"(done_count));
	}
}

static int all(u32 what, void (*mine)(void), u32 ms)
{
	done_count = 0;
	command = what;
	asm volatile("" ::: "memory");
	go++;
	if (mine)
		mine();
	return wait_for(&done_count, CPUS - 1, ms);
}

static void shoot_down(void)
{
	delay_us(2000);
	*(volatile u64 *)pte_at(VA, 1) = 0x801000 | PG_P | PG_W;
	invlpg(VA);
	ipi(0, 0xc4052); /* all but self */
}

static void patch(void)
{
	delay_us(2000);
	store8(VA + 0x1001,
	       2); /* the immediate of MOV: an aligned byte store (SDM 3A 8.1.3 leaves this to be seen at all) */
}

void guest_main(void)
{
	u32 i, up = 0;
	static const u8 code[] = {0xb8, 1, 0, 0, 0, 0xc3};

	lapic_on();
	bsp_id = my_id();
	handlers[0x50] = handlers[0x51] = on_ipi;
	handlers[0x52] = on_flush;
	handlers[VEC_NMI] = on_nmi;
	check("the first CPU is the BSP", rdmsr(0x1b) & 0x100);
	check_eq("CPUID's initial APIC id", cpuid(1, 0).b >> 24, bsp_id);
	for (i = 0; i < CPUS; i++)
		if (i != bsp_id)
			up += cpu_start(i, other_main);
	check_eq("INIT and start-up IPIs start three CPUs", up, CPUS - 1);
	check("they run", wait_for(&running, CPUS - 1, 1000));
	if (up != CPUS - 1)
		return;
	sti();
	for (i = 1; i < CPUS; i++)
		ipi(i, 0x4050);
	delay_us(2000);
	check("IPIs to each",
	      wait_for(&ipis[1], 1, 1000) && wait_for(&ipis[2], 1, 1000) && wait_for(&ipis[3], 1, 1000));
	check_eq("none to the sender", bsp_ipis, 0);
	ipi(0, 0xc4050);
	check("all but self",
	      wait_for(&ipis[1], 2, 1000) && wait_for(&ipis[2], 2, 1000) && wait_for(&ipis[3], 2, 1000) && !bsp_ipis);
	ipi(0, 0x84050);
	check("all", wait_for(&ipis[1], 3, 1000) && wait_for(&ipis[2], 3, 1000) && wait_for(&ipis[3], 3, 1000) &&
			     wait_for(&bsp_ipis, 1, 1000));
	ipi(0xff, 0x4050);
	check("physical broadcast",
	      wait_for(&ipis[1], 4, 1000) && wait_for(&ipis[3], 4, 1000) && wait_for(&bsp_ipis, 2, 1000));
	bsp_ipis = 0;
	check("the others answer", all(3, 0, 2000));
	check("IPIs to the first", wait_for(&bsp_ipis, 1, 1000));
	ipi(2, 0x4400);
	check("NMI to another", wait_for(&ipis[2], 0x100, 1000));
	check("locked counters: all end", all(1, count, 30000));
	check_eq("LOCK INC", locked_count, CPUS * ROUNDS);
	check_eq("LOCK XADD", plain_xadd, CPUS * ROUNDS);
	check_eq("LOCK CMPXCHG", cmpxchg_count, CPUS * ROUNDS);
	if (cpuid(1, 0).c & 1 << 13) {
		check("LOCK CMPXCHG16B: all end", all(2, count16, 30000));
		check("LOCK CMPXCHG16B", pair[0] == CPUS * (ROUNDS / 10) && pair[1] == 2 * CPUS * (ROUNDS / 10));
	}
	done_count = 0;
	command = 4;
	go++;
	check("the others halt", wait_for(&done_count, CPUS - 1, 1000));
	delay_us(2000);
	ipi(0, 0xc4050);
	check("an IPI wakes halted CPUs", wait_for(&done_count, 2 * (CPUS - 1), 2000));

	store32(0x800000, 1);
	store32(0x801000, 2);
	map(VA, 0x800000 | PG_P | PG_W, 1);
	check("TLB shoot-down", all(5, shoot_down, 20000) && ids[1] && ids[2] && ids[3]);
	memcpy((void *)0x802000, code, sizeof code);
	map(VA + 0x1000, 0x802000 | PG_P | PG_W, 1);
	check("code changed by another CPU is seen", all(6, patch, 20000) && ids[1] && ids[2] && ids[3]);
	/* A CPU held by INIT starts again. */
	lapic_write(0x310, 3 << 24);
	lapic_write(0x300, 0x4500);
	running = 0;
	check_eq("INIT resets a running CPU", cpu_start(3, other_main), 1);
	check("which runs anew", wait_for(&running, 1, 1000));
	cli();
}
