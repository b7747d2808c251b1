/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Interrupt controllers and timers: PIT through the 8259 pair and the IOAPIC, local APIC timer in its three modes, self
 * IPI, priorities, x2APIC, NMI and its masking, shadows of STI and MOV SS, HLT, spurious interrupts.
 * 8259A and 8254 data sheets, SDM 3A 6.8, 6.7, 10 (APIC). Left out: other CPUs (smp.c), MSI of devices.
 */
#include "guest.h"

#define IOAPIC 0xfec00000u

static volatile u32 ticks, order_count;
static volatile u32 order[16];
static volatile word last_ip, last_flags;

static void eoi_pic(u32 irq)
{
	if (irq >= 8)
		outb(0xa0, 0x20);
	outb(0x20, 0x20);
}

static void on_tick_pic(struct frame *f)
{
	ticks++;
	last_ip = f->ip;
	eoi_pic(0);
}

static void on_rtc_pic(struct frame *f)
{
	ticks++;
	outb(0x70, 0x0c);
	inb(0x71);
	eoi_pic(8);
}

static void on_tick_apic(struct frame *f)
{
	ticks++;
	last_ip = f->ip;
	last_flags = f->flags;
	order[order_count++ & 15] = f->vector;
	lapic_write(0xb0, 0);
}

static void on_spurious(struct frame *f)
{
	ticks++;
	last_ip = f->ip;
}

static void pit_periodic(u32 hz)
{
	u32 count = 1193182 / hz;

	outb(0x43, 0x34);
	outb(0x40, count);
	outb(0x40, count >> 8);
}

static void pit_stop(void) { outb(0x43, 0x30); /* mode 0, never loaded: OUT stays low */ }

/* --- 8259 --- */
static void pic(void)
{
	u32 isr;

	pic_init(0x20);
	handlers[0x20] = on_tick_pic;
	pit_periodic(1000);
	pic_mask(0xfffe);
	ticks = 0;
	sti();
	check("PIT periodic through the 8259", wait_for(&ticks, 20, 1000));
	pic_mask(0xffff);
	ticks = 0;
	delay_us(5000);
	check_eq("masked", ticks, 0);
	pic_mask(0xfffe);
	cli();
	ticks = 0;
	outb(0x20, 0x0a);
	for (u32 n = 0; n < 1000 && !(inb(0x20) & 1); n++) /* the host may be busy */
		delay_us(1000);
	check_eq("IRR while IF is clear", inb(0x20) & 1, 1);
	check_eq("no delivery while IF is clear", ticks, 0);
	pit_stop();
	sti();
	asm volatile("nop");
	cli();
	/* Edge triggered: the request is held; it is delivered at most once. */
	check_range("held edge", ticks, 0, 1);
	/* Rate: 1 kHz against PIT channel 2; a busy host may merge ticks, but never makes more. */
	pit_periodic(1000);
	ticks = 0;
	sti();
	delay_us(100000);
	cli();
	check_range("rate of 1 kHz over 100 ms", ticks, 5, 125);
	pit_stop();
	/* In service until EOI. */
	sti();
	asm volatile("nop");
	cli();
	outb(0x20, 0x0b);
	isr = inb(0x20);
	check_eq("ISR clear after EOI", isr, 0);
	check_eq("IMR reads back", inb(0x21), 0xfe);
	/* RTC periodic at 1024 Hz by the slave. */
	handlers[0x28] = on_rtc_pic;
	outb(0x70, 0x0a);
	outb(0x71, 0x26);
	outb(0x70, 0x0b);
	outb(0x71, 0x42);
	outb(0x70, 0x0c);
	inb(0x71);
	ticks = 0;
	pic_mask(0xfefb);
	sti();
	check("RTC periodic through the slave", wait_for(&ticks, 20, 1000));
	cli();
	outb(0x70, 0x0b);
	outb(0x71, 0x02);
	outb(0x70, 0x0c);
	inb(0x71);
	pic_mask(0xffff);
}

/* --- shadows and HLT --- */
static void shadows(void)
{
	extern char sti_next[], ss_next[], hlt_next[];
	u32 i;

	lapic_on();
	handlers[0x50] = on_tick_apic;
	cli();
	ticks = 0;
	lapic_write(0x300, 0x40000 | 0x50); /* IPI to self, pending */
	for (i = 0; i < 1000 && !(lapic_read(0x220) & 1 << 16); i++)
		pause_cpu();
	check("self IPI is pending in IRR", lapic_read(0x220) >> 16 & 1);
	asm volatile("sti\n nop\n sti_next: nop\n cli" ::: "memory");
	check("STI delays by one instruction", ticks == 1 && last_ip == (word)sti_next);
	lapic_write(0x300, 0x40000 | 0x50);
	asm volatile("sti\n cli" ::: "memory");
	check_eq("STI, CLI: none delivered", ticks, 1);
	sti();
	asm volatile("nop");
	cli();
	check_eq("then delivered", ticks, 2);
	/* POPF has no shadow; MOV SS has. */
	lapic_write(0x300, 0x40000 | 0x50);
	asm volatile("pushf\n orl $0x200, (%%rsp)\n mov (%%rsp), %%rax\n popf\n ss_next: nop\n cli" ::
			     : "rax", "memory", "cc");
	check("POPF has no shadow", ticks == 3 && last_ip == (word)ss_next);
	{
		extern char m_next[];

		lapic_write(0x300, 0x40000 | 0x50);
		asm volatile("sti\n mov %0, %%ss\n nop\n m_next: nop\n nop\n cli" ::"r"(SEL_DATA) : "memory");
		check("MOV SS behind STI", ticks == 4);
		check("MOV SS delays too", last_ip == (word)m_next || last_ip == (word)m_next - 1);
	}
	lapic_write(0x300, 0x40000 | 0x50);
	asm volatile("sti\n hlt\n hlt_next: cli" ::: "memory");
	check("STI, HLT: wakes up with RIP behind HLT", ticks == 5 && last_ip == (word)hlt_next);
	check_eq("saved IF", last_flags & FL_IF, FL_IF);
	/* HLT with nothing pending, woken by the timer. */
	lapic_write(0x3e0, 3);
	lapic_write(0x320, 0x50);
	lapic_write(0x380, 100000);
	asm volatile("sti\n hlt\n cli" ::: "memory");
	check_eq("HLT woken by the timer", ticks, 6);
}

/* --- from user mode --- */
extern char user_spin[];
asm("user_spin: mov %cs, %eax\n1: cmpl $7, (%rdi)\n jb 1b\n int $0x80\n");
static volatile word tick_cs, tick_ss, tick_frame;

static void on_user_tick(struct frame *f)
{
	ticks = 7;
	tick_cs = f->cs;
	tick_ss = f->ss;
	tick_frame = (word)f;
	lapic_write(0xb0, 0);
}

static void from_user(void)
{
	static u8 stack[1024] __attribute__((aligned(16)));
	struct enter e = {.ip = (word)user_spin,
			  .cs = SEL_USER_CODE,
			  .ss = SEL_USER_DATA,
			  .sp = (word)stack + 1000,
			  .flags = FL_IF | 2,
			  .arg = (word)&ticks};
	int i;

	for (i = 4; i > 1; i--)
		*pte_at(0, i) |= PG_U;
	*pte_at(0x200000, 2) |= PG_U;
	write_cr3(read_cr3());
	handlers[0x51] = on_user_tick;
	ticks = 0;
	lapic_write(0x3e0, 0xb);
	lapic_write(0x320, 0x51);
	lapic_write(0x380, 3000000);
	fault_begin();
	enter(&e);
	check_fault("interrupt in user mode and back", VEC_EXIT, 0);
	check("its frame", (tick_cs & 0xffff) == SEL_USER_CODE && (tick_ss & 0xffff) == SEL_USER_DATA);
	check_eq("on the stack of the TSS", tick_frame, (tss.rsp[0] & ~15ul) - sizeof(struct frame));
	lapic_write(0x320, 0x10051);
}

/* --- logical destinations --- */
static void logical(void)
{
	handlers[0x57] = on_tick_apic;
	lapic_write(0xe0, 0xffffffff); /* flat model */
	lapic_write(0xd0, 0x04000000);
	sti();
	delay_us(2000); /* what earlier checks left */
	ticks = 0;
	lapic_write(0x310, 0x05000000);
	lapic_write(0x300, 0x800 | 0x57);
	delay_us(1000);
	check_eq("logical destination with our bit", ticks, 1);
	lapic_write(0x310, 0x0b000000);
	lapic_write(0x300, 0x800 | 0x57);
	delay_us(1000);
	check_eq("logical destination without our bit", ticks, 1);
	lapic_write(0x310, 0x04000000);
	lapic_write(0x300, 0x900 | 0x57); /* lowest priority */
	delay_us(1000);
	check_eq("lowest priority", ticks, 2);
	lapic_write(0xe0, 0x0fffffff); /* cluster model */
	lapic_write(0xd0, 0x32000000);
	lapic_write(0x310, 0x33000000);
	lapic_write(0x300, 0x800 | 0x57);
	delay_us(1000);
	check_eq("cluster 3, member 1", ticks, 3);
	lapic_write(0x310, 0x23000000);
	lapic_write(0x300, 0x800 | 0x57);
	delay_us(1000);
	check_eq("another cluster", ticks, 3);
	lapic_write(0xe0, 0xffffffff);
	cli();
}

/* --- priorities --- */
static void on_nested(struct frame *f)
{
	order[order_count++ & 15] = f->vector;
	if (f->vector == 0x61) {
		lapic_write(0x300, 0x40000 | 0x58); /* lower class: waits */
		lapic_write(0x300, 0x40000 | 0x6f); /* same class: waits */
		lapic_write(0x300, 0x40000 | 0x71); /* higher: nests */
		sti();
		asm volatile("nop; nop");
		cli();
		order[order_count++ & 15] = lapic_read(0xa0); /* PPR */
	}
	lapic_write(0xb0, 0);
}

static void priorities(void)
{
	static const u32 wanted[] = {0x61, 0x71, 0x60, 0x6f, 0x58};
	int i, same = 1;

	handlers[0x58] = handlers[0x61] = handlers[0x6f] = handlers[0x71] = on_nested;
	order_count = 0;
	cli();
	lapic_write(0x300, 0x40000 | 0x61);
	sti();
	asm volatile("nop; nop; nop; nop");
	delay_us(1000);
	cli();
	for (i = 0; i < 5; i++)
		same &= order[i] == wanted[i];
	check("nesting by priority class", same && order_count == 5);
	/* TPR and CR8. */
	asm volatile("mov %0, %%cr8" ::"r"(6ul));
	check_eq("CR8 is TPR's class", lapic_read(0x80), 0x60);
	order_count = 0;
	handlers[0x68] = handlers[0x78] = on_tick_apic;
	lapic_write(0x300, 0x40000 | 0x68);
	lapic_write(0x300, 0x40000 | 0x78);
	sti();
	delay_us(500);
	cli();
	check("TPR holds back its class", order_count == 1 && order[0] == 0x78);
	lapic_write(0x80, 0);
	sti();
	delay_us(500);
	cli();
	check("lower TPR lets it through", order_count == 2 && order[1] == 0x68);
	{
		word cr8;

		asm volatile("mov %%cr8, %0" : "=r"(cr8));
		check_eq("CR8 reads 0", cr8, 0);
	}
	/* An illegal vector in an IPI: error status register. */
	if (!peer_skips("ESR: illegal vector")) {
		lapic_write(0x280, 0);
		lapic_write(0x300, 0x40000 | 0x05);
		delay_us(100);
		lapic_write(0x280, 0);
		check("ESR: illegal vector", lapic_read(0x280) & 0x60);
		lapic_write(0x280, 0);
	}
}

/* --- local APIC timer --- */
/* What it counts in 10 ms, by a divide configuration. */
static u32 lapic_count_10ms(u32 divide)
{
	lapic_write(0x3e0, divide);
	lapic_write(0x380, 0xffffffff);
	delay_us(10000);
	return 0xffffffff - lapic_read(0x390);
}

static void timer(void)
{
	u32 hz10, i, tries;
	u64 tsc, tsc_10ms;

	handlers[0x51] = on_tick_apic;
	lapic_write(0x320, 0x10000 | 0x51);
	tsc = rdtsc();
	hz10 = lapic_count_10ms(0xb); /* divided by 1 */
	tsc_10ms = rdtsc() - tsc;
	check("timer counts", hz10 > 10000);
	lapic_write(0x380, 0);
	check_eq("count of 0 stops it", lapic_read(0x390), 0);
	ticks = 0;
	lapic_write(0x320, 0x51);
	lapic_write(0x380, hz10 / 10);
	sti();
	check("one-shot", wait_for(&ticks, 1, 500));
	delay_us(5000);
	check_eq("one-shot comes once", ticks, 1);
	check_eq("one-shot count stays 0", lapic_read(0x390), 0);
	lapic_write(0x320, 0x20000 | 0x51);
	lapic_write(0x380, hz10 / 10); /* 1 ms */
	ticks = 0;
	check("periodic", wait_for(&ticks, 20, 1000));
	ticks = 0;
	delay_us(100000);
	check_range("periodic rate", ticks, 5, 125);
	lapic_write(0x320, 0x30051 & ~0x20000);
	ticks = 0;
	delay_us(3000);
	check_eq("masked timer", ticks, 0);
	lapic_write(0x380, 0);
	/* The divider. Both counts are of an interval that a busy host may stretch, but not each time. */
	lapic_write(0x320, 0x10051);
	for (tries = 0; tries < 5; tries++) {
		hz10 = lapic_count_10ms(0xb);
		i = lapic_count_10ms(0xa);
		if (i > hz10 / 128 / 2 && i < hz10 / 128 * 2)
			break;
	}
	check_range("divided by 128", i, hz10 / 128 / 2, hz10 / 128 * 2);
	lapic_write(0x380, 0);
	if (cpuid(1, 0).c & 1 << 24) {
		lapic_write(0x320, 0x40051);
		ticks = 0;
		tsc = rdtsc() + tsc_10ms / 5;
		wrmsr(0x6e0, tsc);
		check_eq("deadline reads back", rdmsr(0x6e0), tsc);
		check("TSC deadline", wait_for(&ticks, 1, 500));
		check("not early", rdtsc() >= tsc);
		check_eq("deadline is cleared", rdmsr(0x6e0), 0);
		wrmsr(0x6e0, 1);
		check("deadline in the past", wait_for(&ticks, 2, 100));
		wrmsr(0x6e0, rdtsc() + tsc_10ms);
		wrmsr(0x6e0, 0);
		delay_us(15000);
		check_eq("deadline disarmed", ticks, 2);
		lapic_write(0x320, 0x10051);
	} else {
		skip("TSC deadline", "not offered");
	}
	cli();
}

/* --- IOAPIC --- */
static void ioapic_write(u32 reg, u32 v)
{
	store32(IOAPIC, reg);
	store32(IOAPIC + 16, v);
}

static u32 ioapic_read(u32 reg)
{
	store32(IOAPIC, reg);
	return load32(IOAPIC + 16);
}

static void ioapic(void)
{
	check_eq("IOAPIC has 24 entries", ioapic_read(1) >> 16 & 0xff, 23);
	pic_mask(0xffff);
	handlers[0x55] = on_tick_apic;
	ioapic_write(0x10 + 2 * 2 + 1, lapic_read(0x20) & 0xff000000);
	ioapic_write(0x10 + 2 * 2, 0x55); /* pin 2: the PIT (ACPI's override), edge, fixed */
	check_eq("redirection entry reads back", ioapic_read(0x14) & 0x1ffff, 0x55);
	ticks = 0;
	pit_periodic(1000);
	sti();
	check("PIT through the IOAPIC", wait_for(&ticks, 20, 1000));
	ioapic_write(0x14, 0x10055);
	ticks = 0;
	delay_us(5000);
	check_eq("masked pin", ticks, 0);
	cli();
	pit_stop();
}

/* --- NMI --- */
static volatile u32 nmis, nmi_depth, nmi_deepest;

static void on_nmi(struct frame *f)
{
	nmis++;
	nmi_depth++;
	if (nmi_depth > nmi_deepest)
		nmi_deepest = nmi_depth;
	last_ip = f->ip;
	if (nmis == 1) {
		lapic_write(0x300, 0x400 | 0x40000); /* another: is held until IRET */
		lapic_write(0x300, 0x400 | 0x40000); /* and a third merges with it */
		delay_us(100);
	}
	nmi_depth--;
}

static void nmi(void)
{
	handlers[VEC_NMI] = on_nmi;
	cli();
	nmis = 0;
	lapic_write(0x300, 0x400 | 0x40000); /* NMI to self */
	delay_us(1000);
	check("NMI comes with IF clear", nmis >= 1);
	check_eq("a second is held until IRET", nmi_deepest, 1);
	check_eq("two held NMIs are one", nmis, 2);
	nmis = 1;
	lapic_write(0x300, 0x400 | 0x40000);
	delay_us(100);
	check_eq("after IRET NMIs come again", nmis, 2);
	handlers[VEC_NMI] = 0;
}

/* --- x2APIC --- */
static void on_x2(struct frame *f)
{
	ticks++;
	wrmsr(0x80b, 0);
}

static void x2apic(void)
{
	u32 id = lapic_read(0x20) >> 24;
	u64 base = rdmsr(0x1b);

	if (!(cpuid(1, 0).c & 1 << 21)) {
		skip("x2apic", "not offered");
		return;
	}
	TRY("rdmsr", ::"c"(0x802) : "rax", "rdx");
	check_fault("x2APIC MSR in xAPIC mode", VEC_GP, 0);
	wrmsr(0x1b, base | 0x400);
	check_eq("x2APIC id", rdmsr(0x802), id);
	check_eq("x2APIC logical id", rdmsr(0x80d), (u64)(id >> 4) << 16 | 1u << (id & 15));
	handlers[0x56] = on_x2;
	ticks = 0;
	wrmsr(0x83f, 0x56);
	sti();
	delay_us(1000);
	cli();
	check_eq("self IPI register", ticks, 1);
	wrmsr(0x830, 0x40056);
	sti();
	delay_us(1000);
	cli();
	check_eq("ICR with self shorthand", ticks, 2);
	wrmsr(0x830, (u64)id << 32 | 0x56);
	sti();
	delay_us(1000);
	cli();
	check_eq("ICR with destination", ticks, 3);
	TRY("rdmsr", ::"c"(0x80e) : "rax", "rdx");
	check_fault("no DFR in x2APIC mode", VEC_GP, 0);
	TRY("wrmsr", ::"c"(0x80b), "a"(1), "d"(0));
	check_fault("EOI of not 0", VEC_GP, 0);
	TRY("wrmsr", ::"c"(0x808), "a"(0x100), "d"(0));
	check_fault("TPR reserved bits", VEC_GP, 0);
	TRY("wrmsr", ::"c"(0x1b), "a"((u32)base & ~0xc00u), "d"(0));
	check_none("x2APIC to disabled");
	TRY("wrmsr", ::"c"(0x1b), "a"((u32)base | 0x800), "d"(0));
	check_none("disabled to xAPIC");
	TRY("wrmsr", ::"c"(0x1b), "a"(((u32)base & ~0x800u) | 0x400), "d"(0));
	check_fault("disabled x2APIC is no mode", VEC_GP, 0);
	wrmsr(0x1b, base | 0x400);
	TRY("wrmsr", ::"c"(0x1b), "a"((u32)base), "d"(0));
	check_fault("x2APIC to xAPIC directly", VEC_GP, 0);
	wrmsr(0x1b, base & ~0xc00ull);
	wrmsr(0x1b, base);
	lapic_on();
}

/* --- spurious --- */
static void spurious(void)
{
	pic_init(0x20);
	handlers[0x27] = on_spurious;
	/* An IRQ 0 whose line falls before the acknowledge: unmask with a level that goes away needs hardware; what can
	 * be shown: the spurious vector register reads back, and a software disable drops pending interrupts' delivery.
	 */
	lapic_write(0xf0, 0x0ff);
	check_eq("spurious register", lapic_read(0xf0) & 0x1ff, 0xff);
	check("a disabled APIC masks its LVT entries", lapic_read(0x320) & 0x10000);
	ticks = 0;
	lapic_write(0x320, 0x51);
	check("and keeps them masked", lapic_read(0x320) & 0x10000);
	lapic_on();
}

void guest_main(void)
{
	lapic_on();
	lapic_write(0x350, 0x700); /* LINT0 ExtINT: the 8259 */
	pic();
	lapic_write(0x350, 0x10700);
	shadows();
	priorities();
	from_user();
	logical();
	timer();
	ioapic();
	nmi();
	x2apic();
	spurious();
}
