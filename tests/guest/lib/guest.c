/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Library of the test guests: output, checks, IDT, recorded exceptions, page tables. Contracts in guest.h. */
#include "guest.h"

struct fault fault;
word fault_try_ip;
handler *handlers[256];
struct tss tss __attribute__((aligned(4096)));
int checks_failed;

static int checks_done;
static u8 user_stack[8192] __attribute__((aligned(16)));
static u64 idt[512] __attribute__((aligned(16)));

static void put(char c) { outb(0xe9, c); }

static void put_string(const char *s)
{
	while (*s)
		put(*s++);
}

static void put_hex(u64 v)
{
	int shift = 60;

	while (shift && !(v >> shift & 15))
		shift -= 4;
	put_string("0x");
	for (; shift >= 0; shift -= 4)
		put("0123456789abcdef"[v >> shift & 15]);
}

static void put_decimal(int v)
{
	char text[12];
	int n = 0;

	if (v < 0) {
		put('-');
		v = -v;
	}
	do
		text[n++] = '0' + v % 10;
	while (v /= 10);
	while (n)
		put(text[--n]);
}

void say(const char *format, ...)
{
	__builtin_va_list args;

	__builtin_va_start(args, format);
	for (; *format; format++) {
		if (*format != '%') {
			put(*format);
			continue;
		}
		switch (*++format) {
		case 's':
			put_string(__builtin_va_arg(args, const char *));
			break;
		case 'd':
			put_decimal(__builtin_va_arg(args, int));
			break;
		case 'x':
			put_hex(__builtin_va_arg(args, u64));
			break;
		}
	}
	__builtin_va_end(args);
}

void check(const char *name, int ok)
{
	checks_done++;
	checks_failed += !ok;
	say(ok ? "ok %s\n" : "FAILED %s\n", name);
}

void check_eq(const char *name, u64 got, u64 want)
{
	checks_done++;
	if (got == want) {
		say("ok %s\n", name);
	} else {
		checks_failed++;
		say("FAILED %s: %x, not %x\n", name, got, want);
	}
}

void check_range(const char *name, u64 got, u64 low, u64 high)
{
	checks_done++;
	if (got >= low && got <= high) {
		say("ok %s\n", name);
	} else {
		checks_failed++;
		say("FAILED %s: %x, not within %x and %x\n", name, got, low, high);
	}
}

void skip(const char *name, const char *why) { say("skip %s: %s\n", name, why); }

int peer_skips(const char *name)
{
	extern u32 boot_info;
	const char *line = (const char *)(word)load32(boot_info + 16); /* Multiboot information: command line */

	for (; *line; line++) {
		if (line[0] == 't' && line[1] == 'c' && line[2] == 'g') {
			say("skip %s: the peer would not survive it\n", name);
			return 1;
		}
	}
	return 0;
}

static void fault_say(const char *name, u32 vector, word error, word ip)
{
	checks_failed++;
	say("FAILED %s: vector %x error %x ip %x cr2 %x, not vector %x error %x ip %x\n", name, (u64)fault.vector,
	    (u64)fault.error, (u64)fault.ip, (u64)fault.cr2, (u64)vector, (u64)error, (u64)ip);
}

void check_at(const char *name, u32 vector, word error, word ip)
{
	checks_done++;
	if (fault.vector == vector && fault.error == error && fault.ip == ip)
		say("ok %s\n", name);
	else
		fault_say(name, vector, error, ip);
}

void check_fault(const char *name, u32 vector, word error)
{
	check_at(name, vector, error, fault_try_ip ? fault_try_ip : fault.ip);
}

void check_pf(const char *name, word error, word cr2)
{
	if (fault.vector == VEC_PF && fault.cr2 != cr2) {
		checks_done++;
		checks_failed++;
		say("FAILED %s: cr2 %x, not %x (error %x)\n", name, (u64)fault.cr2, (u64)cr2, (u64)fault.error);
		return;
	}
	check_fault(name, VEC_PF, error);
}

void check_none(const char *name)
{
	checks_done++;
	if (fault.vector == VEC_NONE || fault.vector == VEC_EXIT) {
		say("ok %s\n", name);
		return;
	}
	fault_say(name, VEC_NONE, 0, 0);
}

void finish(void)
{
	say("done: %d checks, %d failed\n", checks_done, checks_failed);
	for (;;) {
		outl(0xf4, checks_failed ? 0x11 : 0x10);
		asm volatile("cli; hlt");
	}
}

void fault_begin(void)
{
	memset(&fault, 0, sizeof fault);
	fault.vector = VEC_NONE;
	fault_try_ip = 0;
}

/* Called by trap.S: 0 returns to what was interrupted, 1 goes on at trap_resume. */
int trap_dispatch(struct frame *f);

int trap_dispatch(struct frame *f)
{
	if (handlers[f->vector & 255]) {
		handlers[f->vector & 255](f);
		return 0;
	}
	if (!trap_resume) {
		say("FAILED unexpected exception %x error %x at cs:ip %x:%x flags %x cr2 %x\n", (u64)f->vector,
		    (u64)f->error, (u64)f->cs, (u64)f->ip, (u64)f->flags, (u64)read_cr2());
		checks_failed++;
		finish();
	}
	fault.vector = f->vector;
	fault.count++;
	fault.error = f->error;
	fault.ip = f->ip;
	fault.cs = f->cs & 0xffff;
	fault.flags = f->flags;
#ifdef __x86_64__
	fault.sp = f->sp;
	fault.ss = f->ss;
#else
	if ((f->cs & 3) || (f->flags & FL_VM)) {
		fault.sp = f->sp;
		fault.ss = f->ss & 0xffff;
	} else {
		fault.sp = (word)&f->sp;
	}
#endif
	fault.cr2 = read_cr2();
	fault.dr6 = read_dr6();
	fault.ax = f->ax;
	fault.cx = f->cx;
	fault.dx = f->dx;
	fault.bx = f->bx;
	fault.si = f->si;
	fault.di = f->di;
	fault.bp = f->bp;
	return 1;
}

void *trap_entry(int vector) { return trap_entries + vector * 16; }

void idt_gate(int vector, void *entry, u16 selector, int type_dpl, int ist)
{
	word e = (word)entry;
	u64 low = (e & 0xffff) | (u64)selector << 16 | (u64)ist << 32 | (u64)type_dpl << 40 |
		  (u64)(e >> 16 & 0xffff) << 48;

#ifdef __x86_64__
	idt[vector * 2] = low;
	idt[vector * 2 + 1] = e >> 32;
#else
	idt[vector] = low;
#endif
}

void idt_default(void)
{
	int i;

	for (i = 0; i < 256; i++)
		idt_gate(i, trap_entry(i), SEL_CODE, i == 3 || i == 4 || i == VEC_EXIT ? 0xee : 0x8e, 0);
}

void idt_load(void)
{
	struct {
		u16 limit;
		word base;
	} __attribute__((packed)) p = {sizeof(word) * 512 - 1, (word)idt};

	asm volatile("lidt %0" ::"m"(p));
}

u64 descriptor(u32 base, u32 limit, u8 access, u8 flags)
{
	return (limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)access << 40 | (u64)(limit >> 16 & 15) << 48 |
	       (u64)(flags & 15) << 52 | (u64)(base >> 24) << 56;
}

void gdt_set(u16 selector, u64 value) { ((volatile u64 *)gdt)[selector >> 3] = value; }

void enter_user(word ip, word arg)
{
	struct enter e = {.ip = ip,
			  .cs = SEL_USER_CODE,
			  .sp = (word)user_stack + sizeof user_stack - 64,
			  .ss = SEL_USER_DATA,
			  .flags = 2,
			  .arg = arg,
			  .ds = SEL_USER_DATA,
			  .es = SEL_USER_DATA};

	fault_begin();
	enter(&e);
}

void *page_alloc(void)
{
	static word next;
	void *page;

	if (!next)
		next = ((word)guest_end + 0xfffff) & ~(word)0xfffff;
	page = (void *)next;
	next += 4096;
	return memset(page, 0, 4096);
}

void *memcpy(void *to, const void *from, word n)
{
	void *d = to;

	asm volatile("rep movsb" : "+D"(d), "+S"(from), "+c"(n)::"memory");
	return to;
}

void *memset(void *to, int c, word n)
{
	void *d = to;

	asm volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
	return to;
}

int memcmp(const void *a, const void *b, word n)
{
	const u8 *x = a, *y = b;

	for (; n; n--, x++, y++)
		if (*x != *y)
			return *x < *y ? -1 : 1;
	return 0;
}

#ifdef __x86_64__
u64 *pte_at(u64 gva, int level)
{
	u64 *table = boot_pml4;
	int l;

	for (l = 4; l > level; l--) {
		u64 *e = &table[gva >> (12 + 9 * (l - 1)) & 511];

		if (!(*e & PG_P))
			*e = (word)page_alloc() | PG_P | PG_W | PG_U;
		table = (u64 *)(*e & 0x000ffffffffff000);
	}
	return &table[gva >> (12 + 9 * (level - 1)) & 511];
}

void map(u64 gva, u64 entry, int level)
{
	*(volatile u64 *)pte_at(gva, level) = entry;
	invlpg(gva);
}
#endif

void guest_start(void);

void guest_start(void)
{
	idt_default();
	idt_load();
	memset(&tss, 0, sizeof tss);
#ifdef __x86_64__
	tss.rsp[0] = (word)stack_top - 16384;
	tss.iomap = __builtin_offsetof(struct tss, map) + 32;
	gdt_set(SEL_TSS, descriptor((u32)(word)&tss, sizeof tss - 1, 0x89, 0));
#else
	tss.esp0 = (word)stack_top - 16384;
	tss.ss0 = SEL_DATA;
	tss.iomap = __builtin_offsetof(struct tss, map) + 32;
	gdt_set(SEL_TSS, descriptor((u32)(word)&tss, sizeof tss - 1, 0x89, 0));
#endif
	memset(tss.map, 0, 32);
	memset(tss.map + 32, 0xff, sizeof tss.map - 32);
	asm volatile("ltr %w0" ::"r"(SEL_TSS));
	pic_init(0x20); /* firmware leaves interrupts on */
	guest_main();
	finish();
}
