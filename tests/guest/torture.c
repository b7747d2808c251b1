/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What an SMP kernel relies on when it takes mappings away and patches code that others run, many times over and with all
 * CPUs busy: TLB shoot-down by INVLPG and by CR3 (SDM 3A 4.10.4.2, 4.10.5), write protection, code that changes its place,
 * cross-modifying code by the breakpoint protocol (SDM 3A 8.1.3), code changed through an alias, several CPUs that change
 * code of one page. Needs four CPUs.
 *
 * One CPU, the first, changes things; each change is a step that all others acknowledge from an interrupt handler. A
 * worker that saw the same step before and after it looked at something must have seen what that step allows: what was
 * there before the next step, or already what is there after it, and never what was there before.
 */
#include "guest.h"

#define VA      0x4000000000ull
#define ALIAS   0x5000000000ull
#define CPUS    4
#define POISON  0xdeaddeaddeaddeadull
#define VECTOR  0x60
#define PATIENCE_MS 60000

enum job { IDLE, READ, WRITE, CALL, PATCHED, OWN_CODE, LEAVE };
enum sync { SERIALIZE, INVALIDATE, RELOAD };

static struct {
	volatile u32 acked; /* the step that this CPU has acknowledged */
	volatile u32 wrong, looked, faults;
	u64 example;
	u32 pad[10];
} cpus[CPUS] __attribute__((aligned(64)));

static volatile u32 step, job, running, idle, writable;
static volatile enum sync sync_kind;
static volatile u64 sync_address;
static u32 bsp_id;
static u8 *pages[2];

static u32 my_id(void) { return lapic_read(0x20) >> 24; }

/* --- steps --- */

static void acknowledge(u32 me)
{
	u32 now = step;

	if (cpus[me].acked == now)
		return;
	if (sync_kind == INVALIDATE)
		invlpg(sync_address);
	else if (sync_kind == RELOAD)
		write_cr3(read_cr3());
	cpuid(0, 0);
	asm volatile("" ::: "memory");
	cpus[me].acked = now;
}

static void on_step(struct frame *f)
{
	acknowledge(my_id());
	lapic_write(0xb0, 0);
}

static int next_step(enum sync kind, u64 address)
{
	u32 i, ok = 1;

	sync_kind = kind;
	sync_address = address;
	asm volatile("" ::: "memory");
	step++;
	lapic_write(0x310, 0);
	lapic_write(0x300, 0xc4000 | VECTOR); /* all but self */
	while (lapic_read(0x300) & 0x1000)
		pause_cpu();
	for (i = 0; i < CPUS; i++)
		ok = ok && (i == bsp_id || wait_for(&cpus[i].acked, step, PATIENCE_MS));
	return ok;
}

/* --- what workers do --- */

static void note(u32 me, u32 before, int fine, u64 example)
{
	asm volatile("" ::: "memory");
	if (cpus[me].acked != before)
		return;
	cpus[me].looked++;
	if (!fine) {
		cpus[me].wrong++;
		cpus[me].example = example;
	}
}

static u32 begin(u32 me)
{
	u32 before = cpus[me].acked;

	asm volatile("" ::: "memory");
	return before;
}

/* A page holds the number of the step that made it visible. */
static void work_read(u32 me, u32 n)
{
	u32 before = begin(me);
	u64 got = load64(VA + (n * 8 & 0xff8));

	note(me, before, got == before || got == before + 1, got);
}

static void work_write(u32 me, u32 n)
{
	volatile u64 *mine = (volatile u64 *)(VA + 64 * me);

	*mine = n;
	asm volatile("lock incq %0" : "+m"(mine[1]));
	cpus[me].looked++;
}

static u32 call(u64 gva)
{
	u32 got;

	asm volatile("call *%1" : "=a"(got) : "r"(gva) : "rcx", "rdx", "rsi", "rdi", "memory", "cc");
	return got;
}

static void work_call(u32 me)
{
	u32 before = begin(me), got = call(VA + 0x40);

	note(me, before, got == before || got == before + 1, got);
}

/* Steps come in threes: breakpoint set, tail written, head written. */
static void work_patched(u32 me)
{
	u32 before = begin(me), got = call(VA + 0x100), state = before / 3 & 1;

	note(me, before, got == state || (before % 3 == 2 && got == !state), (u64)before << 32 | got);
}

/* mov eax, imm32; ret at a place of this CPU's own, in a page that all of them change. */
static void work_own_code(u32 me, u32 n)
{
	u64 code = VA + 0x200 + 0x20 * me;

	store8(code, 0xb8);
	store32(code + 1, n);
	store8(code + 5, 0xc3);
	cpus[me].looked++;
	if (call(code) != n)
		cpus[me].wrong++;
	store8(ALIAS + (code - VA) + 1, ~n); /* by another linear address: to be seen after serialization */
	cpuid(0, 0);
	if ((u8)call(code) != (u8)~n)
		cpus[me].wrong++;
}

static void worker(void)
{
	u32 me = my_id(), n;

	lapic_on();
	write_cr0(read_cr0() | 0x10000); /* WP: the supervisor may not write to what is read-only */
	asm volatile("lock incl %0" : "+m"(running));
	sti();
	for (n = 1;; n++) {
		switch (job) {
		case READ:
			work_read(me, n);
			break;
		case WRITE:
			work_write(me, n);
			break;
		case CALL:
			work_call(me);
			break;
		case PATCHED:
			work_patched(me);
			break;
		case OWN_CODE:
			work_own_code(me, n);
			break;
		case LEAVE:
			asm volatile("lock incl %0" : "+m"(idle));
			while (job == LEAVE)
				pause_cpu();
			break;
		default:
			pause_cpu();
		}
	}
}

/* A worker's write met a page that was made read-only: it waits, and still acknowledges. */
static void on_page_fault(struct frame *f)
{
	u32 me = my_id();
	u64 gva = read_cr2();

	cpus[me].faults++;
	if ((gva & ~0xfffull) != VA || f->error != 3) {
		cpus[me].wrong++;
		cpus[me].example = gva;
		finish();
	}
	while (!writable) {
		acknowledge(me);
		pause_cpu();
	}
	invlpg(VA);
}

/* The first byte of what is being patched: it still does what it did. */
static void on_breakpoint(struct frame *f)
{
	cpus[my_id()].faults++;
	f->ip = f->ip == VA + 0x101 ? (step / 3 & 1 ? VA + 0x10b : VA + 0x105) : f->ip;
}

/* --- what the first CPU does --- */

static void start(enum job what)
{
	u32 i;

	for (i = 0; i < CPUS; i++)
		cpus[i].wrong = cpus[i].looked = cpus[i].faults = 0;
	asm volatile("" ::: "memory");
	job = what;
}

static void stop(const char *name, int ok)
{
	u32 i, wrong = 0, looked = 1;

	idle = 0;
	job = LEAVE;
	ok = ok && wait_for(&idle, CPUS - 1, PATIENCE_MS);
	job = IDLE;
	for (i = 0; i < CPUS; i++) {
		wrong += cpus[i].wrong;
		looked = looked && (i == bsp_id || cpus[i].looked);
		if (cpus[i].wrong)
			say("CPU %d: %d of %d wrong, one of them %x\n", i, cpus[i].wrong, cpus[i].looked, cpus[i].example);
	}
	check(name, ok && looked && !wrong);
}

static void fill(u8 *page, u64 value)
{
	u32 i;

	for (i = 0; i < 512; i++)
		((volatile u64 *)page)[i] = value;
}

static void remap(u8 *page, u64 rights)
{
	*(volatile u64 *)pte_at(VA, 1) = (word)page | PG_P | rights;
	invlpg(VA);
}

static void shoot_down(const char *name, enum sync kind, u32 rounds)
{
	u32 i, ok = 1;

	fill(pages[step & 1], step);
	remap(pages[step & 1], PG_W);
	ok = next_step(RELOAD, 0) && ok;
	/* From here on the page of step n is pages[n & 1], and the other one is poisoned. */
	fill(pages[step & 1], step);
	remap(pages[step & 1], PG_W);
	ok = next_step(RELOAD, 0) && ok;
	fill(pages[(step & 1)], step);
	remap(pages[step & 1], PG_W);
	start(READ);
	for (i = 0; i < rounds && ok; i++) {
		u8 *now = pages[step & 1], *then = pages[(step + 1) & 1];

		fill(then, step + 1);
		remap(then, PG_W);
		ok = next_step(kind, VA);
		fill(now, POISON);
	}
	stop(name, ok);
}

static void no_late_writes(u32 rounds)
{
	u32 i, k, ok = 1, late = 0;
	static u64 copy[512];

	fill(pages[0], 0);
	remap(pages[0], PG_W);
	ok = next_step(INVALIDATE, VA);
	writable = 1;
	start(WRITE);
	for (i = 0; i < rounds && ok; i++) {
		writable = 0;
		remap(pages[0], 0);
		ok = next_step(i & 1 ? INVALIDATE : RELOAD, VA);
		memcpy(copy, pages[0], sizeof copy);
		for (k = 0; k < 2000; k++)
			pause_cpu();
		late += memcmp(copy, pages[0], sizeof copy) != 0;
		remap(pages[0], PG_W);
		writable = 1;
		for (k = 0; k < 200; k++)
			pause_cpu();
	}
	stop("write protection: all acknowledge", ok);
	check_eq("write protection: no write comes late", late, 0);
	check("write protection: writes met it", cpus[1].faults + cpus[2].faults + cpus[3].faults);
}

/* A mapping has changed and nobody was told: the others go on where their TLBs still lead them, for a few looks. */
static int used_as_it_was(void)
{
	u32 i, n, before[CPUS], ok = 1;

	for (i = 0; i < CPUS; i++)
		before[i] = cpus[i].looked;
	for (i = 0; i < CPUS; i++) {
		for (n = 0; i != bsp_id && cpus[i].looked - before[i] < 3 && n < 50000000; n++)
			pause_cpu();
		ok = ok && (i == bsp_id || cpus[i].looked - before[i] >= 3);
	}
	return ok;
}

/* mov eax, n; ret in two pages that take turns. */
static void code_moves(u32 rounds)
{
	u32 i, ok = 1;

	for (i = 0; i < 2; i++) {
		u8 *code = pages[(step + i) & 1] + 0x40;

		code[0] = 0xb8;
		*(volatile u32 *)(code + 1) = step + i;
		code[5] = 0xc3;
	}
	remap(pages[step & 1], PG_W);
	write_cr3(read_cr3());
	ok = next_step(RELOAD, 0);
	remap(pages[step & 1], PG_W);
	ok = next_step(RELOAD, 0) && ok;
	*(volatile u32 *)(pages[step & 1] + 0x41) = step;
	remap(pages[step & 1], PG_W);
	ok = next_step(RELOAD, 0) && ok;
	pages[step & 1][0x40] = 0xb8;
	*(volatile u32 *)(pages[step & 1] + 0x41) = step;
	pages[step & 1][0x45] = 0xc3;
	remap(pages[step & 1], PG_W);
	start(CALL);
	for (i = 0; i < rounds && ok; i++) {
		u8 *then = pages[(step + 1) & 1];

		*(volatile u32 *)(then + 0x41) = step + 1;
		remap(then, PG_W);
		ok = i & 7 || used_as_it_was();
		ok = ok && next_step(i & 1 ? INVALIDATE : RELOAD, VA);
	}
	stop("code that changes its place", ok);
}

/* 5-byte NOP <-> JMP +6, as Linux patches static keys, written through another mapping. */
static void static_key(u32 rounds)
{
	static const u8 function[] = {
		0x0f, 0x1f, 0x44, 0x00, 0x00,       /* 100: nop */
		0xb8, 0x00, 0x00, 0x00, 0x00, 0xc3, /* 105: mov eax, 0; ret */
		0xb8, 0x01, 0x00, 0x00, 0x00, 0xc3, /* 10b: mov eax, 1; ret */
	};
	static const u8 jump[] = {0xe9, 0x06, 0x00, 0x00, 0x00};
	const u64 poke = ALIAS + 0x100;
	u32 i, ok = 1;

	memcpy(pages[0] + 0x100, function, sizeof function);
	remap(pages[0], 0);
	*(volatile u64 *)pte_at(ALIAS, 1) = (word)pages[0] | PG_P | PG_W;
	invlpg(ALIAS);
	do
		ok = next_step(RELOAD, 0);
	while (step % 6 && ok); /* a NOP is there */
	start(PATCHED);
	for (i = 0; i < rounds && ok; i++) {
		const u8 *to = step / 3 & 1 ? function : jump;

		store8(poke, 0xcc);
		ok = next_step(SERIALIZE, 0);
		memcpy((void *)(poke + 1), to + 1, 4);
		ok = ok && next_step(SERIALIZE, 0);
		store8(poke, to[0]);
		ok = ok && next_step(SERIALIZE, 0);
	}
	stop("code patched by breakpoints", ok);
}

static void own_code(u32 rounds)
{
	u32 i, ok = 1;

	fill(pages[0], 0x9090909090909090ull);
	remap(pages[0], PG_W);
	*(volatile u64 *)pte_at(ALIAS, 1) = (word)pages[0] | PG_P | PG_W;
	invlpg(ALIAS);
	ok = next_step(RELOAD, 0);
	start(OWN_CODE);
	for (i = 0; i < rounds && ok; i++) {
		store8(VA + 0x800 + (i & 0x3ff), i); /* this CPU writes to the page, too */
		if (!(i & 15))
			ok = next_step(SERIALIZE, 0);
	}
	stop("CPUs that change code of one page", ok);
}

void guest_main(void)
{
	u32 i, up = 0;

	lapic_on();
	bsp_id = my_id();
	handlers[VECTOR] = on_step;
	handlers[VEC_PF] = on_page_fault;
	handlers[VEC_BP] = on_breakpoint;
	pages[0] = page_alloc();
	pages[1] = page_alloc();
	map(VA, (word)pages[0] | PG_P | PG_W, 1);
	map(ALIAS, (word)pages[0] | PG_P | PG_W, 1);
	for (i = 0; i < CPUS; i++)
		if (i != bsp_id)
			up += cpu_start(i, worker);
	check_eq("three more CPUs", up, CPUS - 1);
	if (up != CPUS - 1 || !wait_for(&running, CPUS - 1, PATIENCE_MS))
		return;
	shoot_down("TLB shoot-down by INVLPG", INVALIDATE, 120);
	shoot_down("TLB shoot-down by CR3", RELOAD, 120);
	no_late_writes(80);
	code_moves(120);
	static_key(60);
	own_code(400);
}
